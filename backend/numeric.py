"""Small rules of arithmetic that every room shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
COOLEST, HOTTEST = 0.1, 10.0


def unit_rows(rows: npt.NDArray[np.floating[Any]]) -> Matrix:
    """The rows of [n, d], brought to length 1, in float32. A row of zeros stays zeros, and nothing else counts as none.

    No floor under the length: a short row has a direction as good as any, and what is divided by a floor instead is no
    unit vector. A row that isn't finite comes out as it must, not finite: the embedding cache refuses those, and who
    has another use for them says so before. The length is summed as ``np.linalg.norm`` does it, to the last bit, since
    vectors on disk are held against new ones.
    """
    single = np.asarray(rows, np.float32)
    lengths = np.linalg.norm(single, axis=1, keepdims=True)
    return np.asarray(single / np.where(lengths == 0, np.float32(1), lengths), np.float32)


def best_temperature(cost: Callable[[float], float]) -> tuple[float, float]:
    """The temperature in [0.1, 10] with the least ``cost``, within one per cent, and that cost.

    Temperatures divide logits: Guo et al., 2017, "On Calibration of Modern Neural Networks".
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log: cost(float(np.exp(log))),
        bounds=(np.log(COOLEST), np.log(HOTTEST)),
        method="bounded",
        options={"xatol": 0.01},
    )
    return float(np.exp(found.x)), float(found.fun)


def plain(value: Any) -> Any:
    """``value`` for JSON, which has no nan: what is not defined is None, inside of dataclasses and collections too."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and value != value else value


def as_objects(items: Sequence[Any]) -> npt.NDArray[np.object_]:
    """An array of any objects, object [n], whatever they look like to numpy."""
    found = np.empty(len(items), np.object_)
    found[:] = items
    return found
