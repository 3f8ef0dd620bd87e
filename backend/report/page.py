"""One page a project: a single file, no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from nextlabel.backend.learning.evaluation.album import Picture
from nextlabel.backend.learning.evaluation.frame import card, facts, figures, framed, notes, sentence, table

from . import words
from .building import Report

NUMBERS = {"labels", "accuracy", "95%", "audit answers", "rank", "answers", "compared", "agrees", "chosen", "audit",
           "share of all", "still unlabelled"}  # fmt: skip


def page(found: Report, album: Sequence[Picture]) -> str:
    """The page as HTML, with the pictures that :func:`.album.drawn` makes."""
    how = words.HOW_SAVED + (f" {words.HOW_TRAINED}" if found.trained else "")
    return framed(
        __package__,
        found.project,
        f"{found.chosen + found.audited:,} of {found.records:,} records are labelled",
        cards="".join(_cards(found)),
        saved=escape(sentence(words.saved(found))),
        how=escape(how if found.saved is not None else ""),
        pictures=figures(album) if album else "",
        stop=_table(words.STOP, words.stop_rows(found)),
        curve=_part(found, "curve", words.HOW_CURVE, _table(words.CURVE, words.curve_rows(found))),
        agreed=escape(sentence(words.agreed(found))),
        annotators=_part(found, "annotators", "", _table(words.ANNOTATORS, words.annotator_rows(found))),
        balance=_balance(found),
        facts=facts(dict(words.headline(found)[:3]) | {"question": f"{found.kind}, {len(found.balance)} labels"}),
    )


def _cards(found: Report) -> Iterator[str]:
    yield card("Labels learned from", f"{found.chosen:,}", [f"and {found.audited:,} for the audit"])
    if found.curve:
        last = found.curve[-1]
        yield card("Audit accuracy", f"{last.accuracy.mean:.3f}", [words.span(last.accuracy, ".3f")], last.accuracy)
    if found.saved is not None:
        saved = found.saved
        until = f"{words.span(saved.labels, '+,.0f')} · until {saved.accuracy:.1%} accuracy"
        yield card("Labels saved", f"{saved.labels.mean:+,.0f}" if saved.shown else "not shown", [until])
    if found.agreement is not None:
        pairs = found.agreement.pairs
        yield card("Two people agree", f"{pairs.mean:.0%}", [words.span(pairs, ".0%")], pairs)


def _part(found: Report, part: str, says: str, shown: str) -> str:
    """The table with a line about it, or why there is none."""
    if part in found.silent:
        return notes([f"Not known: {found.silent[part]}"])
    return (f'<p class="soft small">{escape(says)}</p>' if says else "") + shown


def _balance(found: Report) -> str:
    why = found.silent.get("balance")
    return (notes([why]) if why else "") + _table(words.BALANCE, words.balance_rows(found))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    kinds = ["n" if name in NUMBERS else "text" if name == "why" else "label" for name in head]
    cells = [[(kind, escape(cell)) for kind, cell in zip(kinds, row, strict=True)] for row in rows]
    return table([f"n:{name}" if name in NUMBERS else name for name in head], cells)
