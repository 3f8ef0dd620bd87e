"""What a demo may be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nextlabel.backend.recipe.recipe import Recipe

ERROR_RATES = (0.0, 0.0, 0.1)
"""One of the three simulated annotators gives a wrong answer one time in ten."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to run. ``home`` holds the demo's store, pictures and logs; the recipe has to know the true labels.

    ``platform`` is where to run it, whatever the recipe says.
    """

    recipe: Recipe
    home: Path
    platform: str = "label-studio"
    labels: int = 200
    seed: int = 0
    keep: bool = False
    error_rates: Sequence[float] = ERROR_RATES
