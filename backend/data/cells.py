"""What a cell says: one rule for the whole product, whatever the file and whoever reads it.

A label is written in many ways: 1 by JSON, 1.0 by a column with gaps, True by Python, TRUE by a spreadsheet, a list as
the text of a list. All of them are read here.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from typing import Any, Final

from nextlabel.connectors.errors import DataError

MISSING: Final = frozenset(
    {"#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"}
    | {"NULL", "NaN", "NaT", "None", "n/a", "nan", "null"}
)
"""How programs write that there is nothing: what ``pandas.read_csv`` takes for missing, and NaT."""

_BOOLEANS: Final = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}
_WHOLE: Final = re.compile(r"-?\d+\.0")
_ARRAY_OF_TEXTS: Final = re.compile(r"""(['"])\s+(?=['"])""")
_ARRAY_OF_NUMBERS: Final = re.compile(r"\[[-+\d.e\s]+\]")


def value_text(value: Any, *, whole: bool = True) -> str:
    """A value of a table as text, empty for what is missing.

    A column of whole numbers with gaps is read as floats: with ``whole`` they are whole numbers again; a boolean is
    true or false, a list of one its entry. Without it, numbers and booleans are written as Python writes them. Dates
    are as ISO 8601 has them, bytes are UTF-8. Raises DataError for lists, objects and whatever else is no text.
    """
    if isinstance(value, list) and whole:
        if len(value) > 1:
            raise DataError(f"holds {len(value)} values; one is expected")
        value = value[0] if value else None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool) and whole:
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and whole:
        return str(int(value))
    if isinstance(value, (str, int, float, Decimal)):
        return str(value)
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    raise DataError(f"holds a {type(value).__name__}; text or a number is expected")


def label_text(value: Any, verbatim: Collection[str] = ()) -> str:
    """The label that ``value`` stands for, the same for 1, 1.0 and "1.0", for True and "TRUE"; empty for a missing one.

    ``verbatim``: texts that are labels as they stand, "None" or "1.0" say. Raises DataError as value_text does.
    """
    values = values_in(value) if isinstance(value, str) and value.strip() not in verbatim else None
    text = value_text(value if values is None else values).strip()
    if text in verbatim:
        return text
    if text in MISSING:
        return ""
    return text[:-2] if _WHOLE.fullmatch(text) else _BOOLEANS.get(text, text)


@dataclass
class LabelReader:
    """Reads labels by label_text, and counts how missing ones were written."""

    verbatim: Collection[str] = ()
    spelled: Counter[str] = field(default_factory=Counter)

    def read(self, value: Any) -> str:
        """The label that ``value`` stands for, empty for a missing one. Raises DataError as value_text does."""
        name = label_text(value, self.verbatim)
        if not name and isinstance(value, str) and value.strip():
            self.spelled[value.strip()] += 1
        return name

    def remarks(self) -> list[str]:
        """A sentence on the words that were taken for missing labels, if any were."""
        if not self.spelled:
            return []
        named = ", ".join(f"{text!r} ({count:,})" for text, count in self.spelled.most_common(5))
        return [f"labels taken for missing: {named}; if they are labels, say --missing-is-label"]


def values_in(value: Any) -> list[Any] | None:
    """The entries of a list, or of the text of one as JSON, Python and NumPy write it. None for anything else.

    ``{"choices": [...]}`` is how Label Studio writes several answers to one question.
    """
    if isinstance(value, str):
        text = value.strip()
        if (text[:1], text[-1:]) not in {("[", "]"), ("{", "}")}:
            return None
        value = _parsed(text)
    if isinstance(value, Mapping) and value.keys() == {"choices"}:
        value = value["choices"]
    return list(value) if isinstance(value, (list, tuple)) else None


def _parsed(text: str) -> Any:
    """What JSON, NumPy or Python read ``text`` as, None for nothing."""
    if _ARRAY_OF_NUMBERS.fullmatch(text):
        text = f"[{', '.join(text[1:-1].split())}]"
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(_ARRAY_OF_TEXTS.sub(r"\1, ", text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
