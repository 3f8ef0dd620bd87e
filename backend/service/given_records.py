"""Which records the rows of a file of answers are about: known ones, by id or by what they show, and new ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from nextlabel.backend.data.cells import value_text
from nextlabel.backend.data.given import GivenRow
from nextlabel.backend.data.image_files import image_source
from nextlabel.backend.data.image_rules import ImageRules, UnreadableImage
from nextlabel.backend.data.records import known_by, plain, shown, storable_text
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.store import Rule, Store
from nextlabel.connectors.errors import DataError
from nextlabel.connectors.records import FieldKind, Labeling, Record, Span, Value


@dataclass(frozen=True, slots=True)
class Found:
    """The record of one row. ``new`` where it has yet to be added; ``text``: what spans are offsets into.

    ``written``: the text that the file had in its place, with other white space.
    """

    uid: str
    text: str
    new: Record | None = None
    written: str = ""

    def placed(self, value: Value) -> Value:
        """``value`` as it stands in the record's own text: spans move with the white space."""
        if not self.written or not any(isinstance(one, Span) for one in value):
            return value
        there, here = _letters(self.written), _letters(self.text)
        places = {at: number for number, at in enumerate(there)}
        moved: list[Span] = []
        for one in value:
            if isinstance(one, Span):
                inside = [places[at] for at in range(one.start, min(one.end, len(self.written))) if at in places]
                start, end = (here[inside[0]], here[inside[-1]] + 1) if inside else (one.start, one.end)
                moved.append(replace(one, start=start, end=end, text=""))
        return tuple(moved)


class Records:
    """Finds the records of rows. ``add``: what is not known is a new record."""

    def __init__(self, recipe: Recipe, store: Store, rule: Rule, rules: ImageRules | None, *, add: bool) -> None:
        self._recipe, self._store, self._rule, self._add = recipe, store, rule, add
        self._rules = rules or ImageRules()
        self._pictures: dict[str, str | UnreadableImage] = {}  # by what each is known by
        self._labeling: Labeling = recipe.labeling()
        texts = [one.name for one in self._labeling.fields if one.kind is not FieldKind.IMAGE]
        self._first = texts[0] if texts else ""
        self._alone = len(self._labeling.fields) == 1 and bool(texts)

    def find(self, rows: Sequence[GivenRow]) -> dict[int, Found | str]:
        """Place of a row in ``rows`` -> its record, or why there is none."""
        records = [self._record(row) for row in rows]
        names = {name for row in rows for name in row.ids}
        names |= {one.uid for one in records if isinstance(one, Record)}
        known = self._store.uids_named(sorted(names))
        uids: dict[int, str] = {}
        contents: dict[int, str] = {}
        for at, (row, record) in enumerate(zip(rows, records, strict=True)):
            own = (record.uid,) if isinstance(record, Record) else ()
            uid = next((known[name] for name in (*row.ids, *own) if name in known), None)
            if uid is not None:
                uids[at] = uid
            elif isinstance(record, Record):
                # As it is stored: pictures of files and bytes as annotators see them, which takes time for each.
                records[at] = here = self._shown(row, record)
                if isinstance(here, Record):
                    contents[at] = self._rule.content(here)
        same = self._store.uids_showing(sorted(set(contents.values())))
        uids |= {at: same[content] for at, content in contents.items() if content in same}
        texts = self._texts(uids.values())
        return {at: self._found(row, uids.get(at), texts, records[at]) for at, row in enumerate(rows)}

    def _found(self, row: GivenRow, uid: str | None, texts: Mapping[str, str], record: Record | str) -> Found | str:
        if uid is not None:
            written = row.text or ""
            return Found(uid, texts[uid], written=written if written != texts[uid] and row.loose else "")
        text = row.text if row.text is not None else self._text(row)
        if text and (near := self._near(text, loose=row.loose)) is not None:
            return Found(near[0], near[1], written=text if text != near[1] else "")
        if isinstance(record, str):
            return record
        if not self._add:
            return "no such record is known here, and only known ones are wanted"
        return Found(record.uid, self._labeling.seen(record).get(self._first, ""), new=record)

    def _record(self, row: GivenRow) -> Record | str:
        """The record as the data would have it; or why the row does not say enough."""
        fields: dict[str, str] = {}
        try:
            for name, source in self._recipe.fields.items():
                if (value := self._value(row, name)) is None:
                    return f"it has no {source.column!r}, and no id that is known here"
                if source.kind is FieldKind.IMAGE:
                    fields[name] = known_by(image_source(value) or "")
                else:
                    fields[name] = storable_text(value_text(value, whole=False))
        except DataError as error:
            return f"the field {name!r} {error}"
        if not any(text.strip() for text in fields.values()):
            return "it shows nothing"
        metadata = {name: plain(row.fields.get(name)) for name in self._recipe.metadata if name in row.fields}
        record = Record("", fields, metadata)
        uid = row.ids[0] if row.ids and self._recipe.id else record.content_hash()
        return replace(record, uid=uid)

    def _value(self, row: GivenRow, name: str) -> Any:
        source = self._recipe.fields[name]
        found = row.fields.get(source.column, row.fields.get(name))
        return row.text if found is None and self._alone else found

    def _shown(self, row: GivenRow, record: Record) -> Record | str:
        """With pictures as annotators see them; or why one can't be read."""
        images: dict[str, str] = {}
        for name, source in self._recipe.fields.items():
            if source.kind is not FieldKind.IMAGE:
                continue
            known = record.fields[name]
            if known not in self._pictures:  # several people may have answered about one
                try:
                    self._pictures[known] = shown(image_source(self._value(row, name)) or "", self._rules)
                except UnreadableImage as error:
                    self._pictures[known] = error
            picture = self._pictures[known]
            if isinstance(picture, UnreadableImage):
                return str(picture)
            images[name] = picture
        return replace(record, fields={**record.fields, **images})

    # -- texts -------------------------------------------------------------------------------------------------------

    def _texts(self, uids: Iterable[str]) -> dict[str, str]:
        stored = self._store.get(sorted(set(uids)))
        return {one.record.uid: self._labeling.seen(one.record).get(self._first, "") for one in stored}

    def _text(self, row: GivenRow) -> str:
        found = self._value(row, self._first) if self._first else None
        return found if isinstance(found, str) else ""

    def _near(self, text: str, *, loose: bool) -> tuple[str, str] | None:
        """The first record with this text, and its text; for ``loose`` ones, white space aside."""
        return self._by_letters.get(_squeezed(text)) if loose else None

    @cached_property
    def _by_letters(self) -> dict[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = {}
        for item in self._store.records():
            if not item.gone and not item.is_copy:
                text = self._labeling.seen(item.record).get(self._first, "")
                found.setdefault(_squeezed(text), (item.record.uid, text))
        return found


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _letters(text: str) -> list[int]:
    """Where in ``text`` something stands that is no white space."""
    return [at for at, character in enumerate(text) if not character.isspace()]
