"""Figures over resamples one by one: what the fast ones are held against."""

from __future__ import annotations

import numpy as np

from nextlabel.backend.activation import Targets
from nextlabel.backend.intervals import Counts, Scores
from nextlabel.backend.metrics import Figure, Metric, Predicted


def row_by_row(metric: Metric) -> Figure:
    """Any plain figure as one over resamples: slow, one call a resample."""

    def figure(predicted: Predicted, targets: Targets, counts: Counts) -> Scores:
        rows = np.arange(len(targets))
        drawn = (np.repeat(rows, count.astype(np.int64)) for count in counts)
        return np.array([[metric(predicted[picked], targets[picked])] for picked in drawn], np.float64)

    return Figure(figure, lambda predicted, targets: np.ones((len(targets), 1), np.bool_))
