"""A project's report in words, which the terminal shows too, and as a page with plots: a single file, no scripts."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nextlabel.backend.annotators.quality import LEAST_RANKED, Annotator

from . import issue_tables
from .against_random import Saved
from .epochs import epoch_pictures
from .page import Card, Column, Row, Table, render, span
from .plots import COLOURS, INK, WIDE, Picture, canvas, draw_curve, legend, name_axes, name_rows, row, short
from .project import Balance, Point, ProjectReport, thinned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nextlabel.backend.intervals import Interval

HOW_SAVED = (
    "How it is estimated: the audit slice is a random sample, so cross-validation within it gives the curve of random "
    "labels up to four fifths of its size; the chosen labels' curve is the same probe on the first so many of them, "
    "tested on the same records. The two are compared at the highest accuracy that both reach within the labels that "
    "both curves have. Nothing is said about what came after. The audit slice's own labels count for neither. "
    "Intervals are over the audit records; the chance in the one order of labels that there was is not in them."
)
HOW_TRAINED = "Both read the recipe's own encoder; what the trained model in use gains over it is not in these figures."
HOW_CURVE = "Each model as it was tested when it was in the loop, on the audit answers that there were then."
CURVE = ("labels", "accuracy", "95%", "audit answers", "model")
ANNOTATORS = ("rank", "annotator", "answers", "compared", "agrees", "95%")
BALANCE = ("label", "chosen", "audit", "share of all", "95%", "still unlabelled", "95%")
STOP = ("criterion", "advice", "why")
NUMBERS = {"labels", "accuracy", "95%", "audit answers", "rank", "answers", "compared", "agrees", "chosen", "audit",
           "share of all", "still unlabelled", "likely wrong", "share", "likely missed", "score", "likeness",
           "likeness to the others"}  # fmt: skip
SHOWN_POINTS = 12  # of the learning curve, in its table
MOST_LABELS = 30  # bars that can be read
SHOWN_ISSUES = 20  # of each kind


def headline(found: ProjectReport) -> list[tuple[str, str]]:
    """What a reader takes home."""
    data = found.gathered
    chosen, audited, held_out = len(data.training), len(data.audited), len(data.held_out)
    kept = f", {held_out:,} held out" if held_out else ""
    labelled = f"{chosen + audited + held_out:,} of {data.records:,} records"
    rows = [
        ("labelled", f"{labelled}, {audited:,} of them for the audit{kept}"),
        ("answers", f"{data.answers:,} of {data.people:,} annotators, {data.skips:,} skips"),
        ("time", f"{data.first:%Y-%m-%d %H:%M} to {data.last:%Y-%m-%d %H:%M} UTC"),
    ]
    if found.curve:
        last = found.curve[-1]
        rows.append(("audit accuracy", f"{last.accuracy} on {last.audited:,} answers, {last.model}"))
    rows += [(f"suggester {name}", suggester(one)) for name, one in data.suggesters.items()]
    if found.slips is not None:
        rows.append(("audit answers in doubt", doubted(found)))
    if found.held_out is not None:
        last = found.held_out
        told = f"{last.accuracy} on {last.audited:,} answers from before the first start, kept from training, not blind"
        rows.append(("held-out accuracy", told))
    rows.append(("labels saved", saved(found)))
    rows.append(("agreement", agreed(found)))
    rows.append(("label quality", quality(found)))
    return rows


def quality(found: ProjectReport) -> str:
    """How many answers are likely wrong, and what became of those that were asked about; or why that is not known."""
    if found.issues is None:
        return f"not known: {found.silent['issues']}"
    told = (issue_tables.headline(found.issues), issue_tables.asked_again(found.issues["asked_again"]))
    return "; ".join(part for part in told if part)


def to_look_at_issues(found: ProjectReport) -> str:
    """The command that asks others about the likely errors, for a shell; "" where there are none."""
    if found.issues is None or not (found.issues["likely"] or found.issues["duplicates"]):
        return ""
    return shlex.join(["nextlabel", "issues", found.recipe, "--send"])


def issue_parts(found: ProjectReport) -> Iterator[tuple[str, Table]]:
    """The tables about label quality that have a row, each with its heading."""
    if found.issues is None:
        return
    tables: tuple[tuple[str, Sequence[str], Iterable[Row]], ...] = (
        ("The worst answers", issue_tables.WORST, issue_tables.worst_rows(found.issues, SHOWN_ISSUES)),
        ("By label", issue_tables.LABELS, issue_tables.label_rows(found.issues)),
        ("By annotator", issue_tables.PEOPLE, issue_tables.people_rows(found.issues)),
        (
            "Near copies with different answers",
            issue_tables.DUPLICATES,
            issue_tables.duplicate_rows(found.issues, SHOWN_ISSUES),
        ),
        ("Like no other", issue_tables.OUTLIERS, issue_tables.outlier_rows(found.issues, SHOWN_ISSUES)),
    )
    for heading, head, rows in tables:
        if (made := _table(head, rows)).rows:
            yield heading, made


def suggester(figures: dict[str, Any]) -> str:
    """How often people say what a model or rule suggests."""
    parts = []
    for key, where in (("agreeing", ""), ("blind", " on the audit slice, where nobody saw it")):
        one = figures[key]
        if not one["answered"]:
            continue
        if "accuracy" in one:
            interval = f"{one['low']:.3f} to {one['high']:.3f}"
            parts.append(
                f"people say the same {one['accuracy']:.3f} (95%: {interval}, {one['n']:,} suggestions){where}"
            )
        parts.append(f"it suggests something for {one['said']:,} of {one['answered']:,} answered records{where}")
    return "; ".join(parts)


def doubted(found: ProjectReport) -> str:
    """What the model takes for slips, whose they are, and what accuracy is without them."""
    slips, without = found.slips, found.without_slips
    if slips is None:
        return ""
    people = sorted(slips.people.items(), key=lambda one: -one[1][0])
    whose = ", ".join(f"{some:,} of {given:,} by {name}" for name, (some, given) in people)
    parts = [f"the model takes {slips.answers:,} for slips ({whose})"]
    parts += [f"accuracy is {without} if others say so too"] if without is not None else []
    parts += [agreed(found)] if found.agreement is not None else []
    return "; ".join(parts)


def to_ask_others(found: ProjectReport) -> str:
    """The command that asks others about these answers, for a shell; "" where there is nobody to ask about."""
    uids = found.slips.uids if found.slips is not None else ()
    apart = ["--"] if any(uid.startswith("-") for uid in uids) else []  # what follows is no option
    return shlex.join(["nextlabel", "relabel", found.recipe, *apart, *uids]) if uids else ""


def saved(found: ProjectReport) -> str:
    """The finding against random, or why there is none."""
    return found.saved.verdict if found.saved is not None else f"not known: {found.silent['saved']}"


def how_saved(found: ProjectReport) -> str:
    """How that finding was made; empty without one."""
    if found.saved is None:
        return ""
    return HOW_SAVED + (f" {HOW_TRAINED}" if found.gathered.trained else "")


def agreed(found: ProjectReport) -> str:
    """How far annotators agree, or why that is not known."""
    if found.agreement is None:
        return f"not known: {found.silent['agreement']}"
    one = found.agreement
    if one.of_marks:
        return f"two people's marks are the same with an F1 of {one.pairs}, {one.records:,} texts"
    alpha = "" if one.alpha.mean != one.alpha.mean else f"; Krippendorff's alpha {one.alpha}"
    return f"two people say the same in {one.pairs} of cases, {one.records:,} records{alpha}"


def curve_rows(found: ProjectReport) -> Iterator[tuple[str, ...]]:
    """Some points of the learning curve, CURVE's columns."""
    for one in thinned(found.curve, SHOWN_POINTS):
        yield (
            f"{one.labels:,}", f"{one.accuracy.mean:.3f}", span(one.accuracy, ".3f"), f"{one.audited:,}", of_model(one)
        )  # fmt: skip


