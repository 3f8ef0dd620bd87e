"""The words that the terminal and the page share."""

from __future__ import annotations

from collections.abc import Iterator

from nextlabel.backend.annotators.quality import LEAST_RANKED, Annotator
from nextlabel.backend.evaluation.intervals import Interval

from .project import Balance, Point, ProjectReport, shown_points

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


def headline(found: ProjectReport) -> list[tuple[str, str]]:
    """What a reader takes home."""
    rows = [
        (
            "labelled",
            f"{found.chosen + found.audited:,} of {found.records:,} records, {found.audited:,} of them for the audit",
        ),
        ("answers", f"{found.answers:,} of {found.people:,} annotators, {found.skips:,} skips"),
        ("time", f"{found.first:%Y-%m-%d %H:%M} to {found.last:%Y-%m-%d %H:%M} UTC"),
    ]
    if found.curve:
        last = found.curve[-1]
        rows.append(("audit accuracy", f"{last.accuracy} on {last.audited:,} answers, {last.model}"))
    rows.append(("labels saved", saved(found)))
    rows.append(("agreement", agreed(found)))
    return rows


def saved(found: ProjectReport) -> str:
    """The finding against random, or why there is none."""
    return found.saved.verdict if found.saved is not None else f"not known: {found.silent['saved']}"


def agreed(found: ProjectReport) -> str:
    """How far annotators agree, or why that is not known."""
    if found.agreement is None:
        return f"not known: {found.silent['agreement']}"
    one = found.agreement
    alpha = "" if one.alpha.mean != one.alpha.mean else f"; Krippendorff's alpha {one.alpha}"
    return f"two people say the same in {one.pairs} of cases, {one.records:,} records{alpha}"


def curve_rows(found: ProjectReport) -> Iterator[tuple[str, ...]]:
    """A dozen points of the learning curve, CURVE's columns."""
    for one in shown_points(found.curve):
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


def span(one: Interval, form: str) -> str:
    """The interval alone."""
    return f"{one.low:{form}} to {one.high:{form}}"
