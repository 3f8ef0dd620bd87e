"""What an encoder is, and what all of them share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Engine: TypeAlias = Literal["auto", "torch", "onnx", "onnx-int8"]

FloatMatrix: TypeAlias = npt.NDArray[np.float32]

HASHING = "hashing"


class Encoder(Protocol):
    """Turns texts into vectors. Safe to call from several threads at once."""

    @property
    def name(self) -> str:
        """The name it was loaded by."""
        ...

    @property
    def fingerprint(self) -> str:
        """Short text that is safe as a file name and changes whenever the vectors would."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, texts: Sequence[str]) -> FloatMatrix:
        """Return float32 [len(texts), dimension], every row of length 1, in the order given.

        Any text is fine: empty, very long (only what fits into the windows counts), or not valid Unicode.
        """
        ...


def default_cache_dir() -> Path:
    """Where things are kept that can be made again: NEXTLABEL_CACHE, or ``nextlabel`` in the user's cache folder."""
    if chosen := os.environ.get("NEXTLABEL_CACHE"):
        return Path(chosen).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "nextlabel"


def usable_cores() -> int:
    """Cores that this process may use (its affinity mask, not the machine's count)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