def of_model(one: Point) -> str:
    """The model's name, and whose vectors it reads, if the name does not say it."""
    return one.model if not one.encoder or one.encoder in one.model else f"{one.model} on {one.encoder}"


def annotator_rows(found: ProjectReport) -> Iterator[tuple[str, ...]]:
    """Everybody, ANNOTATORS's columns; nothing if nobody can be compared."""
    if found.quality is None or "annotators" in found.silent:
        return
    for one in found.quality.annotators:
        yield (
            "" if one.rank is None else str(one.rank), one.name, f"{one.answers:,}", f"{one.compared:,}", *_agrees(one)
        )  # fmt: skip


def _agrees(one: Annotator) -> tuple[str, str]:
    if one.compared < LEAST_RANKED:
        return "too few", ""
    return f"{one.agreement:.2f}", f"{one.low:.2f} to {one.high:.2f}"


def balance_rows(found: ProjectReport) -> Iterator[tuple[str, ...]]:
    """Every label, BALANCE's columns."""
    for one in found.balance:
        yield one.label, f"{one.chosen:,}", f"{one.audit:,}", *_share(one)


def _share(one: Balance) -> tuple[str, str, str, str]:
    if one.share is None or one.left is None:
        return "not known", "", "not known", ""
    return f"{one.share.mean:.1%}", span(one.share, ".1%"), f"{one.left.mean:,.0f}", span(one.left, ",.0f")


