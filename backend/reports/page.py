"""What pages of figures share: their frame and its looks, cards, tables, plots. A single file, no scripts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template

from nextlabel.backend.evaluation.intervals import Interval

from . import plots
from .picture import Picture


def framed(package: str, title: str, subtitle: str, **parts: str) -> str:
    """A page: ``page.html`` of ``package`` with its ``parts``, HTML that is safe, and ``looks.css`` if there is one.

    ``title`` and ``subtitle`` are plain text.
    """
    folder = files(package)
    looks = folder.joinpath("looks.css")
    return Template(files(__package__).joinpath("frame.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        looks=looks.read_text(encoding="utf-8") if looks.is_file() else "",
        main=Template(folder.joinpath("page.html").read_text(encoding="utf-8")).substitute(parts),
    )


def card(name: str, value: str, says: Iterable[str], shown: Interval | None = None) -> str:
    """A figure with a line or more about it, all plain text, and with a bar if its interval is to be shown."""
    lines = "".join(f'<span class="soft small">{escape(line)}</span>' for line in says)
    drawn = "" if shown is None else bar(shown.low, shown.high, shown.mean)
    return f'<div class="card"><span class="soft small">{escape(name)}</span><b>{escape(value)}</b>{lines}{drawn}</div>'


def bar(low: float, high: float, mark: float | None = None) -> str:
    """A band from ``low`` to ``high`` on a line from 0 to 1, with a mark."""
    at = "" if mark is None else f'<u style="left:calc({100 * mark:.1f}% - 1px)"></u>'
    return f'<div class="bar"><i style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></i>{at}</div>'


def notes(remarks: Sequence[str]) -> str:
    """What a reader has to know, as a list; nothing for nothing."""
    items = "".join(f"<li>{escape(sentence(remark))}</li>" for remark in remarks)
    return f'<ul class="notes">{items}</ul>' if items else ""


def sentence(said: str) -> str:
    """Words that begin small and have no full stop, as a sentence."""
    return f"{said[:1].upper()}{said[1:]}."


def figures(album: Sequence[Picture]) -> str:
    """The pictures with their captions, side by side where there is room."""
    layout = "pictures pairs" if len(album) % 3 == 1 else "pictures"
    shown = "".join(
        f"<figure><figcaption>{escape(one.title)}<span>{escape(one.says)}</span></figcaption>"
        f"{plots.svg(one.figure, f'p{number}', one.alt)}</figure>"
        for number, one in enumerate(album)
    )
    return f'<div class="{layout}">{shown}</div>'


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
