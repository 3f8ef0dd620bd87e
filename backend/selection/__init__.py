"""Which record next: strategies over a pool, by name.

``get_strategy("margin-diverse").query(pool, k, rng)`` gives indices, the most valuable first.
"""

from __future__ import annotations

from .badge import Badge
from .base import ArrayVectors, Pool, QueryStrategy, ScoringStrategy, Vectors, top_k
from .diversity import KCenter, MarginDiverse
from .mixture import Mixture, interleave
from .random_ import Random
from .registry import get_strategy, register, strategy_names
from .representative import Representative
from .uncertainty import Entropy, LeastConfidence, Margin

__all__ = [
    "ArrayVectors",
    "Badge",
    "Entropy",
    "KCenter",
    "LeastConfidence",
    "Margin",
    "MarginDiverse",
    "Mixture",
    "Pool",
    "QueryStrategy",
    "Random",
    "Representative",
    "ScoringStrategy",
    "Vectors",
    "get_strategy",
    "interleave",
    "register",
    "strategy_names",
    "top_k",
]
