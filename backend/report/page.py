"""One page a project: a single file, no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files
from string import Template

from nextlabel.backend.learning.evaluation.album import Picture
from nextlabel.backend.learning.evaluation.intervals import Interval
from nextlabel.backend.learning.evaluation.page import bar, facts, figures, notes, style, table

from . import words
from .building import Report

NUMBERS = {"labels", "accuracy", "95%", "audit answers", "rank", "answers", "compared", "agrees", "chosen", "audit",
           "share of all", "still unlabelled"}  # fmt: skip


def page(found: Report, album: Sequence[Picture]) -> str:
    """The page as HTML, with the pictures that :func:`.album.drawn` makes."""
    template = Template(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    how = words.HOW_SAVED + (f" {words.HOW_TRAINED}" if found.trained else "")
    return template.substitute(
        style=style(),
        title=escape(found.project),
        subtitle=escape(f"{found.chosen + found.audited:,} of {found.records:,} records are labelled"),
        cards="".join(_cards(found)),
        saved=escape(_sentence(words.saved(found))),
        how=escape(how if found.saved is not None else ""),
        pictures=figures(album) if album else "",
        stop=_table(words.STOP, words.stop_rows(found)),
        curve=_part(found, "curve", words.HOW_CURVE, _table(words.CURVE, words.curve_rows(found))),
        agreed=escape(_sentence(words.agreed(found))),
        annotators=_part(found, "annotators", "", _table(words.ANNOTATORS, words.annotator_rows(found))),
        balance=_balance(found),
        facts=facts(dict(words.headline(found)[:3]) | {"question": f"{found.kind}, {len(found.balance)} labels"}),
    )


def _cards(found: Report) -> Iterator[str]:
    yield _card("Labels learned from", f"{found.chosen:,}", f"and {found.audited:,} for the audit")
    if found.curve:
        last = found.curve[-1]
        yield _card("Audit accuracy", f"{last.accuracy.mean:.3f}", words.span(last.accuracy, ".3f"), last.accuracy)
    if found.saved is not None:
        saved = found.saved
        until = f"{words.span(saved.labels, '+,.0f')} · until {saved.accuracy:.1%} accuracy"
        yield _card("Labels saved", f"{saved.labels.mean:+,.0f}" if saved.shown else "not shown", until)
    if found.agreement is not None:
        pairs = found.agreement.pairs
        yield _card("Two people agree", f"{pairs.mean:.0%}", words.span(pairs, ".0%"), pairs)


def _card(name: str, value: str, says: str, shown: Interval | None = None) -> str:
    drawn = "" if shown is None else bar(shown.low, shown.high, shown.mean)
    return (
        f'<div class="card"><span class="soft small">{escape(name)}</span><b>{escape(value)}</b>'
        f'<span class="soft small">{escape(says)}</span>{drawn}</div>'
    )


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


def _sentence(said: str) -> str:
    return f"{said[:1].upper()}{said[1:]}."
