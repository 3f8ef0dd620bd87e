"""Where each annotator labels, on a platform that has an address for everybody."""

from __future__ import annotations

import structlog

from nextlabel.connectors.base import Connector
from nextlabel.connectors.errors import ConnectorError

log = structlog.get_logger(__name__)


class AnnotatorLinks:
    """Annotator's name -> their own address, as of the last look; ``known`` is empty before the first."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._seen: dict[str, str] | None = None

    @property
    def known(self) -> dict[str, str]:
        """What the last look found."""
        return self._seen or {}

    def refresh(self) -> dict[str, str]:
        """Look now; who joined since the last time goes into the log."""
        links = dict(self._connector.links())
        for name in links.keys() - (links if self._seen is None else self._seen).keys():
            log.info("an annotator joined", annotator=name, link=links[name])
        self._seen = links
        return links

    def current(self) -> dict[str, str]:
        """What the last look found; without one, this is the first. Never raises ConnectorError."""
        if self._seen is None:
            try:
                return self.refresh()
            except ConnectorError as error:
                log.warning("no links for annotators yet", error=str(error))
        return self.known
