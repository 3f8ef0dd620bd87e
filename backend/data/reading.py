"""How a data file is to be read, as far as somebody said it; all else is found in the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_SPELLED: Final = {"\\t": "\t", "tab": "\t"}
_NO_DELIMITERS: Final = '"\r\n'


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """What was said about a data file. None: it is found.

    ``split`` is that of a data set of the hub, or of a folder. ``delimiter``, ``encoding`` (as Python calls it) and
    ``header`` are of files: without a header, the columns are called as ``column_names`` has them.
    """

    split: str = "train"
    delimiter: str | None = None
    encoding: str | None = None
    header: bool = True

    def said(self, *names: str) -> list[str]:
        """Which of the options ``names`` somebody has set."""
        return [name for name in names if getattr(self, name) not in (None, True)]


NOTHING_SAID: Final = ReadingOptions()


def column_names(count: int) -> tuple[str, ...]:
    """What the columns of a file without a header are called: ``column 1`` and on."""
    return tuple(f"column {number}" for number in range(1, count + 1))


def one_delimiter(given: str) -> str:
    r"""The character that ``given`` means, a tab also as ``\t`` or ``tab``. Raises ValueError, with a fix."""
    mark = _SPELLED.get(given.lower(), given)
    if len(mark) != 1 or mark in _NO_DELIMITERS:
        raise ValueError(f"{given!r} can't part cells; give one character, as ';', '|' or 'tab'")
    return mark


def known_encoding(given: str) -> str:
    """``given``, if text can be in it. Raises ValueError, with a fix."""
    try:
        b"text".decode(given, "replace")
    except (LookupError, ValueError):
        raise ValueError(f"{given!r} is no encoding; Python's names are meant, as utf-8, cp1252 or shift_jis") from None
    return given
