"""The fast step's model: a probe on cached embeddings, fitted on every answer in the log, saved before it is used."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nextlabel.backend.learning.atomic import atomic_path
from nextlabel.backend.learning.choosing import CHOSEN_SPACE
from nextlabel.backend.learning.evaluation import AuditReport, audit_report
from nextlabel.backend.learning.folds import Targets
from nextlabel.backend.learning.probe import Probe
from nextlabel.backend.learning.scoring import score_pool
from nextlabel.backend.learning.training.saving import HEAD_FILE
from nextlabel.backend.loop.pool import PoolState
from nextlabel.backend.loop.space import OWN, Space, Spaces
from nextlabel.backend.store import ModelRow, Store
from nextlabel.connectors.records import Labeling, LabelKind, Suggestion

KEPT_PROBES = 10
"""Weights kept on disk; older rows stay in the store, so that the history of figures does not end."""
PROBE = "probe"


@dataclass(frozen=True, slots=True)
class Model:
    """A fitted probe, its version, the head of the annotation log that it has seen, and the space it reads."""

    version: str
    probe: Probe
    log_seq: int
    space: Space

    def suggestions(self, labeling: Labeling, probabilities: npt.NDArray[np.float32]) -> list[Suggestion]:
        """One suggestion a row of ``probabilities``, float32 [n, c].

        Single: the likeliest label and its probability. Multi: every label past one half, and the mean
        certainty over all labels.
        """
        if labeling.kind is LabelKind.MULTI:
            chosen = probabilities > 0.5
            scores = np.maximum(probabilities, 1 - probabilities).mean(axis=1)
            values = [tuple(labeling.labels[i] for i in np.flatnonzero(row)) for row in chosen]
        else:
            best = probabilities.argmax(axis=1)
            scores = probabilities[np.arange(len(best)), best]
            values = [(labeling.labels[i],) for i in best]
        return [Suggestion(value, float(score), self.version) for value, score in zip(values, scores, strict=True)]


class Learner:
    """Fits, saves and loads the probes of one project under ``folder``."""

    def __init__(self, labeling: Labeling, spaces: Spaces, store: Store, folder: Path) -> None:
        self._labeling = labeling
        self._spaces = spaces
        self._store = store
        self._folder = folder

    def space(self) -> Space:
        """The space in use. Raises LearningError if its model is gone."""
        return self._spaces(self._store.get_meta(CHOSEN_SPACE) or OWN)

    def load_current(self) -> Model | None:
        """The model that was current when the service last stopped, or None."""
        row = self._store.current_model()
        if row is None or not Path(row.path).exists():
            return None
        return self._load(row)

    def _load(self, row: ModelRow) -> Model:
        trained = row.kind != PROBE
        path = Path(row.path) / HEAD_FILE if trained else Path(row.path)
        return Model(row.version, Probe.load(path), row.log_seq, self._spaces(row.version if trained else row.base))

    def cold_start(self) -> Model:
        """A model from the label names alone: the first suggestions exist before the first label."""
        classes = len(self._labeling.labels)
        multi = self._labeling.kind is LabelKind.MULTI
        nothing: Targets = np.empty((0, classes), np.bool_) if multi else np.empty(0, np.int64)
        space = self.space()
        empty = np.empty((0, space.encoder.dimension), np.float32)
        return self._keep(space.fit(empty, nothing, classes), 0, {"labels": 0}, space)

    def fit(self, pool: PoolState, log_seq: int, space: Space, warm: Model | None) -> Model:
        """Refit on all answers up to ``log_seq``. Deterministic: after a crash the same log gives the same model.

        ``pool.rows`` are rows of the cache of ``space``.
        """
        training = pool.training()
        vectors = space.cache.take(pool.rows[training])
        before = warm.probe if warm is not None and warm.space is space else None
        probe = space.fit(vectors, pool.targets(training), len(self._labeling.labels), warm=before)
        audit = self.audit(pool, probe, space)
        metrics: dict[str, float] = {"labels": len(training)}
        if audit.n:
            metrics |= {"audit_n": audit.n, "audit_accuracy": audit.accuracy, "audit_low": audit.low}
            metrics["audit_high"] = audit.high
        return self._keep(probe, log_seq, metrics, space)

    def audit(self, pool: PoolState, probe: Probe, space: Space) -> AuditReport:
        """How ``probe`` does on the answered part of the audit slice, which it never saw."""
        audited = pool.audited()
        predicted = score_pool(probe, space.cache.matrix, pool.rows[audited])
        return audit_report(predicted, pool.targets(audited))

    def _keep(self, probe: Probe, log_seq: int, metrics: dict[str, float], space: Space) -> Model:
        version = f"{PROBE}-{log_seq}" + (f"-{space.version}" if space.version else "")
        path = self._folder / version / "probe.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as unfinished:
            probe.save(unfinished)
        self._store.add_model(version, PROBE, log_seq, metrics, str(path), base=space.version)
        self._store.set_current(version)
        self._prune(keep=version)
        return Model(version, probe, log_seq, space)

    def _prune(self, keep: str) -> None:
        probes = (row.version for row in self._store.models() if row.kind == PROBE)
        kept = {*islice(probes, KEPT_PROBES), keep}
        for folder in self._folder.glob(f"{PROBE}-*"):
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)
