"""One page for an evaluation of marks: span F1, by label and by kind of error, and how it grows. No scripts."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from nextlabel.backend.evaluation.span_errors import KINDS
from nextlabel.backend.evaluation.spans import SpanEvaluation
from nextlabel.backend.intervals import TOO_FEW

from . import plots
from .evaluation_page import LONGEST
from .page import NO_NUMBER, Card, Cell, Column, Table, number, render, span
from .plots import Picture


def drawn(found: SpanEvaluation) -> list[Picture]:
    """The pictures there are. Raises MissingExtra (matplotlib)."""
    known = [one for one in found.by_label if one.f1.mean == one.f1.mean]
    album = []
    if known:
        says = "; ".join(f"{one.label} {one.f1}" for one in known)
        album.append(
            Picture(
                "labels",
                "Label by label",
                "span F1 of each with its interval, the band is all together",
                f"Span F1 by label: {says}.",
                plots.fold_scores([one.label for one in known], [one.f1 for one in known], found.f1, "span F1"),
            )
        )
    if found.curve:
        first, last = found.curve[0], found.curve[-1]
        album.append(
            Picture(
                "learning-curve",
                "Learning curve",
                "span F1 by the number of texts learned from",
                f"Span F1 against texts learned from: {first.f1} with {first.labels:,}, "
                f"{last.f1} with {last.labels:,}.",
                plots.learning_curve(
                    [one.labels for one in found.curve], [one.f1 for one in found.curve], "span F1", of="texts"
                ),
            )
        )
    return album


def page(found: SpanEvaluation, drawn: Sequence[Picture]) -> str:
    """The page as HTML, with the pictures that :func:`drawn` makes."""
    asked = found.request
    units = "groups count as one" if asked.columns.group is not None else "texts are the units"
    columns = f"text {asked.columns.text!r}, spans {asked.columns.label!r}" if asked.columns.text else "tokens and tags"
    return render(
        "spans.html",
        Path(asked.data).name,
        f"marked parts of texts · {asked.rung} · {asked.encoder}",
        headline=_cards(found),
        how=f"{found.how[:1].upper()}{found.how[1:]}. Bands are 95% intervals, in which {units}.",
        verdict=found.verdict,
        remarks=found.remarks,
        labels=_labels(found),
        drawn=drawn,
        kinds=Table(
            [Column("kind", "label"), Column("what it is", "text"), Column("spans")],
            [(kind, KINDS[kind], f"{count:,}") for kind, count in found.kinds.items()],
        ),
        errors=_errors(found),
        about={
            "Data": asked.data if asked.test is None else f"{asked.data}, tested on {asked.test}",
            "Columns": columns + (f", group {asked.columns.group!r}" if asked.columns.group else ""),
            "Evaluated on": f"{found.texts:,} texts, {found.spans:,} spans, {len(found.labels)} labels",
            "How": found.how,
            "Learner": f"the probe on token vectors of {asked.encoder}",
            "Data hash": f"sha256 {found.digest[:16]}…",
            "Versions": f"nextlabel {version('nextlabel')}",
            "Time": f"{found.seconds:,.0f} s",
        },
    )


def _cards(found: SpanEvaluation) -> list[Card]:
    f1, kinds = found.f1, found.kinds
    said = sum(kinds.values()) - kinds["missed"]
    there = sum(kinds.values()) - kinds["invented"]
    within = [span(f1, ".3f") if f1.told else TOO_FEW, "start, end and label are right"]
    return [
        Card("Span F1", number(f1.mean), within, f1 if f1.told else None),
        Card("Precision", number(kinds["right"] / said) if said else NO_NUMBER, ["proposals that are right"]),
        Card("Recall", number(kinds["right"] / there) if there else NO_NUMBER, ["marks that are found"]),
    ]


def _labels(found: SpanEvaluation) -> Table:
    names = ("interval", "precision", "recall", "spans")
    return Table(
        [Column("label", "label"), Column("F1", "f1"), *(Column(name) for name in names)],
        [
            (
                one.label,
                Cell(number(one.f1.mean), bar=one.f1.mean if one.f1.mean == one.f1.mean else None),
                span(one.f1, ".3f"),
                number(one.precision),
                number(one.recall),
                f"{one.support:,}",
            )
            for one in found.by_label
        ],
    )


def _errors(found: SpanEvaluation) -> Table:
    return Table(
        [Column("text", "text"), Column("marked", "label"), Column("proposed", "label"), Column("probability")],
        [
            (
                one.text if len(one.text) <= LONGEST else one.text[:LONGEST] + "…",
                ", ".join(one.marked) or "nothing",
                ", ".join(one.proposed),
                f"{one.probability:.2f}",
            )
            for one in found.wrong
        ],
    )
