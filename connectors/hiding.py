"""What nobody may read: the secrets that this process was given, and the mask that logs and terminals put on them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

MASK: Final = "***"
SHORTEST: Final = 6
"""Characters of a secret that is looked for: less would mask parts of ordinary words."""


class Mask:
    """Puts MASK in place of every secret in a text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Mask these, too."""
        new = {secret for secret in secrets if len(secret) >= SHORTEST} - self._secrets
        if new:
            self._secrets |= new
            longest_first = sorted(self._secrets, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def clear(self) -> None:
        """Mask nothing any more."""
        self._secrets, self._pattern = set(), None

    def __call__(self, text: str) -> str:
        """``text`` without secrets."""
        return self._pattern.sub(MASK, text) if self._pattern else text


TERMINAL: Final = Mask()
"""Masks what a command writes. Whoever reads a secret from somewhere adds it."""


def shown(address: str) -> str:
    """An http(s) address, or one of a database, as people may see it: without user, password and query."""
    if "://" not in address:
        return address
    try:
        parts = urlsplit(address)
    except ValueError:
        return f"{address.partition('://')[0]}://{MASK}"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def secrets_in(address: str) -> list[str]:
    """Password and values of the query in an address, as they are written there and as they are meant."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return [address]
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    written = [password or user, *(part.partition("=")[2] for part in parts.query.split("&"))]
    meant = [unquote(password or user), *(value for _, value in parse_qsl(parts.query))]
    return [one for one in dict.fromkeys([*written, *meant]) if one]
