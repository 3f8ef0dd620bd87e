"""What stands between us and a platform: proxies, log-in pages, and servers that ask to be left alone for a while."""

from __future__ import annotations

import email.utils
import os
import threading
from datetime import UTC, datetime
from typing import Final
from urllib.request import getproxies, proxy_bypass

import httpx

from nextlabel.connectors.basics import elapsed
from nextlabel.connectors.hiding import shown

LONGEST_REST_S: Final = 3600.0
"""A server that asks to be left alone for longer is asked again after that."""
RESTING: Final = (429, 503)
"""Statuses whose Retry-After is kept to."""


class Rest:
    """How long a server wants to be left alone, as its answers say: for all who ask it. Any thread may ask."""

    def __init__(self) -> None:
        self._until = 0.0

    def hear(self, answer: httpx.Response) -> None:
        """Take in what an answer says."""
        if answer.status_code in RESTING and (seconds := _seconds(answer.headers.get("retry-after", ""))):
            self._until = max(self._until, elapsed() + min(seconds, LONGEST_REST_S))

    @property
    def left_s(self) -> float:
        """Seconds until it may be asked again."""
        return max(0.0, self._until - elapsed())


class Rests:
    """The same for many servers, by their address. Those that want nothing are forgotten."""

    def __init__(self) -> None:
        self._resting: dict[str, Rest] = {}
        self._lock = threading.Lock()

    def hear(self, server: str, answer: httpx.Response) -> None:
        """Take in what an answer of ``server`` says."""
        with self._lock:
            rest = self._resting.get(server, Rest())
            rest.hear(answer)
            self._resting[server] = rest
            self._resting = {name: one for name, one in self._resting.items() if one.left_s}

    def left_s(self, server: str) -> float:
        """Seconds until ``server`` may be asked again."""
        with self._lock:
            rest = self._resting.get(server)
            return 0.0 if rest is None else rest.left_s


def _seconds(wanted: str) -> float:
    """What a Retry-After says, which is seconds or a date; 0 where that is neither, or over."""
    if wanted.strip().isdecimal():
        return float(wanted)
    try:
        at = email.utils.parsedate_to_datetime(wanted)
    except ValueError:
        return 0.0
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())


def elsewhere(answer: httpx.Response) -> str:
    """Why it was not the platform that gave this ``answer`` to a call of its API; empty if it may have been."""
    if answer.is_redirect and (target := answer.headers.get("location")):
        there = answer.request.url.join(target)
        if there.host == answer.request.url.host and there.scheme == "https" != answer.request.url.scheme:
            return f"it leads to {shown(str(there))}: write its address with https://"
        return f"it leads to {shown(str(there))}, which may be a page to log in"
    if answer.is_success and answer.headers.get("content-type", "").startswith("text/html"):
        return "a web page answered, which may be one to log in"
    return ""


def proxy_hint(url: str) -> str:
    """What to do where requests to ``url`` go through a proxy; else empty. To be put after an error."""
    scheme, host = httpx.URL(url).scheme, httpx.URL(url).host
    found = getproxies()
    proxy = found.get(scheme) or found.get("all")
    if not proxy or proxy_bypass(host):
        return ""
    names = (name for one in (scheme, "all") for name in (f"{one}_proxy", f"{one}_proxy".upper()))
    variable = next((name for name in names if os.environ.get(name)), "the system's settings")
    return f"; {variable} has this go through {shown(proxy)}: to go past that, add {host} to NO_PROXY"
