"""Pictures as an image tower takes them, in files: they are decoded once, and an epoch maps them into memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from nextlabel.backend.data.image_rules import ImageProblem
from nextlabel.backend.encoders.image_models import Arrays
from nextlabel.backend.encoders.multimodal import MultimodalEncoder
from nextlabel.backend.files import write_atomically
from nextlabel.connectors.errors import LearningError

from .spec import Watch

NOTE = "pictures.json"  # beside the files of the arrays; written last, so without it they are not whole
WINDOW = 16  # pictures in memory together


@dataclass(frozen=True, slots=True)
class PictureFile:
    """The pictures at some addresses: ``row_of`` those that could be read, in ``arrays`` [m, ...], which are mapped."""

    arrays: Arrays
    row_of: dict[str, int]

    def take(self, rows: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
        """What the tower takes of the pictures in ``rows``."""
        taken = {name: array[list(rows)] for name, array in self.arrays.items()}
        return {name: one.astype(np.float32) if one.dtype == np.float16 else one for name, one in taken.items()}

    @classmethod
    def make(cls, addresses: Sequence[str], encoder: MultimodalEncoder, folder: Path, watch: Watch) -> Self:
        """Read the pictures at ``addresses``, all different, into ``folder``; those that are there already are taken.

        Floats are kept in half precision: what that changes is a twentieth of a grey level of 256. Raises LearningError
        where pictures would be of several shapes, and TrainingCancelled.
        """
        folder.mkdir(parents=True, exist_ok=True)
        key = _key(addresses, encoder)
        told = _told(folder)
        if told.get("key") != key:
            (folder / NOTE).unlink(missing_ok=True)
            told = _write(addresses, encoder, folder, watch) | {"key": key}
            write_atomically(folder / NOTE, json.dumps(told).encode())
        row_of = {address: row for address, row in zip(addresses, told["rows"], strict=True) if row >= 0}
        arrays = {
            name: np.memmap(folder / f"{name}.raw", np.dtype(kind), mode="r", shape=(len(row_of), *shape))
            for name, (kind, shape) in told["arrays"].items()
        }
        return cls(arrays, row_of)


def _key(addresses: Sequence[str], encoder: MultimodalEncoder) -> str:
    total = hashlib.blake2b(encoder.image.fingerprint.encode(), digest_size=16)
    for address in addresses:
        total.update(b"\0" + address.encode("utf-8", "surrogatepass"))
    return total.hexdigest()


def _told(folder: Path) -> dict[str, Any]:
    """The note in ``folder``; nothing where there is none that can be read."""
    try:
        return dict(json.loads((folder / NOTE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def _write(addresses: Sequence[str], encoder: MultimodalEncoder, folder: Path, watch: Watch) -> dict[str, Any]:
    """Write the arrays; ``rows`` of the addresses, -1 for what can't be read, and dtype and shape of the ``arrays``."""
    rows: list[int] = []
    count = 0
    arrays: dict[str, tuple[str, list[int]]] = {}
    with ExitStack() as opened:
        files: dict[str, IO[bytes]] = {}
        for at in range(0, len(addresses), WINDOW):
            watch.tell("reading", at, len(addresses))
            for one in encoder.prepared(addresses[at : at + WINDOW]).values():
                if isinstance(one, ImageProblem):
                    rows.append(-1)
                    continue
                rows.append(count)
                count += 1
                halved = {name: _halved(array) for name, array in one.items()}
                found = {name: (array.dtype.str, list(array.shape)) for name, array in halved.items()}
                if not files:
                    arrays = found
                    files = {name: opened.enter_context((folder / f"{name}.raw").open("wb")) for name in found}
                if found != arrays:
                    raise LearningError(f"the image model takes pictures of several sizes ({arrays}, {found})")
                for name, array in halved.items():
                    files[name].write(np.ascontiguousarray(array).tobytes())
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    watch.tell("reading", len(addresses), len(addresses))
    return {"rows": rows, "arrays": arrays}


def _halved(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array.astype(np.float16) if array.dtype == np.float32 else array
