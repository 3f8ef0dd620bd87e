"""What a suggester is: a model or a rule that a team has, and what it says in labels of the question."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from nextlabel.backend.encoders.cache import digests
from nextlabel.backend.models.spans.decoding import ScoredSpan
from nextlabel.backend.questions import Proposal
from nextlabel.connectors.content import Readable, text_of
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.records import Labeling, Record

NOTHING = Proposal()

Say: TypeAlias = Callable[[Sequence[str]], list[Proposal]]
"""Texts, none of them blank, to what is said of each in labels of the source's own; NOTHING where nothing is."""


def silence(texts: Sequence[str]) -> list[Proposal]:
    """Says nothing of any text."""
    return [NOTHING] * len(texts)


@dataclass(frozen=True, slots=True)
class Suggester:
    """``say`` and ``known`` are the source's own: labels that it has, None where it doesn't tell.

    ``ours``: its label -> label of the question. ``required``: labels of its own of which one has to be found in a
    record that is taken in; None where every record is. ``key``: a digest of all that its answers go by. ``about``:
    reads records in place of texts, for a source that knows them and not their texts. ``source``: what it is, a key of
    the recipe. Proposals below ``at_least`` are dropped. ``left_out``: labels that somebody said stand for nothing;
    ``foreign`` gathers those that it says and that nobody has said anything of. Used by one thread at a time.
    """

    name: str
    key: str
    source: str
    labeling: Labeling
    say: Say
    ours: Mapping[str, str]
    known: tuple[str, ...] | None = None
    required: tuple[str, ...] | None = None
    at_least: float = 0.0
    batch: int = 32
    about: Callable[[Sequence[Record]], list[Proposal]] | None = None
    left_out: frozenset[str] = frozenset()
    foreign: set[str] = field(default_factory=set)

    def propose(self, records: Sequence[Record]) -> list[Proposal | None]:
        """What it says of each record, in labels of the question; None where nothing. Raises what the source does."""
        return [self._translated(one) for one in self._said(records)]

    def keeps(self, records: Sequence[Record]) -> tuple[list[bool], list[Proposal | None]]:
        """Which records are to be taken in, by ``required``, and what it says of each."""
        said = self._said(records)
        proposals = [self._translated(one) for one in said]
        if not self.required:
            return [one is not None for one in proposals], proposals
        wanted = set(self.required)
        return [bool(wanted & set(self._heard(one))) for one in said], proposals

    def _said(self, records: Sequence[Record]) -> list[Proposal]:
        if self.about is not None:
            return self.about(records)
        texts = [text_of(self.labeling.content(record)) for record in records]
        asked = [at for at, text in enumerate(texts) if text.strip()]
        found = [NOTHING] * len(texts)
        for start in range(0, len(asked), self.batch):
            some = asked[start : start + self.batch]
            for at, one in zip(some, self.say([texts[at] for at in some]), strict=True):
                found[at] = one
        return found

    def _heard(self, said: Proposal) -> list[str]:
        """Its labels that are sure enough, the surest of labels that exclude each other alone."""
        sure = [label for label, p in said.probabilities.items() if p >= max(self.at_least, 0.5)]
        best = max(said.probabilities, key=lambda label: said.probabilities[label], default=None)
        if best is not None and said.probabilities[best] >= self.at_least:
            sure.append(best)
        return [*sure, *(one.label for one in said.marks if one.score >= self.at_least)]

    def _translated(self, said: Proposal) -> Proposal | None:
        """In labels of the question. Several of its labels may be one of ours, whose probabilities add up.

        Where the likeliest is none of ours, nothing is said: the rest is how likely each is among what it is not.
        """
        if self.known is None:
            self.foreign.update(
                {*said.probabilities, *(one.label for one in said.marks)} - {*self.ours, *self.left_out}
            )
        found: dict[str, float] = {}
        best = max(said.probabilities, key=lambda label: said.probabilities[label], default=None)
        if best is not None and self.ours.get(best) and said.probabilities[best] >= self.at_least:
            for label, p in said.probabilities.items():
                if new := self.ours.get(label):
                    found[new] = min(found.get(new, 0.0) + p, 1.0)
        marks = tuple(
            replace(mark, label=new)
            for mark in said.marks
            if mark.score >= self.at_least and (new := self.ours.get(mark.label))
        )
        return Proposal(found, marks) or None


def content_keys(labeling: Labeling, records: Iterable[Record]) -> list[str]:
    """What answers about records are kept under: equal exactly for records that read the same."""
    contents: list[Readable] = [labeling.content(record) for record in records]
    return [one.hex() for one in digests(contents)]


def mapped(
    name: str, known: Sequence[str] | None, given: Mapping[str, str], ours: Sequence[str], *, filters: bool = False
) -> dict[str, str]:
    """Label of a source -> ours. ``known``: all that it has, None where nobody knows.

    Raises ConfigError with a list: for one that it does not have, for one that is not ours, and where nothing of what
    it has is heard, unless it ``filters`` only.
    """
    where = f"suggest_from: {name}"
    has = f"it has {listed(known)}" if known is not None else ""
    if known is not None and (unknown := [label for label in given if label not in known]):
        raise ConfigError(f"{where}: it has no label {listed(unknown)}; {has}")
    if foreign := [label for label in dict.fromkeys(given.values()) if label and label not in ours]:
        raise ConfigError(f"{where}: labels: {listed(foreign)} is none of ours; ours are {listed(ours)}")
    if given:
        found = {label: new for label, new in given.items() if new}
    else:
        found = {label: label for label in ours if known is None or label in known}
    if not found and not filters:
        raise ConfigError(
            f"{where}: none of its labels is one of ours; {has}, ours are {listed(ours)}. Write which is which under "
            "`labels:`, as THEIRS: OURS"
        )
    return found


def listed(labels: Sequence[str], most: int = 40) -> str:
    """Labels in a sentence."""
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(map(repr, labels[:most])) + more


def whole_text(labels: Mapping[str, float]) -> Proposal:
    """A proposal about a whole text, of probabilities that may be 0."""
    return Proposal({label: float(p) for label, p in labels.items() if p > 0})


def marked(spans: Iterable[tuple[int, int, str, float]]) -> Proposal:
    """A proposal of stretches of a text."""
    return Proposal({}, tuple(ScoredSpan(start, end, label, score) for start, end, label, score in spans))
