"""What a kind of question is: what its answers come to, and the heads that are fitted on them.

A new kind is one class like those in ``choice`` and ``span``, named in ``kinds``, and a line in each connector's table
of platform config.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend.activation import SOFTMAX, Activation
from nextlabel.backend.annotators.label_errors import LabelErrors
from nextlabel.backend.encoders.base import Encoder, EncoderSpec
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.models.card import Figure, JobKind, ModelCard
from nextlabel.backend.models.probe import Probe
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling, Span, Suggestion, Value

from .head import Head, Space
from .outputs import Flags, Outputs, Rows
from .voices import Voicing

Target: TypeAlias = int | npt.NDArray[np.bool_] | tuple[Span, ...]
"""What the answers to one record come to, for a learner: a class, a flag per label, or spans."""

Column: TypeAlias = tuple[str, Any, tuple[int, ...]]
"""Name, dtype and shape of a column of a table."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """All that a model says of one record: what it suggests, and the probability of every label.

    Probabilities sum to 1 for a single label, and stand each for itself where there may be several. Span labelings
    have none. ``problem``: what of the record can't be read, and why; then nothing is suggested.
    """

    suggestion: Suggestion
    probabilities: Mapping[str, float]
    problem: str = ""

    @classmethod
    def of_unread(cls, problem: str, version: str) -> Prediction:
        """What the model called ``version`` says of a record that can't be read."""
        return cls(Suggestion((), 0.0, version), {}, problem)


