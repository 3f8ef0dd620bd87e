"""A platform with people, for the tests that run on both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from redis import Redis

from nextlabel.backend.stack import ArgillaServer, PlatformServer
from tests.live.argilla_calls import api, hooks
from tests.waiting import wait_for

QUEUE, RUNNING = "rq:queue:high", "rq:wip:high"
"""Where RQ keeps the deliveries that wait for Argilla's worker, and the one that it is at."""


@dataclass
class Site:
    """A running platform, and its annotators' API keys by name."""

    server: PlatformServer
    keys: dict[str, str]


@pytest.fixture(params=["label-studio", "argilla"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Both platforms in turn, shared by the session, with four annotators each."""
    if request.param == "label-studio":
        server, keys = request.getfixturevalue("label_studio"), request.getfixturevalue("annotators")
        yield Site(server, {f"annotator{number}@example.com": key for number, key in enumerate(keys)})
        return
    server, keys = request.getfixturevalue("argilla"), request.getfixturevalue("argilla_users")
    yield Site(server, {f"annotator{number}": key for number, key in enumerate(keys)})
    no_hooks(server)


def until_delivered(server: PlatformServer) -> None:
    """Wait until Argilla's worker has delivered all that it has to tell, one at a time; Label Studio never waits."""
    if isinstance(server, ArgillaServer):
        with Redis.from_url(server.redis_url) as redis:
            wait_for(lambda: not redis.llen(QUEUE) and not redis.zcard(RUNNING), 240)


def no_hooks(server: ArgillaServer) -> None:
    """Nobody is told any more: a server takes ten webhooks, and its worker tries in vain for minutes."""
    for one in hooks(server):
        api(server, "DELETE", f"/webhooks/{one['id']}")
