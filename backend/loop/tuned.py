"""What came of a training: which candidate is best, whether it goes live, and its card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nextlabel.backend.learning.card import Figure, ModelCard, data_hash, label_counts, library_versions
from nextlabel.backend.learning.encoders import Engine
from nextlabel.backend.learning.evaluation import wilson_interval
from nextlabel.backend.learning.evaluation.metrics import right
from nextlabel.backend.learning.gate import Pair, Verdict, judge
from nextlabel.backend.learning.multimodal.rules import ImageRules
from nextlabel.backend.learning.probe import Probe
from nextlabel.backend.learning.training.jobs import JobKind, TrainingJob
from nextlabel.backend.learning.training.process import MODEL, PREDICTIONS
from nextlabel.backend.learning.training.saving import HEAD_FILE, TRAINING_FILE
from nextlabel.backend.learning.training.spec import TrainingSpec
from nextlabel.connectors.records import Labeling

from .controller import Labelled
from .pool import Positions
from .tuning_plan import Candidate, TuningPlan

MEASURED = (
    "The held-out texts are a random share of the labelled ones, the same in every training of the project; they chose "
    "when to stop and among the candidates. The audit texts are a random share of all, shown to annotators without a "
    "suggestion, and chose nothing."
)


@dataclass(frozen=True, slots=True)
class Tuning:
    """What is trained, and where. ``reason`` says why nothing can be; empty if it can.

    ``rungs``: what may be trained of this encoder, the cheapest first. ``cache`` (as ``cache_dir``) and ``images``
    as for load_encoder.
    """

    project: str
    labeling: Labeling
    encoder: str
    engine: Engine
    max_length: int
    windows: int
    spec: TrainingSpec
    work: Path
    models: Path
    cache: Path
    reason: str = ""
    images: ImageRules | None = None
    rungs: tuple[JobKind, ...] = ("few-shot", "fine-tune")


def choose(plan: TuningPlan, finished: Mapping[int, Path], labelled: Labelled) -> tuple[int, Verdict]:
    """The candidate with the most held-out answers right, the cheaper one in doubt, and the gate's verdict on it.

    ``finished``: candidate -> its training's folder. Answers that were changed since the training began count as they
    are now.
    """
    kept, held_out = _among(plan.held_out, labelled.training)
    audit_kept, audit = _among(plan.audit, labelled.audited)
    n = len(plan.held_out)
    said = {number: _predictions(folder / PREDICTIONS) for number, folder in finished.items()}
    answers, audit_answers = labelled.targets[held_out], labelled.audit_targets[audit]
    hits = {number: int(right(said[number][:n][kept], answers).sum()) for number in finished}
    best = max(finished, key=lambda number: (hits[number], -number))
    before, cache = _before(labelled, held_out, said[best].shape[1]), labelled.space.cache
    old, old_audit = (
        before.predict_proba(cache.take(rows)) for rows in (labelled.rows[held_out], labelled.audit_rows[audit])
    )
    return best, judge(
        Pair(old, said[best][:n][kept], answers), Pair(old_audit, said[best][n:][audit_kept], audit_answers)
    )


def _before(labelled: Labelled, held_out: Positions, classes: int) -> Probe:
    """The model in use, had it learned from the same answers as the candidates."""
    rest = np.setdiff1d(np.arange(len(labelled.training)), held_out)
    vectors = labelled.space.cache.take(labelled.rows[rest])
    return labelled.space.fit(vectors, labelled.targets[rest], classes)


def _among(wanted: Sequence[int], positions: Positions) -> tuple[npt.NDArray[np.bool_], Positions]:
    """Which of the wanted are still among ``positions``, bool [len(wanted)], and where those are, int64 [k]."""
    place = {at: index for index, at in enumerate(positions.tolist())}
    kept = np.array([at in place for at in wanted], dtype=np.bool_)
    return kept, np.array([place[at] for at in wanted if at in place], dtype=np.int64)


def _predictions(file: Path) -> npt.NDArray[np.float32]:
    """What a worker said of the texts it was asked about, float32 [n, c]."""
    from safetensors.numpy import load_file

    return np.asarray(load_file(file)["probabilities"], np.float32)


def card(folder: Path, candidate: Candidate, tuning: Tuning, verdict: Verdict) -> ModelCard:
    """The card of the model that the training in ``folder`` made."""
    examples = TrainingJob.load(folder).examples
    trained = json.loads((folder / MODEL / TRAINING_FILE).read_bytes())
    return ModelCard(
        version="",
        project=tuning.project,
        rung=candidate.rung,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        base=tuning.encoder,
        parent=candidate.start,
        labels=tuning.labeling.labels,
        multi_label=examples.multi_label,
        data_hash=data_hash(examples),
        counts=label_counts(examples),
        figures=_figures(verdict),
        measured=f"{MEASURED} {verdict.reason[:1].upper()}{verdict.reason[1:]}.",
        temperature=Probe.load(folder / MODEL / HEAD_FILE).temperature,
        max_length=tuning.max_length,
        windows=tuning.windows,
        spec=tuning.spec.model_dump(mode="json"),
        seeds=(tuning.spec.seed,),
        libraries=library_versions(),
        device=trained["device"],
        seconds=trained["seconds"],
    )


def _figures(verdict: Verdict) -> tuple[Figure, ...]:
    """Accuracy with its Wilson interval on whatever it was measured on."""
    found = []
    for where, name in (("held-out", "held_out"), ("audit", "audit")):
        if n := int(verdict.figures.get(f"{name}_n", 0)):
            value = verdict.figures[f"{name}_accuracy"]
            found.append(Figure("accuracy", value, *wilson_interval(round(value * n), n), n, where))
    return tuple(found)
