"""One page a model: the figures, how sure they are, and what they were measured on. A single file, no scripts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template

import numpy as np

from nextlabel.backend.learning.evaluation import pictures
from nextlabel.backend.learning.evaluation.album import Picture
from nextlabel.backend.learning.evaluation.crossvalidation import HeldOut
from nextlabel.backend.learning.evaluation.intervals import Interval
from nextlabel.backend.learning.evaluation.metrics import ClassFigures
from nextlabel.backend.learning.evaluation.summary import ConfidentError, Summary

SHOWN = {
    "macro_f1": ("Macro-F1", "the labels' mean F1"),
    "accuracy": ("Accuracy", "texts that are right"),
    "roc_auc": ("ROC-AUC", "a yes ranked over a no"),
    "average_precision": ("Average precision", "area under precision–recall"),
}
LONGEST = 400  # characters of a text that are shown
CONFUSED = 12  # pairs of labels that are listed
FEW = 8  # labels, up to which the matrix says it all


@dataclass(frozen=True, slots=True)
class About:
    """What a page says beside the figures, all of it plain text: heading, line below, facts by name, what to know."""

    title: str
    subtitle: str
    facts: Mapping[str, str]
    remarks: Sequence[str] = ()


def page(found: HeldOut, summary: Summary, about: About, album: Sequence[Picture], verdict: str | None = None) -> str:
    """The page as HTML, with the pictures that :func:`.album.drawn` makes, and a learning curve's verdict."""
    template = Template(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    how = about.facts.get("How", "")
    sure = (
        "Bands are 95% intervals from whole groups drawn anew"
        if found.groups is not None
        else "Bands are 95% intervals"
    )
    return template.substitute(
        title=escape(about.title),
        subtitle=escape(about.subtitle),
        cards=_cards(summary),
        how=escape(f"{how[:1].upper()}{how[1:]}. {sure}." if how else f"{sure}."),
        verdict=f"<p>{_sentence(verdict)}</p>" if verdict else "",
        notes=notes(about.remarks),
        classes=_classes(summary.classes),
        pictures=figures(album),
        confused=_confused(summary),
        errors=_errors(summary.errors),
        facts=facts(about.facts),
    )


def _cards(summary: Summary) -> str:
    cards = [_card(name, says, summary.headline[key]) for key, (name, says) in SHOWN.items()]
    error = summary.calibration_error
    if error == error:
        verdict = (
            f"how far probabilities are off; {summary.tempered_error:.3f} at temperature {summary.temperature:.2f}"
        )
        cards.append(
            f'<div class="card"><span class="soft small">Calibration error</span><b>{error:.3f}</b>'
            f'<span class="soft small">{escape(verdict)}</span></div>'
        )
    return "".join(cards)


def _card(name: str, says: str, value: Interval) -> str:
    if value.mean != value.mean:
        body = '<b>–</b><span class="soft small">not defined for these answers</span>'
    else:
        body = (
            f"<b>{value.mean:.3f}</b>"
            f'<span class="soft small">{value.low:.3f} to {value.high:.3f}</span>'
            f'<span class="soft small">{escape(says)}</span>'
            f"{bar(value.low, value.high, value.mean)}"
        )
    return f'<div class="card"><span class="soft small">{escape(name)}</span>{body}</div>'


def bar(low: float, high: float, mark: float | None = None) -> str:
    """A band from ``low`` to ``high`` on a line from 0 to 1, with a mark."""
    at = "" if mark is None else f'<u style="left:calc({100 * mark:.1f}% - 1px)"></u>'
    return f'<div class="bar"><i style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></i>{at}</div>'


def style() -> str:
    """The looks of the page, for pages of the same kind: what stands in its ``<style>``."""
    page_of = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    return page_of.partition("<style>")[2].partition("</style>")[0]


def notes(remarks: Sequence[str]) -> str:
    """What a reader has to know, as a list; nothing for nothing."""
    items = "".join(f"<li>{_sentence(remark)}</li>" for remark in remarks)
    return f'<ul class="notes">{items}</ul>' if items else ""


def _sentence(said: str) -> str:
    return f"{escape(said[:1].upper() + said[1:])}."


def _classes(found: Sequence[ClassFigures]) -> str:
    head = ("label", "F1", "n:precision", "n:recall", "n:ROC-AUC", "n:average precision", "n:rows", "n:predicted")
    rows = (
        [
            ("label", escape(one.label)),
            ("f1", _number(one.f1) + (bar(0, one.f1) if one.f1 == one.f1 else "")),
            ("n", _number(one.precision)),
            ("n", _number(one.recall)),
            ("n", _number(one.roc_auc)),
            ("n", _number(one.average_precision)),
            ("n", f"{one.support:,}"),
            ("n", f"{one.said:,}"),
        ]
        for one in found
    )
    return table(head, rows, "pinned")


def figures(album: Sequence[Picture]) -> str:
    """The pictures with their captions, side by side where there is room."""
    layout = "pictures pairs" if len(album) % 3 == 1 else "pictures"
    shown = "".join(
        f"<figure><figcaption>{escape(one.title)}<span>{escape(one.says)}</span></figcaption>"
        f"{pictures.svg(one.figure, f'p{number}', one.alt)}</figure>"
        for number, one in enumerate(album)
    )
    return f'<div class="{layout}">{shown}</div>'


def _confused(summary: Summary) -> str:
    """The pairs that are mixed up most, where the matrix is too large to find them."""
    labels = [one.label for one in summary.classes]
    if summary.confusion.ndim != 2 or len(labels) <= FEW:
        return ""
    wrong = summary.confusion - np.diag(np.diag(summary.confusion))
    worst = [
        (int(at) // len(labels), int(at) % len(labels))
        for at in np.argsort(-wrong, axis=None, kind="stable")[:CONFUSED]
    ]
    rows = [
        [("label", escape(labels[answer])), ("label", escape(labels[said])), ("n", f"{wrong[answer, said]:,}")]
        for answer, said in worst
        if wrong[answer, said]
    ]
    return f"<h2>Mixed up most</h2>{table(('answer', 'predicted', 'n:texts'), rows)}" if rows else ""


def _errors(found: Sequence[ConfidentError]) -> str:
    if not found:
        return '<p class="soft">Nothing was wrong.</p>'
    rows = (
        [
            ("text", escape(one.text if len(one.text) <= LONGEST else one.text[:LONGEST] + "…")),
            ("label", escape(", ".join(one.answer) or "none")),
            ("label", escape(", ".join(one.said) or "none")),
            ("n", f"{one.probability:.2f}"),
        ]
        for one in found
    )
    says = "The wrong predictions it was surest of. Some of them may be wrong answers: they are worth a second look."
    return f'<p class="soft small">{says}</p>{table(("text", "answer", "predicted", "n:probability"), rows, "wrapped")}'


def facts(found: Mapping[str, str]) -> str:
    """What was done and on what, a line each."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in found.items())
    return f'<div class="scroll"><table class="facts">{rows}</table></div>'


def table(head: Sequence[str], rows: Iterable[Sequence[tuple[str, str]]], kind: str = "plain") -> str:
    """``head`` entries that begin with ``n:`` are numbers; cells are (class, HTML that is already safe).

    On a phone, a ``pinned`` table scrolls under its first column, and rows of a ``wrapped`` one stand as paragraphs,
    in which ``data-of`` says what a cell is.
    """
    names = [name.removeprefix("n:") for name in head]
    heads = "".join(
        f'<th class="n">{escape(name)}</th>' if given.startswith("n:") else f"<th>{escape(name)}</th>"
        for given, name in zip(head, names, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="{css}" data-of="{escape(name)}">{cell}</td>'
            for name, (css, cell) in zip(names, cells, strict=True)
        )
        + "</tr>"
        for cells in rows
    )
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _number(value: float) -> str:
    return f"{value:.3f}" if value == value else "–"
