"""A back-test before anybody pays: strategies replayed on records that have labels already, against random.

``simulate(request)`` does all of it; ``run`` replays a :class:`Material`, ``summarise`` turns the curves into figures.
"""

from __future__ import annotations

from .data import Material
from .plan import Plan
from .replay import Curve, replay
from .request import Request, Simulation, simulate
from .runs import Runs, run
from .statistics import Summary, summarise

__all__ = [
    "Curve",
    "Material",
    "Plan",
    "Request",
    "Runs",
    "Simulation",
    "Summary",
    "replay",
    "run",
    "simulate",
    "summarise",
]
