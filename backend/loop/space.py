"""The space that texts are vectors in: one encoder, its cache, and what is known of the labels before any answer.

The recipe's own encoder makes one space. Every trained model makes another, with its trained head as what is known
beforehand. A model and the vectors it reads must come from the same space, so they travel together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nextlabel.backend.learning.cache import EmbeddingCache
from nextlabel.backend.learning.coldstart import label_anchors
from nextlabel.backend.learning.encoders import Encoder
from nextlabel.backend.learning.multimodal.encoder import for_requests
from nextlabel.backend.learning.probe import Probe
from nextlabel.backend.learning.training.saving import HEAD_FILE
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Labeling, LabelKind

OWN = ""
"""Version of the space that the recipe's own encoder makes."""


@dataclass(frozen=True, slots=True)
class Space:
    """``version`` is that of the trained model, empty for the recipe's own encoder.

    ``anchors`` float32 [c, d]: a vector a label, from its words. ``prior``: the trained head, None without one, and for
    spans, whose probe starts anew from what is marked.
    ``public``: the same encoder for what comes in over HTTP, where it is another one.
    """

    version: str
    encoder: Encoder
    cache: EmbeddingCache
    anchors: npt.NDArray[np.float32]
    prior: Probe | None = None
    public: Encoder | None = None

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
    ) -> Probe:
        """A probe on vectors of this space, float32 [m, d]."""
        return Probe.fit(vectors, targets, classes, anchors=self.anchors, prior=self.prior, warm=warm)


class Spaces:
    """Opens the spaces of one project, each once. Thread-safe.

    ``load`` makes an encoder of a trained model's folder, or the recipe's own encoder of None.
    """

    def __init__(
        self,
        labeling: Labeling,
        load: Callable[[Path | None], Encoder],
        cache: Callable[[Encoder], EmbeddingCache],
        folder: Path,
    ) -> None:
        self._labeling = labeling
        self._load = load
        self._cache = cache
        self._folder = folder
        self._open: dict[str, Space] = {}
        self._lock = threading.Lock()

    def __call__(self, version: str) -> Space:
        """The space called ``version``. Raises LearningError if its model is not there, or can't be used."""
        space = self._open.get(version)  # without the lock: opening another one may take a minute
        if space is None:
            with self._lock:
                if version not in self._open:
                    self._open[version] = self._make(version)
                space = self._open[version]
        return space

    def forget(self, keep: str) -> None:
        """Let go of all spaces but ``keep`` and the recipe's own: an encoder is hundreds of megabytes."""
        with self._lock:
            self._open = {version: space for version, space in self._open.items() if version in (OWN, keep)}

    def _make(self, version: str) -> Space:
        folder = self._folder / version if version else None
        if folder is not None and not (folder / HEAD_FILE).exists():
            raise LearningError(
                f"model {version} is not in {self._folder} any more; choose another: nextlabel models list"
            )
        encoder = self._load(folder)
        whole_texts = self._labeling.kind is not LabelKind.SPAN
        prior = Probe.load(folder / HEAD_FILE) if folder is not None and whole_texts else None
        anchors = label_anchors(self._labeling, encoder)
        return Space(version, encoder, self._cache(encoder), anchors, prior, for_requests(encoder))
