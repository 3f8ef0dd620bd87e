"""What an encoder is, what all of them share, and what the labels' words are to one.

Before the first label a text is closest to the label whose words fit it best (Chang et al., 2008, "Importance of
Semantic Representation: Dataless Classification"). The probe takes their vectors as examples of their classes, and each
counts for less the more labelled examples its class has.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import MissingExtra
from nextlabel.connectors.records import Labeling

Engine: TypeAlias = Literal["auto", "torch", "onnx", "onnx-int8"]
FloatMatrix: TypeAlias = npt.NDArray[np.float32]
HASHING = "hashing"
BESIDE_OTHERS = {"OMP_WAIT_POLICY": "passive"}
"""Of the environment of a process that computes beside others: threads that spin while they wait take their cores."""


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """Which encoder, and how it reads a text: what recipes ask for, and what jobs and trainings pass on.

    ``name``: see load_encoder. ``max_length`` in tokens and ``prompt``, which is put before every text, are the
    model's own by default. ``windows``: most windows of ``max_length`` tokens in which a text is read. ``images``:
    where images may be read from. ``cache_dir`` keeps what is made once for a model; default_cache_dir() by default.
    """

    name: str
    engine: Engine = "auto"
    max_length: int | None = None
    prompt: str | None = None
    windows: int = 1
    images: ImageRules | None = None
    cache_dir: Path | None = None

    @property
    def cache(self) -> Path:
        """The folder that keeps what is made once."""
        return self.cache_dir or default_cache_dir()

    def told(self) -> dict[str, Any]:
        """It as JSON for another process, whatever folder that runs in."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        images = None if self.images is None else self.images.told()
        cache_dir = None if self.cache_dir is None else str(self.cache_dir.absolute())
        return values | {"images": images, "cache_dir": cache_dir}


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderOptions:
    """What a command is told of the encoder that reads a file: the parts of an EncoderSpec, for requests to inherit.

    ``cache``: the folder for everything that can be made again. ``images``: where pictures may be read from.
    """

    cache: Path
    encoder: str = HASHING
    engine: Engine = "auto"
    max_length: int = 128
    windows: int = 1
    images: ImageRules | None = None

    @property
    def encoder_spec(self) -> EncoderSpec:
        """What reads the file's texts and pictures."""
        return EncoderSpec(
            self.encoder,
            self.engine,
            self.max_length,
            windows=self.windows,
            images=self.images,
            cache_dir=self.cache,
        )


class Encoder(Protocol):
    """Turns what records hold into vectors. Safe to call from several threads at once.

    Plain texts are strings. What has images or a context beside its text is a ``connectors.content.Content``; an
    encoder without eyes reads its text. ``name`` is the one that it was loaded by; ``fingerprint`` a short text that is
    safe as a file name and changes whenever the vectors would; ``dimension`` the length of a vector.
    """

    name: str
    fingerprint: str
    dimension: int

    def encode(self, texts: Sequence[Readable]) -> FloatMatrix:
        """Return float32 [len(texts), dimension], every row of length 1, in the order given.

        Any text is fine: empty, very long (only what fits into the windows counts), or not valid Unicode. A row of nan
        is no vector: a picture of that content can't be read now. Only encoders of pictures have such rows.
        """
        ...


def default_cache_dir() -> Path:
    """Where things are kept that can be made again: NEXTLABEL_CACHE, or ``nextlabel`` in the user's cache folder."""
    if chosen := os.environ.get("NEXTLABEL_CACHE"):
        return Path(chosen).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "nextlabel"


def installed(module: str) -> bool:
    """Whether ``module`` can be imported; it isn't."""
    return find_spec(module) is not None


def need(*modules: str) -> None:
    """Raises MissingExtra for the first of ``modules``, all of the extra ``train``, that isn't installed."""
    for module in modules:
        if not installed(module):
            raise MissingExtra(module, "train")


def torch_is_loaded() -> bool:
    """Whether this process has torch, so that what needs it costs no other process."""
    return "torch" in sys.modules


def reads_images(encoder: Encoder) -> bool:
    """Whether pictures of a content are read, so that there may be rows of nan."""
    return bool(getattr(encoder, "reads_images", False))


def usable_cores() -> int:
    """Cores that this process may use (its affinity mask, not the machine's count)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def label_anchors(labeling: Labeling, encoder: Encoder) -> npt.NDArray[np.float32]:
    """One unit vector a label, float32 [c, d], in the order of ``labeling.labels``."""
    # Where texts and images share a space, a label's words are compared with both.
    encode = getattr(encoder, "encode_labels", encoder.encode)
    return np.asarray(encode([labeling.describe(label) for label in labeling.labels]), np.float32)
