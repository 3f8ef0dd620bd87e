"""Texts of which a task has the address (``valueType="url"``), read where the page reads them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import structlog

from nextlabel.connectors.basics import batched
from nextlabel.connectors.errors import DataError
from nextlabel.connectors.records import RemoteRecord

log = structlog.get_logger(__name__)

READERS = 8
BATCH = 64
"""Records whose texts are read together."""
KEPT = 2_000
"""Texts in memory: the same few records are listed again and again."""


class Texts:
    """Puts texts in the place of their addresses. ``unread``: remote id of a record that has one -> why not."""

    def __init__(self) -> None:
        self.fetch: Callable[[str], str] | None = None
        self.unread: dict[str, str] = {}
        self._known: dict[str, str] = {}

    def filled(self, records: Iterable[RemoteRecord], fields: Collection[str]) -> Iterator[RemoteRecord]:
        """``records`` with what is at the addresses in ``fields``. Those that can't be read are left out."""
        if not fields:
            yield from records
            return
        with ThreadPoolExecutor(READERS, thread_name_prefix="texts") as readers:
            for batch in batched(records, BATCH):
                found = readers.map(lambda item: self._filled(item, fields), batch)
                yield from (item for item in found if item is not None)

    def _filled(self, item: RemoteRecord, fields: Collection[str]) -> RemoteRecord | None:
        record = item.record
        try:
            texts = {name: self._text(record.fields[name]) for name in fields if record.fields.get(name)}
        except DataError as error:
            if self.unread.get(item.remote_id) != str(error):
                log.warning("a text can't be read", record=item.remote_id, reason=str(error))
            self.unread[item.remote_id] = str(error)
            return None
        self.unread.pop(item.remote_id, None)
        return replace(item, record=replace(record, fields={**record.fields, **texts}))

    def _text(self, address: str) -> str:
        if (known := self._known.get(address)) is not None:
            return known
        if self.fetch is None:
            raise DataError(f"{address} is not read: this command reads no texts from addresses")
        text = self.fetch(address)
        if len(self._known) >= KEPT:
            self._known.clear()
        self._known[address] = text
        return text
