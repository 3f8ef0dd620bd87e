"""One page per project: a single file, no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from . import report_text
from .page import Card, Column, Row, Table, render
from .picture import Picture
from .project import ProjectReport

NUMBERS = {"labels", "accuracy", "95%", "audit answers", "rank", "answers", "compared", "agrees", "chosen", "audit",
           "share of all", "still unlabelled"}  # fmt: skip


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
