"""A model: a head on the vectors of one space. The loop asks it to rank, to suggest, to answer requests, to be audited.

After every label another one is fitted on all answers in the log, saved before it is used, and loaded after a restart.
What is particular to a kind of question, its head and its question know.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.evaluation import wilson_interval
from nextlabel.backend.files import write_atomically
from nextlabel.backend.models.card import AUDIT, HELD_OUT, SLIPS
from nextlabel.backend.models.registry import CHOSEN_SPACE, SPACE_IN_USE, line_of
from nextlabel.backend.models.saving import HEAD_FILE
from nextlabel.backend.pool.pool import PoolState, Positions
from nextlabel.backend.questions import Block, Head, Outputs, Prediction, Proposal, Question, Weights
from nextlabel.backend.selection import Pool, Spans
from nextlabel.backend.serving.batcher import MicroBatcher
from nextlabel.backend.serving.pictures import with_pictures
from nextlabel.backend.store import ModelRow, Notice, Store
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Suggestion

from .embedding_space import OWN, EmbeddingSpace, EmbeddingSpaces

log = structlog.get_logger(__name__)

KEPT_PROBES = 10
"""Weights kept on disk; older rows stay in the store, so that the history of figures does not end."""
PROBE = "probe"
UNSAID = "units"
"""The kind of notices about marks that a model's tokens can't say, and the key of the only one."""
UNSAID_FIX = "take an encoder that was trained on texts of this language, or mark whole words"
SHOWN_SLIPS = 20
VOICES = "voices"
"""Among a probe's metrics: what suggesters count beside it."""


