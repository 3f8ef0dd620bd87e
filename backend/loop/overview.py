"""What the platform has and what the data would add, counted before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from nextlabel.backend.store import Rule, Store
from nextlabel.connectors.base import Connector
from nextlabel.connectors.basics import batched
from nextlabel.connectors.records import Record

BATCH = 1000


@dataclass(frozen=True, slots=True)
class Overview:
    """Counts of records: those ``on_platform``, and how many of them are ``answered``, about.

    Of the data, ``there`` are on the platform, ``changed`` of them with other fields than the data has; ``new`` would
    be pushed; ``copies`` repeat another row, and are not.
    """

    on_platform: int
    there: int
    changed: int
    new: int
    copies: int
    answered: int

    def __str__(self) -> str:
        """In words."""
        changed = f" ({self.changed:,} with another content there, which stays)" if self.changed else ""
        copies = f", {self.copies:,} repeat another row" if self.copies else ""
        return (
            f"on the platform are {self.on_platform:,} records, {self.answered:,} of them answered; of your data "
            f"{self.there:,} are there already{changed}, {self.new:,} are new{copies}"
        )


def look_over(records: Iterable[Record], connector: Connector, rule: Rule, store: Store | None = None) -> Overview:
    """What would become of the data's ``records``, without changing anything here or there.

    The rule is the store's own, tried on one that is thrown away. ``store``: what it knows from earlier starts counts.
    Raises ConnectorError.
    """
    with TemporaryDirectory(prefix="nextlabel-") as folder, Store.open(Path(folder) / "try.sqlite") as scratch:
        scratch.add_listed(connector.records(), rule)
        on_platform = scratch.size()
        known = _Known(store)
        added = scratch.add_records(known.others(records))
        return Overview(
            on_platform=on_platform,
            there=added.known + added.changed + known.count,
            changed=added.changed,
            new=added.new - added.duplicates,
            copies=added.duplicates,
            answered=connector.survey().answered,
        )


class _Known:
    """Counts the records that ``store`` knows to be on the platform."""

    def __init__(self, store: Store | None) -> None:
        self._store = store
        self.count = 0

    def others(self, records: Iterable[Record]) -> Iterator[Record]:
        """Those of ``records`` that it does not know there."""
        for batch in batched(records, BATCH):
            placed = self._store.placed([record.uid for record in batch]) if self._store else set()
            self.count += len(placed)
            yield from (record for record in batch if record.uid not in placed)
