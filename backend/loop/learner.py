"""The fast step's models: fitted on every answer in the log, saved before they are used, loaded after a restart."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path

import structlog

from nextlabel.backend.learning.atomic import atomic_path
from nextlabel.backend.learning.choosing import CHOSEN_SPACE, SPACE_IN_USE, line_of
from nextlabel.backend.learning.training.saving import HEAD_FILE
from nextlabel.backend.loop.model import Kind, Model
from nextlabel.backend.loop.pool import PoolState
from nextlabel.backend.loop.space import OWN, Space, Spaces
from nextlabel.backend.store import ModelRow, Store
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Labeling

log = structlog.get_logger(__name__)

KEPT_PROBES = 10
"""Weights kept on disk; older rows stay in the store, so that the history of figures does not end."""
PROBE = "probe"


class Learner:
    """Fits, saves and loads the probes of one project under ``folder``."""

    def __init__(self, labeling: Labeling, kind: Kind, spaces: Spaces, store: Store, folder: Path) -> None:
        self._labeling = labeling
        self._kind = kind
        self._spaces = spaces
        self._store = store
        self._folder = folder

    def space(self) -> Space:
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

    def note_in_use(self, space: Space) -> None:
        """The loop works in ``space`` now: after a restart it begins there."""
        self._store.set_meta(SPACE_IN_USE, space.version)

    def load_current(self) -> Model | None:
        """The model that was current when the service last stopped, or None.

        One that was chosen since, and whose vectors the loop does not have yet, has to wait.
        """
        version, row = self.space().version, self._store.current_model()
        if row is not None and line_of(row) != version:
            row = next((one for one in self._store.models() if line_of(one) == version), None)
        if row is None or not Path(row.path).exists():
            return None
        return self._load(row)

    def _load(self, row: ModelRow) -> Model:
        trained = row.kind != PROBE
        path = Path(row.path) / HEAD_FILE if trained else Path(row.path)
        return self._kind.load(path, row.version, row.log_seq, self._spaces(row.version if trained else row.base))

    def cold_start(self) -> Model:
        """A model from no answer, so that there is a queue before the first label."""
        return self.fit(PoolState(self._labeling), 0, self.space(), None)

    def fit(self, pool: PoolState, log_seq: int, space: Space, warm: Model | None) -> Model:
        """Refit on all answers up to ``log_seq``. Deterministic: after a crash the same log gives the same model.

        ``pool.rows`` are rows of the cache of ``space``.
        """
        version = f"{PROBE}-{log_seq}" + (f"-{space.version}" if space.version else "")
        model = self._kind.fit(pool, version, log_seq, space, warm)
        figures = {f"audit_{name}": value for name, value in model.audit(pool).items()}
        path = self._folder / version / "probe.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as unfinished:
            model.save(unfinished)
        metrics = {"labels": len(pool.training()), **figures}
        self._store.add_model(version, PROBE, log_seq, metrics, str(path), base=space.version)
        self._store.set_current(version)
        self._prune(keep=version)
        return model

    def _prune(self, keep: str) -> None:
        probes = (row.version for row in self._store.models() if row.kind == PROBE)
        kept = {*islice(probes, KEPT_PROBES), keep}
        for folder in self._folder.glob(f"{PROBE}-*"):
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)
