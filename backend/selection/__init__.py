"""Which record next: strategies over a pool, by name.

``get_strategy("margin-diverse").query(pool, k, rng)`` gives indices, the most valuable first.
"""

from __future__ import annotations

from .base import (
    ArrayVectors,
    Pool,
    QueryStrategy,
    ScoringStrategy,
    Spans,
    Vectors,
    check_request,
    choose,
    relabels,
    top_k,
    weighs_spans,
)
from .cold_start import ProbCover, Representative, TypiClust
from .diversity import Badge, KCenter, MarginDiverse
from .lookahead import ExpectedError
from .mixture import Mixture, Random, Schedule, declared, interleave
from .rare import Anchor, Certainty, NearestPositive, Rare
from .registry import get_strategy, register, strategy_names
from .relabelling import ActiveLab
from .seeds import Seeds, find_seeds, seed_scores
from .uncertainty import Contrastive, Entropy, LeastConfidence, LeastSureSpan, Margin

__all__ = [
    "ActiveLab",
    "Anchor",
    "ArrayVectors",
    "Badge",
    "Certainty",
    "Contrastive",
    "Entropy",
    "ExpectedError",
    "KCenter",
    "LeastConfidence",
    "LeastSureSpan",
    "Margin",
    "MarginDiverse",
    "Mixture",
    "NearestPositive",
    "Pool",
    "ProbCover",
    "QueryStrategy",
    "Random",
    "Rare",
    "Representative",
    "Schedule",
    "ScoringStrategy",
    "Seeds",
    "Spans",
    "TypiClust",
    "Vectors",
    "check_request",
    "choose",
    "declared",
    "find_seeds",
    "get_strategy",
    "interleave",
    "register",
    "relabels",
    "seed_scores",
    "strategy_names",
    "top_k",
    "weighs_spans",
]
