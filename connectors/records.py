"""The words that everything in nextlabel shares. Frozen values; no I/O; no platform in sight.

At the end, answers are compared with what may be answered.

``Record``      one item to label.
``Labeling``    the question asked about every record.
``Suggestion``  a pre-annotation made by a model.
``Annotation``  one annotator's answer to one record.
``GivenAnswer`` an answer that somebody gave elsewhere, to be put on the platform.
``Unreadable``  an answer that says nothing we know.
``Changes``     what a look at the platform found.
``Hint``        what a webhook says: where to look, and nothing to believe.
``QueueEntry``  one place in a published queue generation.
``Finished``    a record with what came of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import chain
from typing import Any, TypeAlias

from nextlabel.connectors.content import Content, Readable
from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.hierarchy import SEPARATOR, Hierarchy
from nextlabel.connectors.html_text import marked_text, readable_text


class LabelKind(StrEnum):
    """What an answer looks like."""

    SINGLE = "single"  # exactly one label
    MULTI = "multi"  # any number of labels, none included
    SPAN = "span"  # labelled stretches of one text field


class FieldKind(StrEnum):
    """What a field of a record holds."""

    TEXT = "text"
    HTML = "html"  # shown as a web page, and read as what is seen of it
    IMAGE = "image"  # a URL, a path served by the platform, or a data: URI


class AnnotationStatus(StrEnum):
    """Where an annotation stands on the platform."""

    SUBMITTED = "submitted"
    SKIPPED = "skipped"
    DRAFT = "draft"  # begun, or taken up again: counts for nothing yet, and the record is in somebody's hands


@dataclass(frozen=True, slots=True)
class Field:
    """One named part of a record, as annotators see it."""

    name: str
    kind: FieldKind = FieldKind.TEXT


@dataclass(frozen=True, slots=True)
class Labeling:
    """The question asked: its name, its kind, the labels allowed, and the fields shown.

    ``descriptions`` may give a label a sentence in plain words; cold start compares texts with it. Labels like
    ``sexist > threats`` are leaves of a tree, see ``hierarchy``.
    """

    kind: LabelKind
    labels: tuple[str, ...]
    fields: tuple[Field, ...] = (Field("text"),)
    name: str = "label"
    instruction: str = ""
    descriptions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.labels) < 1 or any(not label.strip() for label in self.labels):
            raise ValueError("a labeling needs labels, none of them empty")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels repeat: {', '.join(self.labels)}")
        if not self.fields:
            raise ValueError("a labeling needs at least one field to show")
        Hierarchy.of(self.labels)  # complains

    def describe(self, label: str) -> str:
        """The words that stand for ``label`` in cold start: its description, or its name made readable."""
        return self.descriptions.get(label) or label.replace(SEPARATOR, ", ").replace("_", " ").replace("-", " ")

    @property
    def tree(self) -> Hierarchy:
        """The tree that the labels stand in; without parents where they stand side by side."""
        return Hierarchy.of(self.labels)

    @property
    def marked(self) -> str:
        """The field that spans are offsets into: the first text field. Raises LabelingMismatch if there is none."""
        for one in self.fields:
            if one.kind is not FieldKind.IMAGE:
                return one.name
        raise LabelingMismatch("spans need a text field to mark")

    def seen(self, record: Record) -> dict[str, str]:
        """The fields of ``record`` as annotators see them: HTML as the text that a page shows of it.

        In the field that is marked every character is there that the page counts, so that spans fit.
        """
        found = dict(record.fields)
        for one in self.fields:
            if one.kind is FieldKind.HTML and one.name in found:
                exact = self.kind is LabelKind.SPAN and one.name == self.marked
                found[one.name] = (marked_text if exact else readable_text)(found[one.name])
        return found

    def content(self, record: Record) -> Readable:
        """What an encoder reads of ``record``: its text fields in the order shown, blank ones left out, and its images.

        For spans it is the first text field, which they are offsets into, and the others are its context.
        """
        texts: list[str] = []
        images: list[str] = []
        seen = self.seen(record)
        for shown in self.fields:
            (images if shown.kind is FieldKind.IMAGE else texts).append(seen.get(shown.name, ""))
        if self.kind is LabelKind.SPAN:
            first, *others = texts or [""]
            context = "\n\n".join([part for part in others if part.strip()])
            return Content(first, context=context) if context else first
        text = "\n\n".join([part for part in texts if part.strip()])
        addresses = tuple([part.strip() for part in images if part.strip()])
        return Content(text, addresses) if addresses else text


@dataclass(frozen=True, slots=True)
class Span:
    """A labelled stretch of a text: character offsets, end exclusive.

    ``text``: what it covered when it was marked, where the platform says so; no part of the answer.
    """

    start: int
    end: int
    label: str
    text: str = field(default="", compare=False)


Value: TypeAlias = tuple[str, ...] | tuple[Span, ...]
"""An answer: label names (exactly one for single), or spans. Empty means "none of them"."""


@dataclass(frozen=True, slots=True)
class Record:
    """One item to label. ``uid`` is ours and stable; ``fields`` maps field names to text or image addresses."""

    uid: str
    fields: Mapping[str, str]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def content_hash(self) -> str:
        """32 hex digits that are equal exactly for records with equal fields."""
        digest = hashlib.blake2b(digest_size=16)
        for name in sorted(self.fields):
            for part in (name, self.fields[name]):
                data = part.encode("utf-8", "surrogatepass")
                digest.update(len(data).to_bytes(8, "little"))
                digest.update(data)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A pre-annotation: the value a model proposes, its confidence in [0, 1], and the model's version.

    ``scores``: the confidence in each part of the value, where the model has an opinion on each; empty otherwise.
    ``leaf``: where the value is a parent of labels, the likeliest of these with its confidence, for platforms that
    list labels side by side.
    """

    value: Value
    score: float
    model_version: str
    scores: tuple[float, ...] = ()
    leaf: tuple[str, float] | None = None

    def flat(self) -> Suggestion:
        """The same with a label in the place of a parent."""
        if self.leaf is None:
            return self
        return Suggestion((self.leaf[0],), self.leaf[1], self.model_version)


