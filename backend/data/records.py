"""From rows to records: stable ids, blank rows left out, repeated ones noticed, everything streamed.

An image's address stays as it is. A browser loads neither a path of this machine nor the bytes in a Parquet file, and
nothing here serves them: files and bytes become small data: URLs.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from nextlabel.connectors.basics import batched
from nextlabel.connectors.errors import DataError
from nextlabel.connectors.records import Record

from .cells import LabelReader
from .flags import FlagReader
from .image_files import ImageData, data_url, image_source, read_image
from .image_rules import ImageRules, UnreadableImage, file_path
from .reading import NOTHING_SAID, ReadingOptions
from .rows import Row, Table, first_few, rows_told
from .tables import cell_label, cell_text, check_columns, open_table

# Databases refuse NUL, encoders of text refuse half a surrogate pair.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
Known = Callable[[Sequence[str]], Mapping[str, Record]]
Sources = Mapping[str, Mapping[str, str]]
"""Those records of these uids that were read at an earlier start, by uid."""

EDGE: Final = 384
"""Pixels of the shorter side of what is shown: the words on a meme can be read, and it has some 40 kB."""

_QUALITY: Final = 85
_READERS: Final = 4  # most of the work is done outside of Python's lock
_BATCH: Final = 64
_OF_THE_PLATFORM: Final = "/data/"  # Label Studio serves such paths; on this machine it may be a folder too


def no_records(uids: Sequence[str]) -> Mapping[str, Record]:
    """What is :data:`Known` at a first start."""
    return {}


@dataclass
class ReadReport:
    """What happened while reading. Filled as records are taken from the iterator.

    ``blank`` rows had no text and were left out; ``repeated`` ones had an id and a content seen before; ``unseen``
    ones an image that can't be read; ``repaired`` ones held characters that can't be stored. Each lists row numbers,
    ``remarks`` sentences.
    """

    records: int = 0
    blank: list[int] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)
    repaired: list[int] = field(default_factory=list)
    unseen: list[int] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    what: str = "line"

    def lines(self) -> list[str]:
        """The report in sentences, the record count first."""
        sentences = [f"{self.records:,} records read"]
        for numbers, text in (
            (self.blank, "without text, left out"),
            (self.repeated, "repeating an id and its content, left out"),
            (self.unseen, "with an image that can't be read, left out"),
            (self.repaired, "with characters that can't be stored, replaced by U+FFFD"),
        ):
            if numbers:
                sentences.append(rows_told(numbers, self.what, text))
        return sentences + self.remarks


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column is what. ``fields`` maps each field of the labeling to its column; ``images`` names those of images.

    ``answer`` is the column with the true label, for demos and simulations, or several of 0 and 1 that are called as
    the labels are; it never reaches the platform. ``labels`` are those that are known: such a cell is a label as it
    stands, "None" or "1.0" say.
    """

    fields: Mapping[str, str]
    id: str | None = None
    metadata: Sequence[str] = ()
    answer: str | tuple[str, ...] | None = None
    images: frozenset[str] = frozenset()
    labels: Sequence[str] = ()

    def all(self) -> list[str]:
        """Every column that must exist."""
        answers = (self.answer,) if isinstance(self.answer, str) else self.answer or ()
        optional = (self.id,) if self.id else ()
        return list(dict.fromkeys([*self.fields.values(), *optional, *answers, *self.metadata]))


def read_records(
    source: str | Table,
    columns: Columns,
    *,
    options: ReadingOptions = NOTHING_SAID,
    report: ReadReport | None = None,
    rules: ImageRules | None = None,
    known: Known = no_records,
) -> Iterator[Record]:
    """Records of ``source`` (see :func:`nextlabel.backend.data.tables.open_table`), or of an open table, in its order.

    The uid is the id column, or a hash of the content (with -2, -3 ... for later rows of the same content). Images in
    files that ``rules`` let be read, or given as bytes, become data: URLs that annotators can be shown; a ``known``
    record keeps the one that it has.
    Raises DataError that names the file, the line and the fix: at once for a missing column, else on the way.
    """
    table = _opened(source, columns, options)
    report = ReadReport() if report is None else report
    report.what = table.what
    rows = _walk(table, columns, report)
    if columns.images:
        images = {name: column for name, column in columns.fields.items() if name in columns.images}
        rows = with_images(rows, images, rules or ImageRules(), partial(_leave_out, table, report), known)
    return _remarked(counted((record for _, record in rows), report), table, report)


