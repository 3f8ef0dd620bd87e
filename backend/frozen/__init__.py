"""Models that predict and do not learn: ours that were trained once, and those that others have made."""

from __future__ import annotations

from .base import FrozenModel
from .opening import open_model

__all__ = ["FrozenModel", "open_model"]