@dataclass(frozen=True, slots=True)
class CachedVectors:
    """Embeddings of candidates, read from the memory-mapped cache only where a strategy asks for them."""

    cache: EmbeddingCache
    rows: npt.NDArray[np.int64]

    def take(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """float32 [k, d] for int64 [k] indices into the candidates."""
        return self.cache.take(self.rows[indices])


@dataclass(frozen=True, slots=True)
class Model:
    """A fitted head, the name it is kept under, and the space it reads. It has learned from the log up to ``log_seq``.

    Wherever it is given a pool, ``pool.rows`` are rows of the cache of its space. ``weights``: what suggesters count
    beside the head; None without any. Then the pool's voices are heard in all that the model says of its records.
    """

    version: str
    head: Head
    log_seq: int
    space: EmbeddingSpace
    question: Question
    weights: Weights | None = None

    @property
    def is_blank(self) -> bool:
        """Whether it knows nothing yet, so that it is not worth writing its suggestions down."""
        return self.head.is_blank and not (self.weights is not None and self.weights.speak)

    def outputs(self, pool: PoolState, positions: Positions) -> Outputs:
        """What head and suggesters together say of the records at ``positions``, one row each."""
        return self._with_voices(self.head.predict(self.space.cache, pool.rows[positions]), pool, positions)

    def _with_voices(self, outputs: Outputs, pool: PoolState, positions: Positions) -> Outputs:
        if self.weights is None or pool.voices is None:
            return outputs
        block = pool.voices.block(positions)
        return self.question.voicing.joined(outputs, block, self.weights, pool.voices.names)

    def view(self, pool: PoolState, candidates: Positions, *, spans: bool = False) -> Pool:
        """``candidates`` as a strategy sees them; with ``spans`` also what is proposed in them, if spans are."""
        rows, cache, training = pool.rows[candidates], self.space.cache, pool.training()
        seen, learned = self.head.view(cache, rows, spans=spans), pool.rows[training]
        if self.weights is not None and pool.voices is not None:
            block = pool.voices.block(candidates)
            seen = self.question.voicing.joined_view(seen, block, self.weights, pool.voices.names)
        view = Pool(
            probabilities=seen.probabilities,
            vectors=CachedVectors(cache, rows),
            labelled_vectors=cache.take(learned),
            spans=None if seen.spans is None else Spans(*seen.spans),
        )
        if not self.question.scores:
            return view
        return replace(
            view,
            labelled_targets=pool.targets(training),
            activation=self.question.activation,
            labelled_probabilities=self.outputs(pool, training),
        )

    def held_out(self, pool: PoolState, positions: Positions) -> npt.NDArray[np.float32] | None:
        """Probabilities [k, c] of answered records, as if it had not learned from them: see EmbeddingSpace.held_out.

        Rows of nan where it can't tell; None if it can for none.
        """
        found = self.space.held_out(self.head, pool.rows[positions], positions)
        return None if found is None else self._with_voices(found, pool, positions)

    def suggestions(self, pool: PoolState, positions: Positions) -> list[Suggestion]:
        """What it suggests for the records at ``positions``, in order."""
        return self.question.suggestions(self.outputs(pool, positions), self.version)

    def audit(self, pool: PoolState) -> dict[str, float]:
        """How it does on the answered part of the audit slice, and apart from that on what is held out.

        ``accuracy``, ``low``, ``high`` and ``n`` each, and what the question measures beside whole answers; names begin
        with AUDIT or HELD_OUT. Measured against people's answers, so people's errors count as the model's.
        """
        kept = {AUDIT: pool.audited(), HELD_OUT: pool.held_out()}
        figures = ((kind, self._figures(pool, positions)) for kind, positions in kept.items() if len(positions))
        return {kind + name: value for kind, found in figures for name, value in found.items()}

    def _figures(self, pool: PoolState, positions: Positions) -> dict[str, float]:
        outputs, answers = self.outputs(pool, positions), pool.targets(positions)
        right = self.question.right(outputs, answers)
        low, high = wilson_interval(int(right.sum()), len(right))
        figures = self.question.figures(outputs, answers)
        return {"n": len(right), "accuracy": float(right.mean()), "low": low, "high": high, **figures}

    def slips(self, pool: PoolState) -> dict[str, Any]:
        """Answers of the audit slice that it takes for slips: how many ``answers``, and on which ``records``.

        ``people``: of everybody who answered there, how many of these, and answers in all. Empty where people are not
        compared. Records are the platform's ids, SHOWN_SLIPS at most.
        """
        audited = pool.audited()
        if not self.question.compares or not len(audited):
            return {}
        outputs, answers = self.outputs(pool, audited), pool.targets(audited)
        doubted = self.question.doubts(outputs, answers) & ~pool.is_settled(audited)
        opinions = pool.opinions(audited)
        theirs = doubted[opinions.record] & (opinions.label == answers[opinions.record])
        slips = np.bincount(opinions.annotator, theirs, len(opinions.annotators)).astype(int)
        everybody = zip(opinions.annotators, slips.tolist(), opinions.per_annotator.tolist(), strict=True)
        return {
            "answers": int(doubted.sum()),
            "people": {name: [some, given] for name, some, given in everybody if given},
            "records": pool.remote_ids(audited[doubted])[:SHOWN_SLIPS],
        }

    async def predict(
        self,
        texts: Sequence[Readable],
        batcher: MicroBatcher,
        said: Sequence[Mapping[str, Proposal | None]] | None = None,
    ) -> list[Prediction]:
        """A prediction for each of ``texts``, or why it can't be read. What the cache has costs no forward pass.

        ``said``: of each text, what suggesters say of it, by their names.
        """
        cache, served = self.space.cache, self.space.served
        rows = cache.lookup(texts)
        known, missing = np.flatnonzero(rows >= 0).tolist(), np.flatnonzero(rows < 0).tolist()
        new, found = await with_pictures(served, {at: texts[at] for at in missing}, self.version)
        read = [self.question.read(cache, rows[known])] if known else []
        read += [await batcher.submit(list(new.values()), self.question.reader(served))] if new else []
        if read:
            at = [*known, *new]
            outputs = self.head.predict_read(np.concatenate(read))
            if said is not None and self.weights is not None:
                voicing, names = self.question.voicing, list(self.weights.voices)
                outputs = voicing.joined(outputs, voicing.block(names, [said[one] for one in at]), self.weights, names)
            found |= dict(zip(at, self.question.predictions(outputs, self.version), strict=True))
        return [found[at] for at in range(len(texts))]


class Learner:
    """Fits, saves and loads the models of one project under ``folder``; beside them there are ``suggesters``."""

    def __init__(
        self,
        question: Question,
        spaces: EmbeddingSpaces,
        store: Store,
        folder: Path,
        suggesters: Sequence[str] = (),
    ) -> None:
        self._question = question
        self._suggesters = tuple(suggesters)
        self._spaces = spaces
        self._store = store
        self._folder = folder

    def space(self) -> EmbeddingSpace:
        """The space to begin in: the one in use when the loop last ran, if it is still there, or the one chosen.

        Raises LearningError if the chosen one is gone too.
        """
        chosen, in_use = self._store.get_meta(CHOSEN_SPACE) or OWN, self._store.get_meta(SPACE_IN_USE)
        if in_use is not None and in_use != chosen:
            try:
                return self._spaces(in_use)
            except LearningError as error:
                log.warning("the model in use is gone", model=in_use, chosen=chosen, reason=str(error))
        return self._spaces(chosen)

    def note_in_use(self, space: EmbeddingSpace) -> None:
        """The loop works in ``space`` now: after a restart it begins there."""
        self._store.set_meta(SPACE_IN_USE, space.version)

    def load_current(self) -> Model | None:
        """The model that was current when the service last stopped, or None.

        One that was chosen since, and whose vectors the loop does not have yet, has to wait. None also where it was
        made for other labels than those that are asked, all of them, or can't be read: the loop soon fits another one.
        """
        version, row = self.space().version, self._store.current_model()
        if row is not None and line_of(row) != version:
            row = next((one for one in self._store.models() if line_of(one) == version), None)
        if row is None or not Path(row.path).exists():
            return None
        return self._load(row)

    def _load(self, row: ModelRow) -> Model | None:
        trained = row.kind != PROBE
        space = self._spaces(row.version if trained else row.base)
        path = Path(row.path) / HEAD_FILE if trained else Path(row.path)
        try:
            if (head := self._question.load(path, space.encoder)) is not None:
                weights = Weights.from_json(row.metrics[VOICES]) if VOICES in row.metrics else None
                return Model(row.version, head, row.log_seq, space, self._question, weights)
            reason = "it knows none of the labels that are asked, or not which it knows"
        except LearningError as error:
            reason = str(error)
        log.warning("the model that was kept is not used", model=row.version, reason=reason)
        return None

    def let_go(self, *used: EmbeddingSpace) -> None:
        """Close all spaces but those that are ``used``, and the recipe's own."""
        self._spaces.forget(*(space.version for space in used))

    def cold_start(self) -> Model:
        """A model from no answer, to predict with until the loop has fitted one. It is not kept."""
        pool = PoolState(self._question)
        pool.listen(self._suggesters)
        return self._fitted(pool, 0, self.space(), None)

    def fit(self, pool: PoolState, log_seq: int, space: EmbeddingSpace, warm: Model | None) -> Model:
        """Refit on all answers up to ``log_seq``. Deterministic: after a crash the same log gives the same model.

        ``pool.rows`` are rows of the cache of ``space``. ``warm``: the model before it, which saves time.
        """
        model = self._kept(self._fitted(pool, log_seq, space, warm))
        figures = model.audit(pool)
        path = self._path(model.version)
        metrics: dict[str, Any] = {"labels": len(pool.training()), **figures}
        if model.weights is not None:
            metrics[VOICES] = model.weights.to_json()
        if slips := model.slips(pool):
            metrics |= {f"{AUDIT}doubted": slips["answers"], SLIPS: slips}
        self._store.add_model(model.version, PROBE, log_seq, metrics, str(path), base=space.version, in_use=True)
        self._prune(keep=model.version)
        self._tell_unsaid(pool, space)
        return model

    def _tell_unsaid(self, pool: PoolState, space: EmbeddingSpace) -> None:
        """Tell what people said that no model on these vectors can say."""
        training = pool.training()
        if unsaid := self._question.unsaid(space.cache, pool.rows[training], pool.targets(training)):
            self._store.notify(Notice(UNSAID, UNSAID, unsaid, UNSAID_FIX))
        else:
            self._store.dismiss([UNSAID])

    def _fitted(self, pool: PoolState, log_seq: int, space: EmbeddingSpace, warm: Model | None) -> Model:
        return fitted(pool, next(_names(log_seq, space)), log_seq, space, warm)

    def _kept(self, model: Model) -> Model:
        """It, saved, under a name that means no other model: of other labels, from another start, with other voices."""
        with TemporaryDirectory() as folder:
            model.head.save(file := Path(folder) / HEAD_FILE)
            data = file.read_bytes()
        voices = None if model.weights is None else model.weights.to_json()
        for name in _names(model.log_seq, model.space):
            path = self._path(name)
            if not path.exists():
                write_atomically(path, data)
            elif path.read_bytes() != data or self._heard(name, voices) != voices:
                continue
            return replace(model, version=name)
        raise AssertionError("there is always another name")

    def _heard(self, version: str, unknown: Any) -> Any:
        """What is heard beside the probe of this name, as its row says; ``unknown`` where it has none yet."""
        rows = self._store.models(KEPT_PROBES + 1, PROBE)
        return next((row.metrics.get(VOICES) for row in rows if row.version == version), unknown)

    def _path(self, version: str) -> Path:
        return self._folder / version / "probe.safetensors"

    def _prune(self, keep: str) -> None:
        kept = {keep, *(row.version for row in self._store.models(KEPT_PROBES, PROBE))}
        for folder in self._folder.glob(f"{PROBE}-*"):
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)


