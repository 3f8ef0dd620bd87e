"""Words and regular expressions of recipes, which are held against texts that somebody else wrote."""

from __future__ import annotations

from typing import Final

import regex  # which knows a time limit, unlike re

from nextlabel.connectors.errors import ConfigError

SLOWEST_S: Final = 1.0
"""Seconds that an expression may take on one text: some take hours, on texts that somebody else wrote."""


def whole_words(phrase: str) -> str:
    """An expression for ``phrase`` as whole words; a boundary of words also stands beside a sign such as # or @."""
    return r"(?<!\w)" + r"\s+".join(map(regex.escape, phrase.split())) + r"(?!\w)"


def compiled(written: str, called: str) -> regex.Pattern[str]:
    """``written``, in any case, full case folding included. Raises ConfigError, where it is ``called`` so."""
    try:
        return regex.compile(written, regex.IGNORECASE | regex.FULLCASE)
    except regex.error as error:
        raise ConfigError(f"{called} is no regular expression: {error}") from None
