"""What pages of figures share: how they are rendered, and their cards and tables. A single file, no scripts.

The templates are in ``templates/``: ``frame.html`` with its looks, ``kit.html`` with what several pages show, and one
file per page. All text in them is escaped by Jinja2; only plots are markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeAlias

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nextlabel.backend.intervals import Interval

from . import plots
from .plots import Picture

NO_NUMBER = "–"


@dataclass(frozen=True, slots=True)
class Card:
    """A figure with a line or more about it, and a bar if its interval is to be shown."""

    name: str
    value: str
    lines: Sequence[str]
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """``kind``: the class of its cells, "n" for numbers."""

    name: str
    kind: str = "n"


@dataclass(frozen=True, slots=True)
class Cell:
    """A text with what may stand beside it. ``bar``: a figure in [0, 1] drawn below it; ``good``: of the tag."""

    text: str
    strong: bool = False
    small: str = ""
    tag: str = ""
    good: bool = False
    bar: float | None = None


Row: TypeAlias = Sequence[str | Cell]


@dataclass(frozen=True, slots=True)
class Table:
    """What ``kit.html`` shows as a table; a row has as many cells as there are columns."""

    columns: Sequence[Column]
    rows: Sequence[Row]


def render(template: str, title: str, subtitle: str, **values: object) -> str:
    """The page of ``template`` as HTML. Texts in ``values`` are plain text."""
    return _environment().get_template(template).render(title=title, subtitle=subtitle, **values)


def sentence(said: str) -> str:
    """Words that begin small and have no full stop, as a sentence."""
    return f"{said[:1].upper()}{said[1:]}."


def span(one: Interval, form: str) -> str:
    """The interval alone; empty if there is none."""
    return f"{one.low:{form}} to {one.high:{form}}" if one.low == one.low else ""


def number(value: float) -> str:
    """Three digits, or a dash for what is not defined."""
    return f"{value:.3f}" if value == value else NO_NUMBER


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"sentence": sentence, "svg": _svg}
    made.globals["zip"] = partial(zip, strict=True)
    return made


def _svg(picture: Picture, prefix: str) -> Markup:
    return Markup(plots.svg(picture.figure, prefix, picture.alt))  # noqa: S704  # drawn by us, its alt is escaped there
