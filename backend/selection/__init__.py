"""Which record next: strategies over a pool, by name.

``get_strategy("margin-diverse").query(pool, k, rng)`` gives indices, the most valuable first.
"""

from __future__ import annotations

from .activelab import ActiveLab
from .anchors import Anchor
from .badge import Badge
from .base import (
    ArrayVectors,
    Pool,
    QueryStrategy,
    ScoringStrategy,
    Vectors,
    check_request,
    choose,
    relabels,
    top_k,
    weighs_spans,
)
from .contrastive import Contrastive
from .coverage import ProbCover
from .diversity import KCenter, MarginDiverse
from .evidence import Spans
from .likely import Certainty
from .lookahead import ExpectedError
from .mixture import Mixture, interleave
from .neighbours import NearestPositive
from .random_ import Random
from .rare import Rare
from .registry import get_strategy, register, strategy_names
from .representative import Representative
from .schedule import Schedule, declared
from .seeds import Seeds, find_seeds, seed_scores
from .spans import LeastSureSpan
from .typical import TypiClust
from .uncertainty import Entropy, LeastConfidence, Margin

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
