"""A model behind an address: texts are posted, what it says of each comes back.

The contract, which ``nextlabel serve --model`` and /api/predict of a project fulfil: POST ``{"texts": ["...", ...]}``,
at most ``batch`` of them, none blank; 200 with ``{"predictions": [...]}``, or a list alone, with one answer per text,
in order, each in a form that :func:`proposal_of` reads. An address without a path is that of /api/predict.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import stamina

from nextlabel.backend.questions import Proposal
from nextlabel.connectors.certificates import trusted
from nextlabel.connectors.errors import ConfigError, PlatformUnavailable, Unauthorized

from .answers import proposal_of
from .base import Say

ATTEMPTS = 3
SHORT = 200
"""Characters of an answer that an error quotes."""
BUSY = (408, 425, 429)


class _Again(Exception):
    """Worth another attempt."""


def of_url(url: str, token: str, timeout_s: float, wait_s: float = 0.5) -> Say:
    """What the address says. ``token``: the environment variable with its bearer token, if any.

    ``wait_s``: before the second attempt; the third waits longer. Raises ConfigError for no address.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"suggest_from: url: {url!r} is no http(s) address")
    address = urlunsplit(parts._replace(path="/api/predict")) if parts.path in ("", "/") else url
    named = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
    headers = {}
    if token:
        if not (secret := os.environ.get(token)):
            raise ConfigError(f"suggest_from: {named} wants the variable {token} to hold its token, and it is not set")
        headers["Authorization"] = f"Bearer {secret}"

    def say(texts: Sequence[str]) -> list[Proposal]:
        try:
            for attempt in stamina.retry_context(on=_Again, attempts=ATTEMPTS, wait_initial=wait_s, timeout=None):
                with attempt:
                    answers = _asked(address, named, headers, texts, timeout_s)
        except _Again as error:
            raise PlatformUnavailable(f"{named} {error}; it was tried {ATTEMPTS} times") from None
        return [proposal_of(one) for one in answers]

    return say


def _asked(address: str, named: str, headers: dict[str, str], texts: Sequence[str], timeout_s: float) -> list[Any]:
    try:
        reply = httpx.post(
            address,
            json={"texts": list(texts)},
            headers=headers,
            timeout=timeout_s,
            verify=trusted(),
            trust_env=False,
        )
    except httpx.HTTPError as error:
        raise _Again(f"does not answer ({type(error).__name__}: {error})") from None
    if reply.status_code >= 500 or reply.status_code in BUSY:
        raise _Again(f"answered {reply.status_code}: {reply.text[:SHORT]}")
    if reply.status_code in (401, 403):
        raise Unauthorized(f"{named} refuses us ({reply.status_code}); name the variable with its token: `token:`")
    if reply.status_code != 200:
        raise PlatformUnavailable(
            f"{named} answered {reply.status_code} to a list of texts: {reply.text[:SHORT]}", status=reply.status_code
        )
    try:
        said = reply.json()
    except ValueError:
        raise PlatformUnavailable(f"{named} answered something else than JSON: {reply.text[:SHORT]}") from None
    found = said.get("predictions") if isinstance(said, dict) else said
    if not isinstance(found, list) or len(found) != len(texts):
        many = len(found) if isinstance(found, list) else "no list"
        raise PlatformUnavailable(
            f"{named} answered {many} of predictions to {len(texts)} texts; a list with one per text is expected, or "
            'one under "predictions"'
        )
    return found