def read_sources(source: str | Table, columns: Columns, *, options: ReadingOptions = NOTHING_SAID) -> Sources:
    """What each row of ``source`` has in its image columns: uid -> field -> path or address; no image is read.

    Bytes are told as ``bytes:`` and their digest. Raises DataError as read_records does.
    """
    walked = _walk(_opened(source, columns, options), columns, ReadReport())
    return {record.uid: {name: record.fields[name] for name in columns.images} for _, record in walked}


def read_values(
    source: str | Table, columns: Columns, *, options: ReadingOptions = NOTHING_SAID
) -> dict[str, dict[str, str]]:
    """What stands in the columns of ``columns.metadata``: uid -> column -> text. Raises DataError as read_records does.

    A whole number is one however it is kept: labels are read as those of other columns are.
    """
    table = _opened(source, columns, options)
    reader = LabelReader(columns.labels)
    return {
        record.uid: {column: cell_label(table, row, column, reader) for column in columns.metadata}
        for row, record in _walk(table, columns, ReadReport())
    }


def _remarked(records: Iterable[Record], table: Table, report: ReadReport) -> Iterator[Record]:
    """``records``; once all are taken, what there is to know of the table is in ``report``."""
    yield from records
    report.remarks += [f"{table.name}: {remark}" for remark in table.remarks()]


def counted(records: Iterable[Record], report: ReadReport) -> Iterator[Record]:
    """``records``, each counted in ``report`` as it is taken."""
    for record in records:
        report.records += 1
        yield record


def read_answers(source: str | Table, columns: Columns, *, options: ReadingOptions = NOTHING_SAID) -> dict[str, str]:
    """The true label by uid, of the rows that have one. Raises DataError as read_records does."""
    if columns.answer is None:
        name = source.name if isinstance(source, Table) else source
        raise DataError(f"{name}: no column with the true answers is named")
    table = _opened(source, columns, options)
    answers, answer_of = {}, _answers(table, columns.answer, LabelReader(columns.labels))
    for row, record in _walk(table, columns, ReadReport()):
        if answer := answer_of(row):
            answers[record.uid] = answer
    return answers


def _answers(table: Table, answer: str | tuple[str, ...], reader: LabelReader) -> Callable[[Row], str]:
    """What reads the true label of a row, in a column, or in one of several of 0 and 1; empty for none."""
    if isinstance(answer, str):
        return lambda row: cell_label(table, row, answer, reader)
    flags = FlagReader(answer)

    def marked(row: Row) -> str:
        found = flags.read(table, row) or [""]
        if len(found) > 1:
            raise DataError(f"{table.name}:{row.number}: a 1 stands in {first_few(found)}; one is expected")
        return found[0]

    return marked


def _leave_out(table: Table, report: ReadReport, row: Row, error: UnreadableImage) -> None:
    """Note a row whose image can't be read; why, of the first."""
    if not report.unseen:
        report.remarks.append(f"{table.name}:{row.number}: {error}")
    report.unseen.append(row.number)


def _opened(source: str | Table, columns: Columns, options: ReadingOptions) -> Table:
    if not isinstance(source, Table):
        return open_table(source, columns.all(), options)
    check_columns(source, columns.all())
    return source


