"""How many answers each annotator gave, by name."""

from __future__ import annotations

import structlog

from nextlabel.backend.annotators.names import annotator_names, note_names
from nextlabel.backend.store import Store
from nextlabel.connectors.base import Connector
from nextlabel.connectors.records import AnnotationStatus

log = structlog.get_logger(__name__)


class AnswerCounts:
    """Counted anew when the log has grown. Who is not known by name yet is asked for, once."""

    def __init__(self, store: Store, connector: Connector) -> None:
        self._store, self._connector = store, connector
        self._head = -1
        self._asked: set[str] = set()
        self._by: dict[str, dict[AnnotationStatus, int]] = {}
        self._names: dict[str, str] = {}

    def submitted(self) -> dict[str, int]:
        """Annotator's name -> answers of theirs that count; who gave most comes first."""
        self._count()
        counts = {self._names.get(one, one): by.get(AnnotationStatus.SUBMITTED, 0) for one, by in self._by.items()}
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def skips(self) -> int:
        """Answers that say nothing."""
        self._count()
        return sum(by.get(AnnotationStatus.SKIPPED, 0) for by in self._by.values())

    def look(self) -> None:
        """Ask the platform for the names of those who are new. Raises ConnectorError: a name can wait."""
        self._count()
        if not (new := self._by.keys() - self._names.keys() - self._asked):
            return
        note_names(self._store, self._connector.annotator_names())
        self._asked |= new
        self._names = annotator_names(self._store)
        log.info("who answered", names=sorted(self._names.get(one, one) for one in new))

    def _count(self) -> None:
        if (head := self._store.head()) != self._head:
            self._by, self._head = self._store.answers_by(), head
            self._names = annotator_names(self._store)
