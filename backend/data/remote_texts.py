"""Texts at addresses that come with the data: read by the rules that images are read by."""

from __future__ import annotations

from dataclasses import replace

from .image_files import read_bytes
from .image_rules import ImageRules


def read_text(address: str, rules: ImageRules) -> str:
    """What a browser shows of the text at an http(s) address, or at one of the platform's own: it reads UTF-8.

    Files of this machine are not read. Raises UnreadableImage, which is a DataError.
    """
    return read_bytes(address, replace(rules, files=False)).data.decode("utf-8-sig", "replace")