def _walk(table: Table, columns: Columns, report: ReadReport) -> Iterator[tuple[Row, Record]]:
    seen: dict[str, tuple[str, int]] = {}  # uid -> content hash, row number
    times: dict[str, int] = {}  # content hash -> rows with it, where the content makes the id
    for row in table.rows:
        fields = {
            name: (_image if name in columns.images else _text)(table, row, column)
            for name, column in columns.fields.items()
        }
        if any(_UNSTORABLE.search(text) for text in fields.values()):
            fields = {name: storable_text(text) for name, text in fields.items()}
            report.repaired.append(row.number)
        if not any(text.strip() for text in fields.values()):
            report.blank.append(row.number)
            continue
        metadata = {column: plain(row.values.get(column)) for column in columns.metadata}
        record = Record(uid="", fields=fields, metadata=metadata)
        content = record.content_hash()
        if columns.id is None:
            times[content] = times.get(content, 0) + 1
            uid = content if times[content] == 1 else f"{content}-{times[content]}"
        else:
            uid = _text(table, row, columns.id).strip()
            if not uid:
                raise DataError(f"{table.name}:{row.number}: the id column {columns.id!r} is empty here")
            if uid in seen:
                if seen[uid][0] != content:
                    raise DataError(
                        f"{table.name}:{row.number}: the id {uid!r} is already that of {table.what} {seen[uid][1]}, "
                        f"with another content; ids must be unique (drop the id setting to have them made)"
                    )
                report.repeated.append(row.number)
                continue
            seen[uid] = (content, row.number)
        yield row, Record(uid=uid, fields=fields, metadata=metadata)


def _text(table: Table, row: Row, column: str) -> str:
    """A cell of a record or its id. Records are known by these, so they stay as earlier versions wrote them."""
    return cell_text(table, row, column, whole=False)


def _image(table: Table, row: Row, column: str) -> str:
    """What the image is known by."""
    source = image_source(value := row.values.get(column))
    if source is None:
        raise DataError(
            f"{table.name}:{row.number}: the column {column!r} holds a {type(value).__name__}; the address of "
            "an image, or its bytes, is expected"
        )
    return known_by(source)


def storable_text(text: str) -> str:
    """``text`` with U+FFFD in place of characters that can't be stored."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def plain(value: Any) -> Any:
    """``value`` as JSON can say it."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return storable_text(str(value))


# -- Images ------------------------------------------------------------------------------------------------------------


def known_by(source: str | bytes) -> str:
    """What stands for an image when its record is told from others: not what it is shown as, which Pillow decides."""
    return source if isinstance(source, str) else f"bytes:{ImageData('bytes', source).digest}"


def shown(source: str | bytes, rules: ImageRules, before: str = "") -> str:
    """An address that a browser loads: ``source`` itself, or the file or bytes as a data: URL, made smaller.

    A file or bytes that were shown as ``before`` are not read again: that takes 9 ms. Raises UnreadableImage.
    """
    if isinstance(source, str):
        source = source.strip()
        if not source or file_path(source) is None or source[:5].lower() == "data:":
            return source  # what the platform can't show, its connector refuses
    if before:
        return before
    try:
        picture = read_image(source, EDGE, rules)
    except UnreadableImage:
        if isinstance(source, str) and source.startswith(_OF_THE_PLATFORM):
            return source
        raise
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=_QUALITY)
    return data_url(written.getvalue(), "image/jpeg")


def with_images(
    rows: Iterable[tuple[Row, Record]],
    columns: Mapping[str, str],
    rules: ImageRules,
    unreadable: Callable[[Row, UnreadableImage], None],
    known: Known,
) -> Iterator[tuple[Row, Record]]:
    """The rows, in their order, with what is ``shown`` in the fields of ``columns``, field name -> column.

    What is ``known`` is shown as it was. A record whose image can't be read is left out, as nobody could judge it, and
    told to ``unreadable``.
    """

    def read(row: Row, record: Record, before: Mapping[str, str]) -> Record | UnreadableImage:
        try:
            images = {
                name: shown(image_source(row.values.get(key)) or "", rules, before.get(name, ""))
                for name, key in columns.items()
            }
        except UnreadableImage as error:
            return error
        return replace(record, fields={**record.fields, **images})

    with ThreadPoolExecutor(_READERS, thread_name_prefix="images") as readers:
        for batch in batched(rows, _BATCH):
            earlier = known([record.uid for _, record in batch])
            before = (earlier[record.uid].fields if record.uid in earlier else {} for _, record in batch)
            for (row, _), found in zip(batch, readers.map(read, *zip(*batch, strict=True), before), strict=True):
                if isinstance(found, UnreadableImage):
                    unreadable(row, found)
                else:
                    yield row, found