class Question(ABC):
    """One project's question.

    ``activation``: how the probabilities that strategies see are to be read, and whether a record may be given any
    number of labels. ``reads_tokens``: whether its models read a vector per token, and not one per text. ``scores``:
    whether they say how likely each label is. ``compares``: whether annotators are compared on its answers. ``votes``:
    whether each annotator's answer is kept as a vote. ``rungs``: what may be trained of a text encoder, the cheapest
    first. ``blank``: the target of a record without an answer, None where nothing says that. ``part``: what values
    consist of.
    """

    part: ClassVar[type] = str

    activation: ClassVar[Activation] = SOFTMAX
    reads_tokens: ClassVar[bool] = False
    scores: ClassVar[bool] = True
    compares: ClassVar[bool] = False
    votes: ClassVar[bool] = True
    rungs: ClassVar[tuple[JobKind, ...]] = ("few-shot", "fine-tune")
    blank: ClassVar[int | None] = None

    def __init__(self, labeling: Labeling) -> None:
        self.labeling = labeling
        self.index = {label: number for number, label in enumerate(labeling.labels)}

    # -- answers -> targets ------------------------------------------------------------------------------------------

    @abstractmethod
    def column(self, name: str) -> Column:
        """A column of targets."""

    def vote_column(self, name: str) -> Column:
        """A column of votes."""
        return self.column(name)

    def vote(self, value: Value) -> Any:
        """One annotator's answer as a vote; None where it is none, or nothing that it says is asked."""
        return None

    @abstractmethod
    def _target(self, known: Sequence[str | Span], whole: bool) -> Target | None:
        """The target of what is ``known`` of a value; ``whole``: all of it is."""

    def target(self, value: Value | None) -> tuple[Target | None, frozenset[str]]:
        """What ``value`` is to a learner, and its labels that the question lacks.

        None if there is no value, or nothing in it answers the question; nor is anything learned of a value with a
        parent of labels, which says that one of them applies, and not which.
        """
        parts: tuple[str | Span, ...] = value or ()
        labels = labels_of(parts)
        known = [part for part, label in zip(parts, labels, strict=True) if label in self.index]
        parents = set(self.parents_in(parts))
        unknown = frozenset(label for label in labels if label not in self.index and label not in parents)
        if value is None or (value and not known) or parents:
            return None, unknown
        return self._target(known, len(known) == len(labels)), unknown

    def parents_in(self, value: Sequence[str | Span]) -> list[str]:
        """The parts of ``value`` that are parents of labels in a tree, and no labels themselves."""
        parents = self.labeling.tree.parents
        return [label for label in labels_of(value) if label in parents] if parents else []

    def answers(self, one: Annotation) -> bool:
        """Whether an annotation is an answer to this kind of question: it may be from when it was of another kind."""
        return all(isinstance(part, self.part) for part in one.value)

    def fitted(self, one: Annotation, text: str) -> tuple[Annotation | None, list[str]]:
        """What counts of an annotation of a record with this ``text``, and what is wrong with the rest of it.

        None where nothing does. What was given stays in the log and in exports.
        """
        return one, []

    def as_given(self, given: Sequence[Annotation], text: str) -> Value | None:
        """What the majority of the answers ``given`` to a record with this ``text`` says, as it was given."""
        counted = {one.id: counts for one in given if (counts := self.fitted(one, text)[0]) is not None}
        decided = self.consensus(counted.values())
        if decided is None:
            return None
        says = (one for one in given if one.id in counted and _canonical(counted[one.id].value) == decided)
        newest = max((one for one in says if one.status is AnnotationStatus.SUBMITTED), key=lambda one: one.updated_at)
        return self.sensible(newest.value, text)

    def sensible(self, value: Value, text: str) -> Value:
        """The parts of ``value`` that mean something about a record with this ``text``, as they were given."""
        return value

    def consensus(self, annotations: Iterable[Annotation]) -> Value | None:
        """The majority among a record's current answers, or None while nobody has submitted one.

        Skips and deletions don't count; answers marked as the truth count alone. Everyone has one vote: an annotator's
        newest answer. A tie goes to the newest answer, which its author could give knowing the older ones; equal times
        go to the greater id.
        """
        votes = [_canonical(one.value) for one in newest_answers(annotations).values()]
        return self._decided(votes) if votes else None

    def _decided(self, votes: Sequence[Value]) -> Value:
        """The value given most often."""
        counts = Counter(votes)
        most = max(counts.values())
        return next(vote for vote in reversed(votes) if counts[vote] == most)

    def agreement(self, values: Sequence[Value]) -> float | None:
        """How far the answers of several people to one record are alike, in [0, 1]: the mean over all pairs of them."""
        pairs = [self._alike(one, other) for one, other in combinations(values, 2)]
        return sum(pairs) / len(pairs) if pairs else None

    def _alike(self, one: Value, other: Value) -> float:
        """How far two answers say the same, in [0, 1]."""
        return float(_canonical(one) == _canonical(other))

    # -- answers as other programs take them --------------------------------------------------------------------------

    def exported(self, cell: Sequence[Any] | None, *, known: bool = False) -> Any:
        """``cell``, an answer as :func:`as_json` has it, as a typed column has it; None for none.

        ``known``: without labels that the question lacks.
        """
        return None if cell is None else [part for part in cell if not known or part in self.index]

    def feature(self, label: Any) -> Any:
        """The type of such a column in the ``datasets`` library, given that of a label."""
        return [label]

    # -- answers from elsewhere ---------------------------------------------------------------------------------------

    @property
    def marks(self) -> bool:
        """Whether answers are stretches of a text."""
        return self.part is Span

    @property
    def several(self) -> bool:
        """Whether an answer is labels of a whole record, any number of them."""
        return self.activation.several

    def fault(self, value: Value, text: str) -> str:
        """Why ``value``, of labels that are asked, is no whole answer about a record with this ``text``; or empty."""
        return ""

    def renamed(self, value: Value, names: Mapping[str, str]) -> Value:
        """``value`` with other labels: ``names`` has the new one for each that is called otherwise elsewhere."""
        return tuple(names.get(str(part), str(part)) for part in value)

    # -- targets -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def value_of(self, target: Any) -> Value:
        """The answer that ``target``, a row of targets, stands for."""

    @abstractmethod
    def carried(self, targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """bool [k, c]: which labels the records with these ``targets`` carry."""

    def count(self, targets: npt.NDArray[Any]) -> dict[str, int]:
        """How many of ``targets`` carry each label; spans as often as they come."""
        counts = self.carried(targets).sum(axis=0)
        return {label: int(count) for label, count in zip(self.labeling.labels, counts, strict=True)}

    @abstractmethod
    def right(self, outputs: Outputs, targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """bool [n]: of which texts all that is in ``outputs`` is right."""

    def figures(self, outputs: Outputs, targets: npt.NDArray[Any]) -> dict[str, float]:
        """What is measured beside whole answers, by name; by these a model is chosen among those as often right."""
        return {}

    def unsaid(self, cache: EmbeddingCache, rows: Rows, targets: npt.NDArray[Any]) -> str:
        """What of ``targets`` no head on the vectors in ``rows`` of the cache could say, in words; empty if nothing."""
        return ""

    def doubts(self, outputs: Outputs, targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which answers, bool [k], a model that has not seen them takes for slips: more likely wrong than right."""
        return np.zeros(len(targets), np.bool_)

    @abstractmethod
    def evidence(self, head: Head, cache: EmbeddingCache, rows: Rows) -> Outputs:
        """What ``head`` says of the texts in ``rows`` of the cache, as :meth:`label_errors` takes it: one row each."""

    @abstractmethod
    def label_errors(self, evidence: Outputs, targets: npt.NDArray[Any]) -> LabelErrors:
        """How likely each of these answers is wrong, by the :meth:`evidence` of heads that have not seen it.

        Raises MissingExtra (cleanlab).
        """

    @abstractmethod
    def proposed(self, evidence: Outputs) -> list[Value]:
        """What the evidence says in place of an answer."""

    def in_a_cell(self, value: Value) -> Any:
        """``value`` as plain values, as a cell of a table has it."""
        return as_json(value)

    def card_figures(self, outputs: Outputs, targets: npt.NDArray[Any], where: str) -> tuple[Figure, ...]:
        """The same with their intervals, as measured on ``where``."""
        return ()

    # -- trainings ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def too_few(self, targets: npt.NDArray[Any]) -> str:
        """Why no encoder can be trained on these answers yet; empty if one can."""

    @abstractmethod
    def examples(self, texts: Sequence[Readable], targets: npt.NDArray[Any]) -> Any:
        """Texts, as the encoder reads them, and their answers, as a training takes them."""

    @abstractmethod
    def noted(self, card: ModelCard, examples: Any, head: Path) -> ModelCard:
        """``card`` with what is to be said of the ``examples`` that were trained on, and of the head in the file."""

    # -- encoders and their vectors ----------------------------------------------------------------------------------

    @abstractmethod
    def load_encoder(self, spec: EncoderSpec, threads: int | None = None) -> Encoder:
        """The encoder that its heads read the vectors of. Raises as encoders.load does."""

    @abstractmethod
    def open_cache(self, folder: Path, encoder: Encoder) -> EmbeddingCache:
        """The cache in ``folder`` of what ``encoder``, one of those, has read."""

    @abstractmethod
    def read(self, cache: EmbeddingCache, rows: Rows) -> npt.NDArray[Any]:
        """What a head reads of the texts in ``rows`` of the cache: one item per text."""

    @abstractmethod
    def reader(self, encoder: Encoder) -> Callable[[Sequence[Readable]], npt.NDArray[Any]]:
        """The same of texts that are in no cache. Equal for one encoder."""

    # -- heads -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def fit(
        self,
        space: Space,
        rows: Rows,
        targets: npt.NDArray[Any],
        warm: Head | None = None,
        settled: Flags | None = None,
    ) -> Head:
        """A head from the answers to the texts in ``rows`` of the space's cache; there may be none.

        Answers that are ``settled`` bool [k] are not doubted, whatever the head makes of the others.

        Deterministic but for ``warm``, one of the same space, which saves time.
        """

    def crossed(
        self, space: Space, rows: Rows, targets: npt.NDArray[Any], settled: Flags | None = None, folds: int = 3
    ) -> Outputs:
        """What heads say of the texts in ``rows`` that were fitted without them: ``folds`` are, which takes a while.

        ``settled`` as in ``fit``.
        """
        found: Outputs = np.empty(len(rows), np.object_)
        fold_of = np.arange(len(rows)) % folds
        for fold in range(folds):
            test = np.flatnonzero(fold_of == fold)
            kept = fold_of != fold
            head = self.fit(space, rows[kept], targets[kept], settled=None if settled is None else settled[kept])
            found[test] = head.predict(space.cache, rows[test])
        return found

    @abstractmethod
    def read_head(self, path: Path) -> Head:
        """The head in ``path``, whatever labels it is for. Raises LearningError if it can't be read."""

    def load(self, path: Path, encoder: Encoder) -> Head | None:
        """The head in ``path``, brought to the labels that are asked; None if nothing that it knows is.

        Raises LearningError if it can't be read, or reads other vectors than those of ``encoder``.
        """
        head = self.read_head(path).aligned(self.labeling.labels, self.activation)
        if head is not None and (fault := head.fault(encoder)):
            raise LearningError(fault)
        return head

    @abstractmethod
    def suggestions(self, outputs: Outputs, version: str) -> list[Suggestion]:
        """What a head's ``outputs`` suggest, each by the model called ``version``."""

    def predictions(self, outputs: Outputs, version: str) -> list[Prediction]:
        """The same with the probability of every label, where there are such."""
        return [Prediction(one, {}) for one in self.suggestions(outputs, version)]

    @property
    @abstractmethod
    def voicing(self) -> Voicing:
        """How it hears what others than the head say of records."""

    @abstractmethod
    def prior(self, file: Path) -> tuple[Probe | None, str]:
        """What a trained model's head in ``file`` knows of the labels that are asked, and how its own differ from them.

        None where it knows nothing that is asked, or where probes don't start from heads.
        """


def newest_answers(annotations: Iterable[Annotation]) -> dict[str, Annotation]:
    """The newest submitted answer of each annotator of a record, in the order of their times.

    Where some are marked as the truth, only these.
    """
    newest: dict[str, Annotation] = {}
    submitted = [one for one in annotations if one.status is AnnotationStatus.SUBMITTED]
    truths = [one for one in submitted if one.is_truth]
    for one in sorted(truths or submitted, key=lambda one: (one.updated_at, one.id)):
        newest.pop(one.annotator, None)
        newest[one.annotator] = one
    return newest


def is_settled(annotations: Iterable[Annotation]) -> bool:
    """Whether one of a record's answers is the truth, whatever others say: by an adjudicator, or marked as such."""
    return any(one.is_truth and one.status is AnnotationStatus.SUBMITTED for one in annotations)


def _canonical(value: Value) -> Value:
    """One form for answers that say the same: the order of labels or spans carries no meaning."""
    if spans := set(spans_of(value)):
        return tuple(sorted(spans, key=lambda span: (span.start, span.end, span.label)))
    return tuple(sorted(set(labels_of(value))))


def spans_of(value: Iterable[str | Span]) -> list[Span]:
    """The spans in ``value``, in order."""
    return [part for part in value if isinstance(part, Span)]


def labels_of(value: Iterable[str | Span]) -> list[str]:
    """The labels in ``value``, those of spans too, in order."""
    return [part.label if isinstance(part, Span) else part for part in value]


def as_json(value: Value) -> list[Any]:
    """``value`` as JSON has it: labels, and spans as objects."""
    return [asdict(part) if isinstance(part, Span) else part for part in value]
