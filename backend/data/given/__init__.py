"""Answers that people gave elsewhere, read from a table or from what another tool exports."""

from .answers import FORMATS, Fault, GivenRow, Reading, Wanted
from .detect import open_given

__all__ = ["FORMATS", "Fault", "GivenRow", "Reading", "Wanted", "open_given"]
