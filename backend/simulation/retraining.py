"""The slow step in a replay: the encoder is trained when the labels have grown, and goes live if it is not worse.

As in the loop: a share of the records is never trained on, whoever labels them; it tells when a training ends, and the
gate holds the new model against the one in use on it. Each training starts from the encoder's own weights, in a process
of its own, and goes on from its checkpoint after a kill. What a training came to is kept until its curve is finished.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.encoders.head_names import HEADS
from nextlabel.backend.encoders.load import load
from nextlabel.backend.evaluation.comparison import Pair, judge
from nextlabel.backend.files import atomic_path
from nextlabel.backend.metrics import right
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.saving import HEAD_FILE
from nextlabel.backend.questions import question_of
from nextlabel.backend.training.jobs import JOB_FILE, TrainingJob
from nextlabel.backend.training.process import TrainingProcess
from nextlabel.backend.training.spec import TrainedRungName, TrainingProgress, TrainingSpec
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Labeling

from .asking import Rows
from .replay import Space, Stopped

WATCH_S = 0.2
"""Seconds between two looks at a training."""
MOST_KILLS = 3
"""Times that a killed training is gone on with: if memory is short, it will be killed every time."""
CHUNK = 256
"""Texts encoded between two looks whether to stop."""
_NOBODY = Pair(np.empty(0, np.bool_), np.empty(0, np.bool_))


@dataclass(frozen=True, slots=True)
class Step:
    """How far the training of one replay is, with so many ``labels``; ``progress`` is None when it has ended."""

    strategy: str
    seed: int
    labels: int
    progress: TrainingProgress | None = None


@dataclass(frozen=True, slots=True)
class Retraining:
    """What is trained of ``encoder`` in every replay, and when: ``spec.start_at`` and ``spec.growth`` say that.

    ``texts``: of every record, in the order of the material. ``labeling``: what is asked about them. ``groups`` int64
    [n]: records of one group are all trained on, or all aside; None where each is one of its own.
    """

    texts: tuple[Readable, ...]
    labeling: Labeling
    encoder: EncoderSpec
    spec: TrainingSpec
    rung: TrainedRungName
    groups: npt.NDArray[np.int64] | None = None

    def told(self) -> list[Any]:
        """All that shapes a curve, as plain values; the texts aside, whose vectors the material has."""
        head = [HEADS.identity(self.spec.head)] if self.spec.head else []
        return [self.rung, self.spec.model_dump(), self.encoder.told(), *head]

    def due(self, labels: int, before: int) -> bool:
        """Whether it is time for another training, the last having had so many labels ``before``, 0 for none."""
        return labels >= max(self.spec.start_at, before * (1 + self.spec.growth))

    def times(self, points: Sequence[int]) -> list[int]:
        """Those of the numbers of labels ``points`` with which the encoder is trained."""
        found: list[int] = []
        for labels in points:
            if self.due(labels, found[-1] if found else 0):
                found.append(labels)
        return found

    def aside(self, seed: int) -> npt.NDArray[np.bool_]:
        """bool [n]: the records that are never trained on, whoever labels them: the share that ``spec`` holds out.

        Exactly that, but for the last group, since with few groups a share by chance would often be none at all.
        """
        size, share = len(self.texts), self.spec.held_out
        group_of = np.arange(size) if self.groups is None else np.unique(self.groups, return_inverse=True)[1]
        drawn = np.random.default_rng([seed, 4]).random(size)[group_of]
        if not share or not size:
            return np.zeros(size, np.bool_)
        return np.asarray(drawn <= np.sort(drawn)[math.ceil(share * size) - 1], np.bool_)

    def of(
        self,
        strategy: str,
        seed: int,
        folder: Path,
        stopped: Callable[[], bool] = lambda: False,
        report: Callable[[Step], None] = lambda step: None,
    ) -> Replayed:
        """The trainings of one replay, which are kept in ``folder``."""
        return Replayed(self, strategy, seed, folder, stopped, report)


class Replayed:
    """Trains in one replay: a Retrain."""

    def __init__(
        self,
        how: Retraining,
        strategy: str,
        seed: int,
        folder: Path,
        stopped: Callable[[], bool],
        report: Callable[[Step], None],
    ) -> None:
        self._how, self._strategy, self._seed, self._folder = how, strategy, seed, folder
        self._stopped, self._report = stopped, report
        self._question = question_of(how.labeling)
        self._aside = how.aside(seed)
        self._before = 0

    def __call__(self, space: Space, labels: int, rows: Rows, targets: npt.NDArray[Any]) -> Space:
        """See Retrain. Raises LearningError if a training fails, Stopped."""
        if not self._how.due(labels, self._before):
            return space
        self._before = labels
        held = self._aside[rows]
        rest, aside = rows[~held], rows[held]
        if self._question.too_few(targets[~held]) or not len(aside):
            self._tell(labels)
            return space
        found = self._trained(labels, rest, targets[~held], aside, targets[held])
        self._tell(labels)
        return found if self._is_better(space, found, rest, targets[~held], aside, targets[held]) else space

    def _is_better(
        self,
        space: Space,
        found: Space,
        rest: Rows,
        learned: npt.NDArray[Any],
        aside: Rows,
        answers: npt.NDArray[Any],
    ) -> bool:
        """The gate's word: what the model in use, had it learned from the same, gets right of ``aside``, and this."""
        classes, head = len(self._how.labeling.labels), found.head
        assert head is not None  # noqa: S101  # it was trained
        before = Probe.fit(space.vectors[rest], learned, classes, prior=space.head)
        pair = Pair(
            right(before.predict_proba(np.asarray(space.vectors[aside], np.float32)), answers),
            right(head.predict_proba(np.asarray(found.vectors[aside], np.float32)), answers),
        )
        return judge(pair, _NOBODY).goes_live

    def _trained(
        self, labels: int, rest: Rows, learned: npt.NDArray[Any], aside: Rows, answers: npt.NDArray[Any]
    ) -> Space:
        told = hashlib.sha256(json.dumps(self._how.told()).encode())
        for array in (rest, learned, aside, answers):
            told.update(np.ascontiguousarray(array).tobytes())
        place = self._folder / f"{labels}-{told.hexdigest()[:12]}"
        vectors, head = place / "vectors.npy", place / HEAD_FILE
        if not vectors.exists():
            self._train(place, labels, self._examples(rest, learned), self._examples(aside, answers))
        return Space(np.load(vectors, mmap_mode="r", allow_pickle=False), labels, Probe.load(head), rest)

    def _examples(self, rows: Rows, targets: npt.NDArray[Any]) -> Examples:
        texts = [self._how.texts[row] for row in rows.tolist()]
        groups = None if self._how.groups is None else self._how.groups[rows]
        return Examples(tuple(texts), targets, self._how.labeling.labels, groups=groups)

    def _train(self, place: Path, labels: int, examples: Examples, held_out: Examples) -> None:
        """Leave the vectors of all texts, and before them the head, in ``place``."""
        work, how = place / "work", self._how
        spec = how.spec.model_copy(update={"seed": self._seed})
        job = TrainingJob(kind=how.rung, encoder=how.encoder, spec=spec, examples=examples, held_out=held_out)
        for _ in range(MOST_KILLS):
            process = TrainingProcess.resume(work) if (work / JOB_FILE).exists() else TrainingProcess.start(work, job)
            self._wait(process, labels)
            if not process.killed:
                break
        if process.poll() == "failed":
            raise LearningError(f"{self._strategy}, seed {self._seed}, {labels:,} labels: {process.error}")
        vectors = self._encoded(process.model, labels)
        shutil.copyfile(process.model / HEAD_FILE, place / HEAD_FILE)
        with atomic_path(place / "vectors.npy") as path, path.open("wb") as file:
            np.save(file, vectors, allow_pickle=False)
        shutil.rmtree(work, ignore_errors=True)

    def _wait(self, process: TrainingProcess, labels: int) -> None:
        while process.poll() == "running":
            if self._stopped():
                process.cancel()
                raise Stopped
            if (progress := process.progress()) is not None:
                self._tell(labels, progress)
            time.sleep(WATCH_S)

    def _encoded(self, model: Path, labels: int) -> npt.NDArray[np.float16]:
        """float16 [n, d]: all texts, as the trained encoder reads them."""
        # It says itself how long a text it reads, and with which prompt.
        encoder = load(replace(self._how.encoder, name=str(model), max_length=None, prompt=None))
        texts, parts = self._how.texts, []
        for start in range(0, len(texts), CHUNK):
            if self._stopped():
                raise Stopped
            self._tell(labels, TrainingProgress("embedding", start, len(texts)))
            parts.append(encoder.encode(texts[start : start + CHUNK]).astype(np.float16))
        return np.concatenate(parts)

    def _tell(self, labels: int, progress: TrainingProgress | None = None) -> None:
        self._report(Step(self._strategy, self._seed, labels, progress))
