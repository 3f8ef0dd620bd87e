"""One page a project: a single file, no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from . import report_text
from .page import card, facts, figures, framed, notes, sentence, table
from .picture import Picture
from .project import ProjectReport

NUMBERS = {"labels", "accuracy", "95%", "audit answers", "rank", "answers", "compared", "agrees", "chosen", "audit",
           "share of all", "still unlabelled"}  # fmt: skip


def page(found: ProjectReport, album: Sequence[Picture]) -> str:
    """The page as HTML, with the pictures that :func:`.album.drawn` makes."""
    how = report_text.HOW_SAVED + (f" {report_text.HOW_TRAINED}" if found.trained else "")
    return framed(
        __package__,
        found.project,
        f"{found.chosen + found.audited:,} of {found.records:,} records are labelled",
        cards="".join(_cards(found)),
        saved=escape(sentence(report_text.saved(found))),
        how=escape(how if found.saved is not None else ""),
        pictures=figures(album) if album else "",
        stop=_table(report_text.STOP, report_text.stop_rows(found)),
        curve=_part(found, "curve", report_text.HOW_CURVE, _table(report_text.CURVE, report_text.curve_rows(found))),
        agreed=escape(sentence(report_text.agreed(found))),
        annotators=_part(found, "annotators", "", _table(report_text.ANNOTATORS, report_text.annotator_rows(found))),
        balance=_balance(found),
        facts=facts(dict(report_text.headline(found)[:3]) | {"question": f"{found.kind}, {len(found.balance)} labels"}),
    )


def _cards(found: ProjectReport) -> Iterator[str]:
    yield card("Labels learned from", f"{found.chosen:,}", [f"and {found.audited:,} for the audit"])
    if found.curve:
        last = found.curve[-1]
        yield card(
            "Audit accuracy", f"{last.accuracy.mean:.3f}", [report_text.span(last.accuracy, ".3f")], last.accuracy
        )
    if found.saved is not None:
        saved = found.saved
        until = f"{report_text.span(saved.labels, '+,.0f')} · until {saved.accuracy:.1%} accuracy"
        yield card("Labels saved", f"{saved.labels.mean:+,.0f}" if saved.shown else "not shown", [until])
    if found.agreement is not None:
        pairs = found.agreement.pairs
        yield card("Two people agree", f"{pairs.mean:.0%}", [report_text.span(pairs, ".0%")], pairs)


def _part(found: ProjectReport, part: str, says: str, shown: str) -> str:
    """The table with a line about it, or why there is none."""
    if part in found.silent:
        return notes([f"Not known: {found.silent[part]}"])
    return (f'<p class="soft small">{escape(says)}</p>' if says else "") + shown


def _balance(found: ProjectReport) -> str:
    why = found.silent.get("balance")
    return (notes([why]) if why else "") + _table(report_text.BALANCE, report_text.balance_rows(found))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    kinds = ["n" if name in NUMBERS else "text" if name == "why" else "label" for name in head]
    cells = [[(kind, escape(cell)) for kind, cell in zip(kinds, row, strict=True)] for row in rows]
    return table([f"n:{name}" if name in NUMBERS else name for name in head], cells)
