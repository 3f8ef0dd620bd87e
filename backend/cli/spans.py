"""What ``--spans`` means for ``evaluate`` and ``simulate``: the option, and what does not go with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from nextlabel.connectors.errors import ConfigError

if TYPE_CHECKING:
    from nextlabel.backend.data.reading import ReadingOptions

TAGS = "tags"
"""What the marks of a file of tokens and tags are called, which has no columns with names."""

SpansColumn = Annotated[
    str | None,
    typer.Option(
        "--spans",
        metavar="COLUMN",
        help="In place of --label: a column with the marked parts of the texts, [{start, end, label}, ...] or its "
        "JSON. A file of tokens and tags (CoNLL) needs neither --spans nor --text. Measured is span F1, by the probe "
        "on token vectors.",
        show_default=False,
    ),
]


def marked_columns(
    data: str, text: str | None, spans: str | None, others: Mapping[str, object], reading: ReadingOptions
) -> tuple[str | None, str | None]:
    """The columns with the texts and the spans; texts "" where ``data`` is tokens with tags, which has no columns.

    ``others``: options that name columns. Raises ConfigError where one of them is given for such a file.
    """
    from nextlabel.backend.data.given.detect import is_tagged

    if text is not None or (spans is None and any(others.values())) or not is_tagged(data, reading):
        return text, spans
    for name, value in others.items():
        if value:
            raise ConfigError(
                f"{name} names a column, and {data} has a token and its tag in each line (CoNLL); leave it out, or "
                "test on another file with `evaluate --test FILE`"
            )
    return "", spans or TAGS


def refuse(given: Mapping[str, object]) -> None:
    """Raise ConfigError for the first option of ``given``, by name, that is there and means nothing for spans."""
    for name, value in given.items():
        if value:
            raise ConfigError(f"{name} is not for --spans, where parts of texts are marked; leave it out")
