"""What the server's worker has still to deliver, and what it has given up: read from the server's Redis, by the doctor.

A delivery is a job of RQ in the queue "high". One that fails is tried again after 10, 60 and 180 seconds and then kept
for a year among the failed ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from nextlabel.connectors.base import Finding, Severity
from nextlabel.connectors.errors import MissingExtra

if TYPE_CHECKING:
    from redis import Redis

QUEUE = "high"
JOB = "argilla_server.jobs.webhook_jobs.notify_event_job"
LONG = 100
"""Waiting deliveries from which answers are felt to arrive late: a worker does a few of them in a second."""
TIMEOUT_S = 5
OK, WARNING, ERROR = Severity.OK, Severity.WARNING, Severity.ERROR


def diagnose_jobs(redis_url: str) -> Iterator[Finding]:
    """Whether a worker runs, and whether deliveries pile up or were given up. Raises MissingExtra."""
    try:
        from redis import Redis, RedisError
    except ImportError:
        raise MissingExtra("redis", "argilla") from None
    try:
        with Redis.from_url(
            redis_url, socket_connect_timeout=TIMEOUT_S, socket_timeout=TIMEOUT_S, decode_responses=True
        ) as redis:
            yield _worker(redis)
            yield from _jobs(redis)
    except (RedisError, ValueError) as error:  # ValueError: no address of a Redis
        yield Finding(
            "redis",
            WARNING,
            f"the Redis of Argilla can't be read: {type(error).__name__}",  # its words may hold the password
            "set NEXTLABEL_ARGILLA_REDIS_URL to what the Argilla server has as ARGILLA_REDIS_URL",
        )


def _worker(redis: Redis) -> Finding:
    listed = cast(set[str], redis.smembers(f"rq:workers:{QUEUE}"))
    workers = cast(int, redis.exists(*listed)) if listed else 0  # one that was killed stays listed, without a heartbeat
    if workers:
        return Finding("worker", OK, f"{workers} workers deliver events")
    return Finding(
        "worker", ERROR, "no worker of Argilla runs: no event is delivered", "start it: python -m argilla_server worker"
    )


def _jobs(redis: Redis) -> Iterator[Finding]:
    waiting = cast(int, redis.llen(f"rq:queue:{QUEUE}"))
    if waiting >= LONG:
        yield Finding(
            "worker-busy",
            WARNING,
            f"{waiting} deliveries wait for the worker: answers arrive late",
            "see whether a webhook asks for record.* events; start more workers",
        )
    else:
        yield Finding("worker-busy", OK, f"{waiting} deliveries wait for the worker")
    failed = cast(list[str], redis.zrange(f"rq:failed:{QUEUE}", 0, -1))
    lost = sum((redis.hget(f"rq:job:{job}", "description") or "").startswith(JOB) for job in failed)
    if lost:
        yield Finding(
            "lost-events",
            WARNING,
            f"deliveries that the worker has given up: {lost}; nextlabel finds by polling what they told, others don't",
            "deliver them now, on Argilla's machine, once the receivers are up: "
            f'rq requeue --queue {QUEUE} --all --url "$ARGILLA_REDIS_URL"',
        )
    else:
        yield Finding("lost-events", OK, "no delivery was given up")
