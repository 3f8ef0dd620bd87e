"""What the doctor looks at on every platform: does it answer, is it new enough, do the clocks agree."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx

from nextlabel.connectors.base import Finding, Severity
from nextlabel.connectors.errors import ConnectorError, PlatformUnavailable, Unauthorized
from nextlabel.connectors.http import PlatformClient, server_time

CLOCK_SKEW = timedelta(seconds=5)


def examine(
    client: PlatformClient, findings: Iterator[Finding], settings: tuple[str, str], who: str
) -> Iterator[Finding]:
    """``findings``, and what ends them early: a platform that is down, refuses the token, or answers nonsense.

    The fixes name the ``settings`` that hold address and token; ``who`` says whose token it should be.
    """
    url, key = settings
    try:
        yield from findings
    except Unauthorized as error:
        yield Finding("token", Severity.ERROR, str(error), f"set {key} to the {client.token_name} of {who}")
    except PlatformUnavailable as error:
        yield Finding("reachable", Severity.ERROR, str(error), f"start {client.platform}, or correct {url}")
    except ConnectorError as error:
        fix = f"check that {url} is the address of {client.platform}, and that the project exists"
        yield Finding("answers", Severity.ERROR, str(error), fix)


def server_findings(
    client: PlatformClient, release: str, tried: tuple[int, int], answer: httpx.Response
) -> Iterator[Finding]:
    """That the server gave ``answer``, whether its ``release`` is as new as what was ``tried``, and its clock."""
    platform = client.platform
    yield Finding("reachable", Severity.OK, f"{platform} {release} at {client.url}")
    numbers = tuple(int(part) for part in release.split(".")[:2] if part.isdigit())
    if numbers < tried:
        yield Finding(
            "release", Severity.WARNING, f"{platform} {release} is older than what this was tried with", "upgrade it"
        )
    clock = server_time(answer)
    skew = timedelta(0) if clock is None else abs(clock - datetime.now(UTC))
    if skew > CLOCK_SKEW:
        yield Finding(
            "clock",
            Severity.WARNING,
            f"the clocks of this machine and of {platform} are {skew.total_seconds():.0f} s apart: times are off",
            "synchronise both with NTP",
        )
    else:
        yield Finding("clock", Severity.OK, "the clocks agree")
