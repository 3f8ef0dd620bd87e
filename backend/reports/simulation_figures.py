"""The pictures of a simulation: curves, the lead over random, and what it saves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nextlabel.backend.evaluation.intervals import Interval
from nextlabel.backend.simulation.plan import METRICS, MetricName, Target
from nextlabel.backend.simulation.runs import RANDOM
from nextlabel.backend.simulation.statistics import Figures, Summary

from .picture import Picture
from .plots import COLOURS, INK, canvas, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE = (6.4, 3.9)  # inches
DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
"""Colours come round again after eight strategies; dashes then tell them apart."""


def drawn(summary: Summary, metric: MetricName, target: Target) -> list[Picture]:
    """Every picture of ``summary``. Raises MissingExtra (matplotlib)."""
    others = [name for name in summary.strategies if name != RANDOM]
    names = ", ".join(summary.strategies)
    what = METRICS[metric]
    bands = ", bands are 95% intervals" if summary.seeds > 1 else ""
    final = "; ".join(f"{name} {one.final}" for name, one in summary.strategies.items())
    album = [
        Picture(
            "learning-curves",
            "Learning curves",
            f"{what} on records nobody labelled, by labels{bands}",
            f"{what} by number of labels for {names}. At the end: {final}.",
            curves(summary, what, target),
        )
    ]
    if others:
        gains = "; ".join(f"{name} {summary.strategies[name].gain}" for name in others)
        album += [
            Picture(
                "lead",
                "Lead over random",
                f"difference in {what}, seed by seed{bands}; above the line is better",
                f"Difference to random in {what} by number of labels for {', '.join(others)}.",
                lead(summary, what),
            ),
            Picture(
                "gain",
                "Gain over the whole budget",
                f"mean {what} over all rounds, minus random's; widened for {len(others)} comparisons",
                f"Gain in area over random: {gains}.",
                gain(summary, what),
            ),
            Picture(
                "labels-to-target",
                "Labels to the target",
                f"until {what} comes up to {target}; arrows: some seeds never did",
                "Labels to the target: "
                + "; ".join(f"{name} {one.labels_to_target}" for name, one in summary.strategies.items()),
                to_target(summary),
            ),
        ]
    return album


def curves(summary: Summary, what: str, target: Target) -> Figure:
    """Every strategy's score by labels, with the target and what all labels give as lines."""
    figure, axes = canvas(WIDE)
    for level, says in ((summary.full, "all labels"), (summary.target, "target")):
        if says == "target" or target.of_full:
            axes.axhline(level.mean, color=INK, lw=0.8, ls=(0, (2, 3)), alpha=0.9)
            axes.annotate(
                says, (0, level.mean), xycoords=("axes fraction", "data"), xytext=(3, 2), textcoords="offset points",
                ha="left", fontsize=7.5, color=INK,
            )  # fmt: skip
    for name, one in _in_order(summary):
        _line(axes, summary.labels, one.curve, name, summary)
    axes.set_ylabel(what)
    _labels_axis(axes)
    legend(axes, "lower right")
    return figure


def lead(summary: Summary, what: str) -> Figure:
    """Every strategy's difference to random by labels."""
    figure, axes = canvas(WIDE)
    axes.axhline(0, color=INK, lw=1.2)
    for name, one in _in_order(summary):
        if name != RANDOM:
            _line(axes, summary.labels, one.lead, name, summary)
    axes.set_ylabel(f"{what} minus random's")
    _labels_axis(axes)
    legend(axes, "best")
    return figure


def gain(summary: Summary, what: str) -> Figure:
    """Gain in area with its interval, a line a strategy, the best above."""
    rows = sorted(
        ((name, one.gain) for name, one in summary.strategies.items() if name != RANDOM), key=lambda row: row[1].mean
    )
    figure, axes = canvas((WIDE[0], max(1.9, 0.9 + 0.32 * len(rows))))
    axes.axvline(0, color=INK, lw=1.2)
    for place, (name, found) in enumerate(rows):
        colour, _ = _looks(name, summary)
        if found.low == found.low:
            axes.plot([found.low, found.high], [place, place], color=colour, lw=2.2, solid_capstyle="round")
        axes.plot([found.mean], [place], marker="o", ms=6, color=colour)
    _names(axes, [name for name, _ in rows])
    axes.set_xlabel(f"mean {what} minus random's")
    return figure


def to_target(summary: Summary) -> Figure:
    """Labels to the target with their interval, the fewest above; an arrow where a seed never came there."""
    rows = sorted(summary.strategies.items(), key=lambda row: _at_least(row[1]), reverse=True)
    figure, axes = canvas((WIDE[0], max(1.9, 0.9 + 0.32 * len(rows))))
    budget = summary.labels[-1]
    axes.axvline(budget, color=INK, lw=0.8, ls=(0, (2, 3)), alpha=0.9)
    for place, (name, one) in enumerate(rows):
        found, (colour, _) = one.labels_to_target, _looks(name, summary)
        if found.reached < found.seeds:
            _arrow(axes, found.interval, budget, place, colour)
            continue
        if found.interval.low == found.interval.low:
            bounds = [found.interval.low, found.interval.high]
            axes.plot(bounds, [place, place], color=colour, lw=2.2, solid_capstyle="round")
        axes.plot([found.interval.mean], [place], marker="o", ms=6, color=colour)
    _names(axes, [name for name, _ in rows])
    axes.set_xlim(left=0, right=max(axes.get_xlim()[1], budget * 1.06))
    axes.set_xlabel("labels (dotted: the budget)")
    return figure


def _arrow(axes: Axes, found: Interval, budget: int, place: int, colour: str) -> None:
    end = max(budget * 1.04, found.low * 1.02)
    axes.annotate(
        "", (end, place), (found.low, place), arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.8, "shrinkA": 0}
    )
    axes.plot([found.low], [place], marker="|", ms=9, color=colour, mew=1.8)


def _line(axes: Axes, labels: Sequence[int], points: Sequence[Interval], name: str, summary: Summary) -> None:
    colour, dash = _looks(name, summary)
    if points[0].low == points[0].low:
        low, high = [point.low for point in points], [point.high for point in points]
        axes.fill_between(labels, low, high, color=colour, alpha=0.11, lw=0)
    thick = 2.4 if name == summary.recommended else 1.5
    axes.plot(labels, [point.mean for point in points], color=colour, lw=thick, ls=dash, label=name.replace("$", r"\$"))


def _looks(name: str, summary: Summary) -> tuple[str, str | tuple[int, tuple[float, ...]]]:
    """Colour and dashes: random in the colour of the text, dashed; others in the order they were given."""
    if name == RANDOM:
        return INK, (0, (4, 2))
    at = [other for other in summary.strategies if other != RANDOM].index(name)
    return COLOURS[at % len(COLOURS)], DASHES[at // len(COLOURS) % len(DASHES)]


def _in_order(summary: Summary) -> list[tuple[str, Figures]]:
    """Random first, so that the others are drawn over it."""
    return sorted(summary.strategies.items(), key=lambda one: one[0] != RANDOM)


def _at_least(one: Figures) -> float:
    """For the order: those that never arrived come after all that did."""
    found = one.labels_to_target
    return found.interval.mean if found.reached == found.seeds else 1e9 - found.reached * 1e6 + found.interval.low


def _labels_axis(axes: Axes) -> None:
    axes.set_xlabel("labels")
    axes.margins(x=0.01)
    axes.grid(color=INK, alpha=0.18, lw=0.6)


def _names(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [name.replace("$", r"\$") for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(axis="x", color=INK, alpha=0.18, lw=0.6)
