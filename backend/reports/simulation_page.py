"""One page per simulation: what to do, by how much it is better, and how that was found. A single file, no scripts.

Its plots are the curves, the lead over random, and what it saves. ``write`` leaves all in a folder, and the figures as
JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextlabel.backend.files import write_atomically
from nextlabel.backend.intervals import Interval
from nextlabel.backend.simulation.arms import RANDOM
from nextlabel.backend.simulation.plan import METRICS, MetricName, Target
from nextlabel.backend.simulation.request import Simulation
from nextlabel.backend.simulation.statistics import NONE_SHOWN, Figures, Reached, Summary
from nextlabel.connectors.errors import ConfigError

from .page import NO_NUMBER, Card, Cell, Column, Table, render, span
from .plots import COLOURS, INK, WIDE, Picture, canvas, draw_curve, legend, name_axes, name_rows, row, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROUND: Mapping[str, Any] = {"lw": 2.2, "ms": 6, "solid_capstyle": "round"}
DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
"""Colours come round again after eight strategies; dashes then tell them apart."""
LEGEND = (
    "Area: the mean score over all rounds. Gain: area minus random's, seed by seed, with an interval widened for the "
    "number of strategies (Bonferroni); a strategy is shown to be better when all of it lies above zero. Labels: until "
    "the target is first reached; “over” means that some seeds never got there within the budget. Error ratio: final "
    "error over random's, below 1 is better. Intervals are Student's t over seeds, which differ in test records, "
    "answers and chance; they speak of this data."
)
ORDERS = {"seed": "in an order drawn by the seed", "file": "in the order of the file"}
PAGE = "index.html"
FIGURES = "simulation.json"


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
        _line(axes, summary, one.curve, name)
    name_axes(axes, "labels", what)
    axes.margins(x=0.01)
    legend(axes, "lower right")
    return figure


def lead(summary: Summary, what: str) -> Figure:
    """Every strategy's difference to random by labels."""
    figure, axes = canvas(WIDE)
    axes.axhline(0, color=INK, lw=1.2)
    for name, one in _in_order(summary):
        if name != RANDOM:
            _line(axes, summary, one.lead, name)
    name_axes(axes, "labels", f"{what} minus random's")
    axes.margins(x=0.01)
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
        row(axes, place, found, _looks(name, summary)[0], **ROUND)
    name_rows(axes, [name for name, _ in rows], f"mean {what} minus random's", first_above=False)
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
        else:
            row(axes, place, found.interval, colour, **ROUND)
    name_rows(axes, [name for name, _ in rows], "labels (dotted: the budget)", first_above=False)
    axes.set_xlim(left=0, right=max(axes.get_xlim()[1], budget * 1.06))
    return figure


def _arrow(axes: Axes, found: Interval, budget: int, place: int, colour: str) -> None:
    end = max(budget * 1.04, found.low * 1.02)
    axes.annotate(
        "", (end, place), (found.low, place), arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.8, "shrinkA": 0}
    )
    axes.plot([found.low], [place], marker="|", ms=9, color=colour, mew=1.8)


def _line(axes: Axes, summary: Summary, points: Sequence[Interval], name: str) -> None:
    colour, dash = _looks(name, summary)
    thick = 2.4 if name == summary.recommended else 1.5
    draw_curve(axes, summary.labels, points, colour, alpha=0.11, name=name, lw=thick, ls=dash)


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


def page(found: Simulation, drawn: list[Picture]) -> str:
    """The page as HTML."""
    asked, summary = found.request, found.summary
    why = summary.why.removeprefix(NONE_SHOWN).lstrip(":, ")
    verdict = (
        f"Label with {summary.recommended}"
        if summary.recommended is not None
        else f"{NONE_SHOWN[:1].upper()}{NONE_SHOWN[1:]}"
    )  # fmt: skip
    return render(
        "simulation.html",
        Path(asked.data).name,
        f"which record next: {len(summary.strategies)} strategies, {_many(asked.seeds, 'seed')}",
        recommended=summary.recommended is not None,
        verdict=verdict,
        why=why,
        headline=list(_cards(found)),
        how=_how(found),
        remarks=_warnings(found),
        drawn=drawn,
        strategies=_strategies(found),
        legend=LEGEND,
        about=dict(_facts(found)),
    )


