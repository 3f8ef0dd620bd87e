"""What heads say of records, in arrays."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Matrix: TypeAlias = npt.NDArray[np.float32]
Rows: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Outputs: TypeAlias = npt.NDArray[Any]
"""What a head, or a trained model, says of some texts, one row per text: probabilities, or objects."""


class View(NamedTuple):
    """Records as a head sees them, for a strategy: ``probabilities`` float32 [n, k] as selection's Pool has them.

    ``spans``: what is proposed in them, where that was asked for and is proposed: of each its record, label and score.
    """

    probabilities: Matrix
    spans: tuple[Rows, Rows, Matrix] | None = None