def _names(log_seq: int, space: EmbeddingSpace) -> Iterator[str]:
    """Names for probes on the log up to ``log_seq``, without end."""
    ending = f"-{space.version}" if space.version else ""
    return (f"{PROBE}-{log_seq}{'' if number == 1 else f'.{number}'}{ending}" for number in count(1))


def fitted(pool: PoolState, version: str, log_seq: int, space: EmbeddingSpace, warm: Model | None = None) -> Model:
    """A model from all answers in ``pool``; it may have none. Deterministic but for ``warm``, which saves time."""
    training = pool.training()
    before = warm.head if warm is not None and warm.space is space else None
    targets, settled = pool.learned_targets(training), pool.is_settled(training)
    head = pool.question.fit(space, pool.rows[training], targets, before, settled if settled.any() else None)
    model = Model(version, head, log_seq, space, pool.question)
    return replace(model, weights=_weights(model, pool, warm.weights if before is not None and warm else None))


def _weights(model: Model, pool: PoolState, before: Weights | None) -> Weights | None:
    """What suggesters count beside the head of ``model``; as ``before`` while hardly an answer has come since."""
    if pool.voices is None:
        return None
    training, names = pool.training(), pool.voices.names
    if before is not None and before.is_fresh(names, len(training)):
        return before
    block: Block = pool.voices.block(training)
    rows, targets, settled = pool.rows[training], pool.targets(training), pool.is_settled(training)

    def crossed(some: npt.NDArray[np.int64]) -> Outputs:
        return pool.question.crossed(model.space, rows[some], targets[some], settled[some])

    return pool.question.voicing.weighed(block, targets, names, model.held_out(pool, training), crossed)