def _cards(found: Simulation) -> Iterator[Card]:
    """What a reader takes home: of the recommended strategy, else of random."""
    summary, asked = found.summary, found.request
    name = summary.recommended or RANDOM
    one, what = summary.strategies[name], METRICS[asked.plan.metric]
    yield _card(f"{what} at {asked.plan.budget:,} labels", *_three(one.final), f"{name}; all labels give "
                f"{summary.full.mean:.3f}")  # fmt: skip
    yield _card("Labels to the target", *_labels(one.labels_to_target), f"{what} {summary.target.mean:.3f}, {name}")
    if summary.recommended is not None:
        ratio = one.labels_ratio
        if ratio.mean == ratio.mean:
            most = "at most " if one.at_most else ""
            yield _card("Of random's labels", f"{most}{ratio.mean:.0%}", span(ratio, ".0%"), "to the same target")
        yield _card("Error to random's", f"× {one.error_ratio.mean:.2f}", span(one.error_ratio, ".2f"), "at the end")
    price = asked.price.of(one.labels_to_target.interval)
    for key, name_of in (("money", "Cost to the target"), ("hours", "Hours to the target")):
        if key in price:
            yield _card(name_of, *_cost(price[key]), f"{name}, one answer per record")


def _card(name: str, value: str, within: str, says: str) -> Card:
    return Card(name, value, [" · ".join(part for part in (within, says) if part)])


def _strategies(found: Simulation) -> Table:
    summary = found.summary
    head = ["area", "gain over random", "labels to target", "of random's", "final", "error ratio"]
    several = found.counts["most_answers"] > 1
    head += ["records"] * several
    priced = [key for key in ("money", "hours") if found.request.price.of(Interval(1.0, 1.0, 1.0)).get(key)]
    head += [f"{'cost' if key == 'money' else 'hours'} to target" for key in priced]
    rows: list[list[str | Cell]] = []
    order = sorted(summary.strategies.items(), key=lambda row: -row[1].area.mean)
    for name, one in order:
        price = found.request.price.of(one.labels_to_target.interval)
        cells: list[str | Cell] = [
            _name(found, name),
            _cell(*_three(one.area)),
            "" if name == RANDOM else _cell(f"{one.gain.mean:+.3f}", span(one.gain, "+.3f")),
            _cell(*_labels(one.labels_to_target)),
            "" if name == RANDOM else _cell(*_share(one)),
            _cell(*_three(one.final)),
            "" if name == RANDOM else _cell(f"{one.error_ratio.mean:.2f}", span(one.error_ratio, ".2f")),
            *[_cell(f"{one.records.mean:,.0f}", "")] * several,
        ]
        rows.append(cells + [_cell(*_cost(price[key])) for key in priced])
    return Table([Column("strategy", "label"), *(Column(name) for name in head)], rows)


def _name(found: Simulation, name: str) -> Cell:
    if name == found.summary.recommended:
        return Cell(name, tag="recommended", good=True)
    if name in found.summary.better:
        return Cell(name, tag="beats random", good=True)
    return Cell(name, tag="loses to random" if name in found.summary.worse else "")


def _how(found: Simulation) -> str:
    plan, counts = found.request.plan, found.counts
    start = f"{plan.start} random labels to start with" if plan.start else found.cold
    if plan.start and plan.start_opinions > 1:
        start += f", up to {plan.start_opinions} to a record"
    asks = "gets" if counts["most_answers"] > 1 else "labels"
    of = "answers about" if counts["most_answers"] > 1 else "of"
    fixed = "the same in every seed" if found.request.parts else "drawn anew by each seed"
    noise = f" {plan.noise:.0%} of the answers are flipped, none of the labels tested on." if plan.noise else ""
    whole = " Groups are kept whole." if counts["groups"] else ""
    return (
        f"Each strategy {asks} {plan.budget:,} {of} {counts['pool']:,} records, {plan.batch} at a time after {start}, "
        f"and is tested on {counts['tested']:,} others, {fixed}.{whole}{noise}"
    )