FORGOTTEN = "None"
"""Stands for the annotator of an answer whose account was deleted, on a platform that keeps such answers."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotator's answer to one record, as the platform has it.

    ``id`` is the platform's id of the answer; with ``updated_at`` it is the key under which the answer is
    logged exactly once. ``annotator`` is the platform's user id. ``seen_version`` is the model version whose
    suggestion the annotator was shown, where the platform says so. ``is_truth``: somebody marked it as the truth there,
    whatever others say.
    """

    id: str
    remote_id: str
    annotator: str
    value: Value
    status: AnnotationStatus
    updated_at: datetime
    seen_version: str | None = None
    is_truth: bool = False


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """An answer that the platform's user ``annotator`` gave elsewhere to the record ``remote_id``.

    ``key`` names it for ever: it is on the platform once, however often it is sent.
    """

    key: str
    remote_id: str
    annotator: str
    value: Value
    status: AnnotationStatus = AnnotationStatus.SUBMITTED


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An annotation that could not be read: it is set aside, and read again when it changes.

    ``reason`` says what is wrong with it, ``fix`` what somebody may do. ``annotator`` is empty where it names nobody.
    """

    id: str
    remote_id: str
    annotator: str
    reason: str
    fix: str


Found: TypeAlias = Annotation | Unreadable
"""What a platform has under an annotation's id."""


