"""What a model says of one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nextlabel.connectors.records import Suggestion


@dataclass(frozen=True, slots=True)
class Prediction:
    """All that the model says of one record: what it suggests, and the probability of every label.

    Probabilities sum to 1 for a single label, and stand each for itself where there may be several. Span labelings
    have none.
    """

    suggestion: Suggestion
    probabilities: Mapping[str, float]
