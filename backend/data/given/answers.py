"""What a file of answers comes to, whatever wrote it: a row for each answer, what it is about, and who gave it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final, TypeAlias

from nextlabel.backend.data.cells import LabelReader, value_text, values_in
from nextlabel.backend.data.reading import NOTHING_SAID, ReadingOptions
from nextlabel.backend.data.rows import Row, Table
from nextlabel.connectors.answers import read_labels, read_list, read_path, read_span
from nextlabel.connectors.errors import DataError
from nextlabel.connectors.hierarchy import Hierarchy, chosen, joined, path_of
from nextlabel.connectors.records import AnnotationStatus, Span, Value

FORMATS: Final[Mapping[str, str]] = {
    "table": "a table",
    "nextlabel": "answers that nextlabel exported, a row for each",
    "label-studio": "an export of Label Studio (JSON)",
    "label-studio-min": "an export of Label Studio (JSON-MIN)",
    "argilla": "records of Argilla (JSON)",
    "argilla-dataset": "records of Argilla (a data set)",
    "doccano": "an export of doccano",
    "prodigy": "a data set of Prodigy",
    "spacy": "documents of spaCy",
    "conll": "tokens and tags (CoNLL)",
}
"""What can be read, and what it is called."""
OUR_SEPARATOR: Final = "|"
"""What parts several labels in a cell that nextlabel wrote."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look for. ``marks``: answers are spans; ``several``: labels, any number of them.

    ``fields``: field -> column of the recipe; ``id`` the column of its ids, which has to be there if
    ``id_said``. ``label``, ``annotator``, ``time`` and
    ``status`` name columns of a table, where somebody named them; ``flags`` columns of 0 and 1, one per label;
    ``annotator_columns`` (names or patterns) one column per annotator. ``separator`` parts the labels in a cell.
    ``empty_is_none``: nothing is the answer that no label applies, and not a missing one.
    """

    question: str
    labels: Sequence[str]
    fields: Mapping[str, str]
    marks: bool = False
    several: bool = False
    id: str | None = None
    id_said: bool = False
    label: str | None = None
    flags: tuple[str, ...] = ()
    annotator: str | None = None
    annotator_columns: tuple[str, ...] = ()
    time: str | None = None
    separator: str | None = None
    empty_is_none: bool = False
    options: ReadingOptions = NOTHING_SAID


@dataclass(frozen=True, slots=True)
class GivenRow:
    """One answer. ``number`` is its line, row or document in the file.

    ``ids``: names that its record may go by; ``fields``: what the file says of the record, by the file's names for it.
    ``text`` stands there alone where the file knows one text only; ``loose``: white space in it is not the text's own.
    ``annotator`` is empty where nobody is named.
    """

    number: int
    ids: tuple[str, ...]
    fields: Mapping[str, Any]
    value: Value
    annotator: str = ""
    status: AnnotationStatus = AnnotationStatus.SUBMITTED
    when: datetime | None = None
    text: str | None = None
    loose: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that can't be taken, and why."""

    number: int
    reason: str


Found: TypeAlias = GivenRow | Fault


@dataclass
class Reading:
    """An opened file. ``what`` a number counts ("line", "row", "document"); ``unanswered``: rows without an answer.

    ``form`` says how it was read, in words. ``unanswered`` and ``remarks`` are whole once all ``rows`` are taken.
    """

    name: str
    format: str
    what: str
    rows: Iterator[Found] = field(default_factory=lambda: iter(()))
    form: str = ""
    unanswered: int = 0
    remarks: list[str] = field(default_factory=list)


# -- values ------------------------------------------------------------------------------------------------------------


def marks_of(value: Any) -> tuple[Span, ...]:
    """Spans as tools write them: a list of ``[start, end, label]``, or of objects. Raises ValueError for others."""
    spans: list[Span] = []
    for one in value or ():
        if isinstance(one, Mapping):
            place = one.get("value") if isinstance(one.get("value"), Mapping) else one
            start = _first(place, "start", "start_offset", "startOffset")
            end = _first(place, "end", "end_offset", "endOffset")
            label = _first(place, "label", "labels", "hypertextlabels", "entity", "tag")
        elif isinstance(one, (list, tuple)) and len(one) == 3:
            start, end, label = one
        else:
            raise ValueError(f"{one!r:.60} is no span: [start, end, label] is expected, or an object with these")
        for name in label if isinstance(label, list) else [label]:
            spans.append(read_span(start, end, name, _first(one, "text") if isinstance(one, Mapping) else ""))
    return tuple(dict.fromkeys(spans))


