"""One page per project, with plots of what is known: a single file, no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from . import report_text
from .page import Card, Column, Row, Table, render
from .plots import COLOURS, INK, Picture, canvas, legend
from .project import Balance, Point, ProjectReport
from .random_reference import Saved

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nextlabel.backend.evaluation.intervals import Interval

NUMBERS = {"labels", "accuracy", "95%", "audit answers", "rank", "answers", "compared", "agrees", "chosen", "audit",
           "share of all", "still unlabelled"}  # fmt: skip
WIDE = (6.4, 3.9)  # inches
MOST_LABELS = 30  # bars that can be read


def page(found: ProjectReport, drawn: Sequence[Picture]) -> str:
    """The page as HTML, with the pictures that :func:`.project_figures.drawn` makes."""
    how = report_text.HOW_SAVED + (f" {report_text.HOW_TRAINED}" if found.trained else "")
    return render(
        "project.html",
        found.project,
        f"{found.chosen + found.audited:,} of {found.records:,} records are labelled",
        headline=list(_cards(found)),
        saved=report_text.saved(found),
        how=how if found.saved is not None else "",
        drawn=drawn,
        silent={part: found.silent.get(part, "") for part in ("curve", "annotators", "balance")},
        stop=_table(report_text.STOP, report_text.stop_rows(found)),
        how_curve=report_text.HOW_CURVE,
        curve=_table(report_text.CURVE, report_text.curve_rows(found)),
        agreed=report_text.agreed(found),
        annotators=_table(report_text.ANNOTATORS, report_text.annotator_rows(found)),
        balance=_table(report_text.BALANCE, report_text.balance_rows(found)),
        about=dict(report_text.headline(found)[:3]) | {"question": f"{found.kind}, {len(found.balance)} labels"},
    )


def _cards(found: ProjectReport) -> Iterator[Card]:
    yield Card("Labels learned from", f"{found.chosen:,}", [f"and {found.audited:,} for the audit"])
    if found.curve:
        last = found.curve[-1].accuracy
        yield Card("Audit accuracy", f"{last.mean:.3f}", [report_text.span(last, ".3f")], last)
    if found.saved is not None:
        saved = found.saved
        until = f"{report_text.span(saved.labels, '+,.0f')} · until {saved.accuracy:.1%} accuracy"
        yield Card("Labels saved", f"{saved.labels.mean:+,.0f}" if saved.shown else "not shown", [until])
    if found.agreement is not None:
        pairs = found.agreement.pairs
        yield Card("Two people agree", f"{pairs.mean:.0%}", [report_text.span(pairs, ".0%")], pairs)


def _table(head: Sequence[str], rows: Iterable[Row]) -> Table:
    kinds = ["n" if name in NUMBERS else "text" if name == "why" else "label" for name in head]
    return Table([Column(name, kind) for name, kind in zip(head, kinds, strict=True)], list(rows))


def drawn(found: ProjectReport) -> list[Picture]:
    """Every picture that there is something for. Raises MissingExtra (matplotlib)."""
    album = []
    if len(found.curve) > 1:
        first, last = found.curve[0], found.curve[-1]
        album.append(
            Picture(
                "learning-curve",
                "Learning curve",
                "accuracy on the audit answers of the time, by labels learned from; the band is 95%",
                f"Accuracy by labels: {first.accuracy} with {first.labels:,}, {last.accuracy} with {last.labels:,}.",
                live(found.curve),
            )
        )
    if found.saved is not None:
        album.append(
            Picture(
                "against-random",
                "Chosen against random labels",
                "the same probe on both, tested on the audit slice; bands are 95%",
                f"Accuracy by chosen and by random labels: {found.saved.verdict}.",
                against(found.saved),
            )
        )
    shares = [one for one in found.balance if one.share is not None]
    if shares and len(shares) <= MOST_LABELS:
        album.append(
            Picture(
                "balance",
                "Class balance",
                "share of all records, estimated from the audit slice with 95%; ring: share of the chosen labels",
                "Share of each label: " + "; ".join(f"{one.label} {one.share}" for one in shares),
                balance(shares, found.chosen),
            )
        )
    return album


def live(curve: tuple[Point, ...]) -> Figure:
    """Accuracy on the audit slice of the models that were in the loop; another colour where the encoder changed."""
    figure, axes = canvas(WIDE)
    encoders = list(dict.fromkeys(one.encoder for one in curve))
    for number, encoder in enumerate(encoders):
        points = [one for one in curve if one.encoder == encoder]
        _line(axes, [one.labels for one in points], [one.accuracy for one in points], number, encoder or "own encoder")
    _finish(axes)
    return figure


def against(saved: Saved) -> Figure:
    """Both curves, and the accuracy at which they are compared."""
    figure, axes = canvas(WIDE)
    for number, (name, curve) in enumerate((("chosen labels", saved.chosen), ("random labels", saved.random))):
        _line(axes, curve.labels.tolist(), curve.scores(), number, name)
    axes.axhline(saved.accuracy, color=INK, lw=0.8, ls=(0, (4, 4)), alpha=0.6)
    _finish(axes)
    return figure


def balance(shares: list[Balance], chosen: int) -> Figure:
    """A line per label: the estimated share with its interval, and the share among the chosen."""
    figure, axes = canvas((WIDE[0], max(2.2, 0.9 + 0.27 * len(shares))))
    for place, one in enumerate(shares):
        if one.share is None:
            continue
        axes.plot([one.share.low, one.share.high], [place, place], color=COLOURS[0], lw=2)
        axes.plot([one.share.mean], [place], marker="o", ms=5, color=COLOURS[0])
        if chosen:
            axes.plot([one.chosen / chosen], [place], marker="o", ms=7, mfc="none", color=COLOURS[1])
    names = [one.label if len(one.label) <= 24 else one.label[:23] + "…" for one in shares]
    axes.set_yticks(range(len(shares)), [name.replace("$", r"\$") for name in names])
    axes.set_ylim(len(shares) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("share of the records")
    axes.grid(axis="x", color=INK, alpha=0.18, lw=0.6)
    return figure


def _line(axes: Axes, at: list[int], scores: list[Interval], number: int, name: str) -> None:
    colour = COLOURS[number % len(COLOURS)]
    low, high = [one.low for one in scores], [one.high for one in scores]
    axes.fill_between(at, low, high, color=colour, alpha=0.14, lw=0)
    axes.plot(at, [one.mean for one in scores], color=colour, lw=1.6, marker="o", ms=3, label=name.replace("$", r"\$"))


def _finish(axes: Axes) -> None:
    axes.set_xlabel("labels learned from")
    axes.set_ylabel("accuracy")
    axes.grid(color=INK, alpha=0.18, lw=0.6)
    legend(axes, "lower right")
