"""The space that texts are vectors in: one encoder, its cache, and what is known of the labels before any answer.

The recipe's own encoder makes one space. Every trained model makes another, with its trained head as what is known
beforehand. A model and the vectors it reads must come from the same space, so they travel together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog

from nextlabel.backend.encoders.base import Encoder, label_anchors
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.multimodal import for_requests
from nextlabel.backend.files import atomic_path
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.saving import HEAD_FILE
from nextlabel.backend.questions import Head, Question
from nextlabel.backend.training.jobs import readable_errors
from nextlabel.connectors.errors import LearningError

log = structlog.get_logger(__name__)
Matrix = npt.NDArray[np.float32]
OWN = ""
"""Version of the space that the recipe's own encoder makes."""
TRAINED_ON_FILE = "lessons.npy"
"""In a trained model's folder: positions of the records from whose answers it has learned, int64 [n], ascending."""


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """``version`` is that of the trained model, empty for the recipe's own encoder.

    ``anchors`` float32 [c, d]: a vector per label, from its words. ``prior``: the trained head, with a row for each
    label that is asked, in their order. None without one; for spans, whose probe starts anew from what is marked; and
    where nothing that the head knows is asked. ``note``: how what the model was trained for differs from what is asked.
    ``public``: the same encoder for what comes in over HTTP, where it is another one. ``trained_on``: see
    TRAINED_ON_FILE; None where that is not known. ``strength``: of the probe, see Probe.fit; None lets answers choose.
    """

    version: str
    encoder: Encoder
    cache: EmbeddingCache
    anchors: npt.NDArray[np.float32]
    prior: Probe | None = None
    public: Encoder | None = None
    trained_on: npt.NDArray[np.int64] | None = None
    note: str = ""
    strength: float | None = None

    @property
    def trained(self) -> bool:
        """Whether its encoder has learned from answers of this project."""
        return self.version != OWN

    @property
    def served(self) -> Encoder:
        """The encoder for requests: it reads no files and no internal addresses for whoever asks."""
        return self.public or self.encoder

    def fit(
        self,
        vectors: npt.NDArray[np.float32],
        targets: npt.NDArray[np.int64] | npt.NDArray[np.bool_],
        classes: int,
        warm: Probe | None = None,
        settled: npt.NDArray[np.bool_] | None = None,
    ) -> Probe:
        """A probe on vectors of this space, float32 [m, d]; answers that are ``settled`` bool [m] are not doubted.

        A trained encoder has learned from most of these answers, so no prediction on them would be held out, and
        nothing is read off such; see Probe.fit_after.
        """
        fresh = not self.trained
        return Probe.fit_after(
            self.prior,
            vectors,
            targets,
            classes,
            anchors=self.anchors,
            warm=warm,
            calibrate=fresh,
            settled=settled,
            strength=self.strength,
        )

    def held_out(self, head: Head, rows: npt.NDArray[np.int64], positions: npt.NDArray[np.int64]) -> Matrix | None:
        """float32 [k, c]: probabilities of answered records by what has not learned from their answers.

        That is a fold of ``head``, fitted here on all of them; in a trained space its head, and nan in the rows of
        records that it was trained on. None where nothing is known of any. ``rows`` int64 [k]: theirs in the cache.
        """
        if not self.trained:
            return head.held_out(self.cache, rows)
        if self.prior is None or self.trained_on is None:
            return None
        found = self.prior.predict_proba(self.cache.take(rows))
        found[np.isin(positions, self.trained_on)] = np.nan
        return None if np.isnan(found).all() else found


def note_trained_on(folder: Path, positions: Iterable[int], start: Path | None) -> None:
    """Note in ``folder`` that what is trained there learns of ``positions``, beside what the model in ``start`` had.

    Where that is not known nothing is noted. Raises StoreFull and StoreError if the folder can't be written to.
    """
    known = np.unique(np.fromiter(positions, np.int64))
    if start is not None:
        earlier = learned_positions(start)
        if earlier is None:
            return
        known = np.union1d(known, earlier)
    with readable_errors(folder), atomic_path(folder / TRAINED_ON_FILE) as path, path.open("wb") as out:
        np.save(out, known, allow_pickle=False)


def learned_positions(folder: Path) -> npt.NDArray[np.int64] | None:
    """Positions of the records whose answers the model in ``folder`` has learned from; None where that isn't known."""
    try:
        return np.asarray(np.load(folder / TRAINED_ON_FILE, allow_pickle=False), np.int64)
    except (OSError, ValueError):  # trained before this was noted, or damaged since
        return None


class EmbeddingSpaces:
    """Opens the spaces of one project, each once. Thread-safe.

    ``load`` makes an encoder of a trained model's folder, or the recipe's own encoder of None. ``strength``: of probes.
    """

    def __init__(
        self,
        question: Question,
        load: Callable[[Path | None], Encoder],
        cache: Callable[[Encoder], EmbeddingCache],
        folder: Path,
        strength: float | None = None,
    ) -> None:
        self._strength = strength
        self._question = question
        self._load = load
        self._cache = cache
        self._folder = folder
        self._open: dict[str, EmbeddingSpace] = {}
        self._lock = threading.Lock()

    def __call__(self, version: str) -> EmbeddingSpace:
        """The space called ``version``. Raises LearningError if its model is not there, or can't be used."""
        space = self._open.get(version)  # without the lock: opening another one may take a minute
        if space is None:
            with self._lock:
                if version not in self._open:
                    self._open[version] = self._make(version)
                space = self._open[version]
        return space

    def forget(self, *keep: str) -> None:
        """Let go of all spaces but those to ``keep`` and the recipe's own: an encoder is hundreds of megabytes."""
        with self._lock:
            self._open = {version: space for version, space in self._open.items() if version in (OWN, *keep)}

    def _make(self, version: str) -> EmbeddingSpace:
        folder = self._folder / version if version else None
        if folder is not None and not (folder / HEAD_FILE).exists():
            raise LearningError(
                f"model {version} is not in {self._folder} any more; choose another: nextlabel models list"
            )
        encoder = self._load(folder)
        anchors = label_anchors(self._question.labeling, encoder)
        prior, note, trained_on = None, "", None
        if folder is not None:
            prior, note = self._question.prior(folder / HEAD_FILE)
            trained_on = learned_positions(folder)
        if note:
            log.warning("a trained model was made for other labels", model=version, note=note)
        return EmbeddingSpace(
            version,
            encoder,
            self._cache(encoder),
            anchors,
            prior,
            for_requests(encoder),
            trained_on,
            note,
            self._strength,
        )