def _warnings(found: Simulation) -> list[str]:
    lost = found.summary.worse
    return [f"{', '.join(lost)}: shown to lose to random on this data"] * bool(lost) + list(found.remarks)


def _facts(found: Simulation) -> Iterator[tuple[str, str]]:
    asked, counts = found.request, found.counts
    columns = asked.asked.columns
    answers = f"label {columns.label!r}"
    if asked.asked.annotators:
        answers = f"annotators {', '.join(asked.asked.annotators)}"
    elif asked.asked.annotator:
        answers += f", annotator {asked.asked.annotator!r}"
    yield "Data", asked.data
    if columns.text:
        yield "Columns", f"text {columns.text!r}, {answers}" + (f", group {columns.group!r}" if columns.group else "")
    yield "Records", f"{counts['n']:,} records, {len(found.labels)} labels"
    if counts["disagreements"] or asked.asked.annotators or asked.asked.annotator:
        yield (
            "Annotators",
            f"{counts['answers']:,} answers; {counts['disagreements']:,} records on which they disagree. Each label is "
            f"one person's answer, {ORDERS[asked.plan.order]}; strategies that ask again may ask another person about "
            f"the same record, up to {asked.plan.opinions or counts['most_answers']} in all. Models are tested on the "
            "majority of all answers",
        )
    learner = f"{found.learner} on {asked.encoder}, fitted again after every {asked.plan.batch} labels"
    if asked.rung != "probe":
        spec = asked.training
        what = "a fusion head is trained on it" if asked.rung == "fusion" else f"the encoder is trained ({asked.rung})"
        learner += f"; {what} with {spec.start_at:,} labels, and whenever they have grown by {spec.growth:.0%}"
    yield "Learner", learner
    yield "Target", f"{asked.target}: {METRICS[asked.plan.metric]} {found.summary.target}"
    yield "Data hash", f"sha256 {found.digest[:16]}…"
    yield "Time", f"{found.runs.cpu_seconds:,.0f} s of CPU for the curves, {found.seconds:,.0f} s in this run"


def _three(one: Interval) -> tuple[str, str]:
    return f"{one.mean:.3f}", span(one, ".3f")


def _labels(one: Reached) -> tuple[str, str]:
    if one.reached < one.seeds:
        return f"over {one.interval.low:,.0f}", f"{one.reached} of {one.seeds} seeds got there"
    return f"{one.interval.mean:,.0f}", span(one.interval, ",.0f")


def _share(one: Figures) -> tuple[str, str]:
    ratio = one.labels_ratio
    return (
        (NO_NUMBER, "") if ratio.mean != ratio.mean else ("≤ " * one.at_most + f"{ratio.mean:.0%}", span(ratio, ".0%"))
    )


def _cost(found: dict[str, float | None]) -> tuple[str, str]:
    mean, low, high = found["mean"], found["low"], found["high"]
    if mean is None:
        return (NO_NUMBER, "") if low is None else (f"over {low:,.2f}", "")
    return f"{mean:,.2f}", "" if low is None or high is None else f"{low:,.2f} to {high:,.2f}"


def _cell(value: str, small: str) -> Cell:
    return Cell(value, strong=True, small=small)


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def write(found: Simulation, folder: Path) -> Path:
    """Write index.html, simulation.json and a PNG per picture to ``folder``, over what may be there; return the page.

    Raises MissingExtra (matplotlib), ConfigError if the folder can't be written.
    """
    album = drawn(found.summary, found.request.plan.metric, found.request.target)
    try:
        save(album, folder)
        write_atomically(folder / FIGURES, (json.dumps(found.to_json(), ensure_ascii=False, indent=1) + "\n").encode())
        write_atomically(folder / PAGE, page(found, album).encode())
    except OSError as error:
        raise ConfigError(f"{folder}: can't be written: {error.strerror or error}; choose another --out") from None
    return folder / PAGE