@dataclass(frozen=True, slots=True)
class RemoteRecord:
    """A record as the platform holds it: the platform's id, and the record (uid included) read back.

    ``ids``: what stands beside it there, key -> value, which may be the id that somebody else has for it. ``unread``:
    equal for records that show the same in fields that can't be read here; empty where there is no such field.
    ``made_at``: when it was made, on a platform that gives the ids of deleted records away again. With another time,
    the same id is another record.
    ``fault``: why the platform could not show what is in it; the record is empty then.
    """

    remote_id: str
    record: Record
    ids: Mapping[str, str] = field(default_factory=dict, compare=False)
    unread: str = field(default="", compare=False)
    made_at: datetime | None = field(default=None, compare=False)
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a look at the platform found.

    ``complete`` maps a remote record id to the ids of all annotations that the look listed for it, drafts included.
    What else the log holds for that record may have been deleted: it is asked for by itself before that is believed
    (:meth:`~nextlabel.connectors.base.Connector.annotations`). ``unreadable`` ones are among them. ``cursor``, where
    given, is where the next poll starts. ``gap``: changes may have been missed, so everything should be compared.
    ``records`` that were made or corrected, as they are now, and maybe others; ``total``: how many the platform has,
    where that is cheap to know. ``missed``: why ``records`` could not be listed, if so; the next look makes
    up for it.
    """

    annotations: tuple[Annotation, ...] = ()
    complete: Mapping[str, frozenset[str]] = field(default_factory=dict)
    cursor: str | None = None
    gap: bool = False
    unreadable: tuple[Unreadable, ...] = ()
    records: tuple[RemoteRecord, ...] = ()
    total: int | None = None
    missed: str = ""

    @classmethod
    def listed(cls, found: Mapping[str, Sequence[Found]]) -> Changes:
        """What was read of some records: remote id -> all annotations that it has.

        An unreadable one without an id stands for all that a record has: nobody knows which these are.
        """
        known = {record: here for record, here in found.items() if all(one.id for one in here)}
        complete = {record: frozenset(one.id for one in here) for record, here in known.items()}
        readable, unreadable = sorted_out(chain.from_iterable(found.values()))
        return cls(readable, complete, unreadable=unreadable)


@dataclass(frozen=True, slots=True)
class Hint:
    """Where a webhook says that something happened. None of it is believed: it says where to look.

    ``annotations`` maps the ids of annotations that are said to be new, changed or deleted to their record's remote id,
    None where the event names none. ``records``: remote ids of records that are said to be deleted.
    ``seen_versions``: annotation id -> the version whose suggestion its annotator is said to have been shown.
    """

    annotations: Mapping[str, str | None] = field(default_factory=dict)
    records: frozenset[str] = frozenset()
    records_added: bool = False
    labeling_changed: bool = False
    train_requested: bool = False
    seen_versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody answered, by the platform's id and name of them."""

    annotator: str
    name: str
    value: Value


@dataclass(frozen=True, slots=True)
class Finished:
    """A record with what came of it, for an export.

    ``answer``: what was agreed on, None without an answer; ``settled``: for good. ``given``: everybody's answers, where
    they are asked for; ``suggestion``: a model's.
    """

    record: Record
    answer: Value | None
    settled: bool = False
    given: tuple[Given, ...] = ()
    suggestion: Suggestion | None = None


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One place in a queue generation. Rank 0 is served first.

    ``suggestion`` None shows the record blind: it has a place but no pre-annotation (audit slice).
    """

    remote_id: str
    rank: int
    suggestion: Suggestion | None


def sorted_out(found: Iterable[Found | None]) -> tuple[tuple[Annotation, ...], tuple[Unreadable, ...]]:
    """The annotations among ``found``, and those that could not be read."""
    every = tuple(found)
    readable = tuple(one for one in every if isinstance(one, Annotation))
    return readable, tuple(one for one in every if isinstance(one, Unreadable))


def can_be_given(labeling: Labeling, value: Value) -> bool:
    """Whether ``value`` is an answer to ``labeling``."""
    try:
        check_labels(labeling, value)
    except LabelingMismatch:
        return False
    return True


def check_labels(labeling: Labeling, value: Value) -> None:
    """Raises LabelingMismatch if ``value`` is of another kind, names a label that is not in the config, or too many."""
    names = [one.label if isinstance(one, Span) else one for one in value]
    wants_spans = labeling.kind is LabelKind.SPAN
    if wrong := [one for one in value if isinstance(one, Span) is not wants_spans]:
        kinds = ("no span", "spans") if wants_spans else ("a span", "labels of the whole record")
        raise LabelingMismatch(f"{wrong[0]!r} is {kinds[0]}; {labeling.name!r} asks for {kinds[1]}")
    if unknown := sorted(set(names) - {*labeling.labels, *labeling.tree.parents}):
        raise LabelingMismatch(
            f"not in the project's labeling config: {', '.join(unknown)}; it has {', '.join(labeling.labels)}"
        )
    if labeling.kind is LabelKind.SINGLE and len(names) > 1:
        raise LabelingMismatch(f"{labeling.name!r} takes one label, not {len(names)}: {', '.join(names)}")


def spans_of(value: Value) -> list[Span]:
    """The spans of a ``value`` that has been checked to hold nothing else."""
    return [one for one in value if isinstance(one, Span)]


def as_text(value: Any) -> str:
    """What a field of a platform's record says: its text, nothing for null, and JSON for everything else."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def ranked(entries: Sequence[QueueEntry]) -> list[QueueEntry]:
    """``entries``, best first. Raises ValueError if a record has two places."""
    found = sorted(entries, key=lambda entry: entry.rank)
    if len({entry.remote_id for entry in found}) < len(found):
        raise ValueError("a record has two places in one generation")
    return found
