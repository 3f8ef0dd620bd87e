"""The yardstick: every record is as good as any other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .base import Indices, Pool, check_request
from .registry import register


@register("random")
@dataclass(frozen=True, slots=True)
class Random:
    """Uniform, without replacement."""

    name: ClassVar[str] = "random"

    def query(self, pool: Pool, k: int, rng: np.random.Generator) -> Indices:
        """int64 [k], uniform."""
        check_request(pool, k)
        return rng.choice(len(pool), k, replace=False).astype(np.int64, copy=False)