def _first(found: Any, *keys: str) -> Any:
    return next((found[key] for key in keys if key in found), None)


def labels_of(value: Any) -> tuple[str, ...]:
    """Labels as tools write them: one, or a list of them. Raises ValueError for what is none."""
    if value is None:
        return ()
    return read_labels(value if isinstance(value, list) else [value])


def places_in(listed: Sequence[Any], wanted: Wanted) -> tuple[str, ...] | None:
    """The labels of an answer that Label Studio writes as places in a tree; None for what is no such answer.

    ``listed``: what ``values_in`` makes of it, or it alone where that is nothing.

    ``{"taxonomy": [...]}`` holds the paths that were chosen, a list of paths all that were ticked, and a list of names
    is one path, if one of the tree has it. A place is a label, or a parent, by its
    path; or a label by what the path ends with. Raises ValueError for a path that is none.
    """
    trees = [one["taxonomy"] for one in listed if isinstance(one, Mapping) and "taxonomy" in one]
    tree = Hierarchy.of(wanted.labels)
    if trees:
        places: Sequence[str] = [read_path(path) for tree in trees for path in read_list(tree, "a taxonomy") if path]
    elif any(isinstance(one, list) for one in listed):
        ticked = [read_path(one if isinstance(one, list) else [one]) for one in listed]
        places = chosen(ticked, several=wanted.several)
    elif len(listed) > 1 and all(isinstance(one, str) for one in listed) and joined(listed) in tree.nodes:
        places = [joined(listed)]
    else:
        return None
    nodes = tree.nodes
    return tuple(dict.fromkeys(place if place in nodes else path_of(place)[-1] for place in places))


def cell_value(value: Any, wanted: Wanted, reader: LabelReader) -> Value | None:
    """What a cell of a table answers; None where it answers nothing. Raises DataError or ValueError."""
    listed = values_in(value)
    if wanted.marks:
        if listed is None and value_text(value).strip():
            raise ValueError("no list of spans: [[start, end, label], ...] is expected")
        return marks_of(listed) if listed or (listed is not None and wanted.empty_is_none) else None
    if listed is not None and (places := places_in(listed, wanted)) is not None:
        return places or None
    if listed is None and wanted.separator is not None:
        listed = [part for part in value_text(value).split(wanted.separator) if part.strip()]
    names = [reader.read(one) for one in ([value] if listed is None else listed)]
    labels = tuple(dict.fromkeys(name for name in names if name))
    return labels if labels or (wanted.several and wanted.empty_is_none) else None


def moment(value: Any) -> datetime | None:
    """A time as files have it: ISO 8601, seconds or milliseconds since 1970. Raises ValueError for what is none."""
    if value is None or value != value or value == "":
        return None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    try:
        number = float(value)
    except (TypeError, ValueError):
        when = datetime.fromisoformat(str(value).strip())
        return when if when.tzinfo else when.replace(tzinfo=UTC)
    return datetime.fromtimestamp(number / 1000 if abs(number) > 1e11 else number, UTC)


def names_in(*values: Any) -> tuple[str, ...]:
    """Those of ``values`` that may be a record's name, as text."""
    texts = (str(value).strip() for value in values if isinstance(value, (str, int)) and not isinstance(value, bool))
    return tuple(dict.fromkeys(text for text in texts if text))


def counted(rows: Iterable[Found | None], reading: Reading) -> Iterator[Found]:
    """``rows``; those without an answer (None) are counted in ``reading`` and left out."""
    for row in rows:
        if row is None:
            reading.unanswered += 1
        else:
            yield row


def why(error: Exception) -> str:
    """A fault in words."""
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


FAULTS: Final = (DataError, ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError)
"""What reading one row may raise where it is not as it should be."""


def reading_of(
    table: Table, form: str, wanted: Wanted, read: Callable[[Row, Wanted], Iterable[Found | None]]
) -> Reading:
    """The answers in a table of the kind ``form``: ``read`` says what is in a row; where it can't, that is a fault."""
    reading = Reading(table.name, form, table.what, form=FORMATS[form])

    def rows() -> Iterator[Found]:
        for row in table.rows:
            try:
                found = list(read(row, wanted))
            except FAULTS as error:
                found = [Fault(row.number, why(error))]
            yield from counted(found or [None], reading)
        reading.remarks += table.remarks()

    reading.rows = rows()
    return reading