def stop_rows(found: ProjectReport) -> Iterator[tuple[str, ...]]:
    """Every criterion's advice, STOP's columns."""
    for name, one in found.advice:
        yield name, "stop" if one.stop else "go on", one.reason


def page(found: ProjectReport, drawn: Sequence[Picture]) -> str:
    """The page as HTML, with the pictures that :func:`drawn` makes."""
    data = found.gathered
    return render(
        "project.html",
        found.project,
        f"{len(data.training) + len(data.audited) + len(data.held_out):,} of {data.records:,} records are labelled",
        headline=list(_cards(found)),
        saved=saved(found),
        how=how_saved(found),
        drawn=drawn,
        silent={part: found.silent.get(part, "") for part in ("curve", "annotators", "balance")},
        stop=_table(STOP, stop_rows(found)),
        how_curve=HOW_CURVE,
        curve=_table(CURVE, curve_rows(found)),
        agreed=agreed(found),
        annotators=_table(ANNOTATORS, annotator_rows(found)),
        balance=_table(BALANCE, balance_rows(found)),
        quality=quality(found),
        how_quality=issue_tables.HOW,
        to_send=to_look_at_issues(found),
        issue_parts=list(issue_parts(found)),
        about=dict(headline(found)[:3]) | {"question": f"{data.labeling.kind.value}, {len(found.balance)} labels"},
    )


def _cards(found: ProjectReport) -> Iterator[Card]:
    data = found.gathered
    yield Card("Labels learned from", f"{len(data.training):,}", [f"and {len(data.audited):,} for the audit"])
    if found.curve:
        last = found.curve[-1].accuracy
        yield Card("Audit accuracy", f"{last.mean:.3f}", [span(last, ".3f")], last)
    if found.slips is not None:
        lines = [doubted(found), *([f"to ask others: {command}"] if (command := to_ask_others(found)) else [])]
        yield Card("Audit answers in doubt", f"{found.slips.answers:,}", lines)
    if found.held_out is not None:
        kept = found.held_out.accuracy
        yield Card("Held-out accuracy", f"{kept.mean:.3f}", [span(kept, ".3f"), "answered before, not blind"], kept)
    if found.saved is not None:
        one = found.saved
        until = f"{span(one.labels, '+,.0f')} · until {one.accuracy:.1%} accuracy"
        yield Card("Labels saved", f"{one.labels.mean:+,.0f}" if one.shown else "not shown", [until])
    if found.agreement is not None:
        pairs, notes = found.agreement.pairs, ["F1 of their marks"] if found.agreement.of_marks else []
        yield Card("Two people agree", f"{pairs.mean:.0%}", [span(pairs, ".0%"), *notes], pairs)


def _table(head: Sequence[str], rows: Iterable[Row]) -> Table:
    kinds = ["n" if name in NUMBERS else "text" if name in ("why", "text") else "label" for name in head]
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
                balance(shares, len(found.gathered.training)),
            )
        )
    return album + epoch_pictures([found.epochs])


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
        row(axes, place, one.share, COLOURS[0])
        if chosen:
            axes.plot([one.chosen / chosen], [place], marker="o", ms=7, mfc="none", color=COLOURS[1])
    name_rows(axes, [short(one.label) for one in shares], "share of the records")
    axes.set_xlim(left=0)
    return figure


def _line(axes: Axes, at: list[int], scores: list[Interval], number: int, name: str) -> None:
    draw_curve(axes, at, scores, COLOURS[number % len(COLOURS)], alpha=0.14, name=name, lw=1.6, marker="o", ms=3)


def _finish(axes: Axes) -> None:
    name_axes(axes, "labels learned from", "accuracy")
    legend(axes, "lower right")
