"""The fast step's models: fitted on every answer in the log, saved before they are used, loaded after a restart."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path

import structlog

from nextlabel.backend.files import atomic_path
from nextlabel.backend.models.registry import CHOSEN_SPACE, SPACE_IN_USE, line_of
from nextlabel.backend.models.saving import HEAD_FILE
from nextlabel.backend.pool.pool import PoolState
from nextlabel.backend.store import ModelRow, Store
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Labeling

from .embedding_space import OWN, EmbeddingSpace, EmbeddingSpaces
from .probe_model import Kind, Model

log = structlog.get_logger(__name__)

KEPT_PROBES = 10
"""Weights kept on disk; older rows stay in the store, so that the history of figures does not end."""
PROBE = "probe"


class Learner:
    """Fits, saves and loads the probes of one project under ``folder``."""

    def __init__(self, labeling: Labeling, kind: Kind, spaces: EmbeddingSpaces, store: Store, folder: Path) -> None:
        self._labeling = labeling
        self._kind = kind
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
            model = self._kind.load(path, row.version, row.log_seq, space)
            reason = "" if model is not None else "it knows none of the labels that are asked, or not which it knows"
        except LearningError as error:
            model, reason = None, str(error)
        if reason:
            log.warning("the model that was kept is not used", model=row.version, reason=reason)
        return model

    def let_go(self, *used: EmbeddingSpace) -> None:
        """Close all spaces but those that are ``used``, and the recipe's own."""
        self._spaces.forget(*(space.version for space in used))

    def cold_start(self) -> Model:
        """A model from no answer, to predict with until the loop has fitted one. It is not kept."""
        space = self.space()
        return self._kind.fit(PoolState(self._labeling), self._version(0, space), 0, space, None)

    def fit(self, pool: PoolState, log_seq: int, space: EmbeddingSpace, warm: Model | None) -> Model:
        """Refit on all answers up to ``log_seq``. Deterministic: after a crash the same log gives the same model.

        ``pool.rows`` are rows of the cache of ``space``.
        """
        version = self._version(log_seq, space)
        model = self._kind.fit(pool, version, log_seq, space, warm)
        figures = {f"audit_{name}": value for name, value in model.audit(pool).items()}
        path = self._path(version)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as unfinished:
            model.save(unfinished)
        metrics = {"labels": len(pool.training()), **figures}
        self._store.add_model(version, PROBE, log_seq, metrics, str(path), base=space.version, in_use=True)
        self._prune(keep=version)
        return model

    def _version(self, log_seq: int, space: EmbeddingSpace) -> str:
        """A name for a probe on the log up to ``log_seq``: not that of one that is kept and has other labels."""
        ending = f"-{space.version}" if space.version else ""
        names = (f"{PROBE}-{log_seq}{'' if number == 1 else f'.{number}'}{ending}" for number in count(1))
        return next(name for name in names if not (path := self._path(name)).exists() or self._kind.is_for(path))

    def _path(self, version: str) -> Path:
        return self._folder / version / "probe.safetensors"

    def _prune(self, keep: str) -> None:
        kept = {keep, *(row.version for row in self._store.models(KEPT_PROBES, PROBE))}
        for folder in self._folder.glob(f"{PROBE}-*"):
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)
