"""The backend is down while people label on, and what the platform tried to deliver is lost. Polling makes it good.

``NEXTLABEL_OUTAGE_S`` makes the outage longer. In one that is longer than Argilla's worker repeats its deliveries,
nothing is thrown away: they run out by themselves.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import pytest
from redis import Redis

from nextlabel.backend.stack import ArgillaServer, PlatformServer
from nextlabel.backend.stack.backend import BackendProcess
from nextlabel.backend.store import Store
from tests.crash.conftest import QUEUE, RUNNING, Site, no_hooks, until_delivered
from tests.crash.people import (
    LABELS,
    check_log,
    check_told,
    dismiss,
    exported,
    hire,
    logged,
    owners_records,
    tally,
    until_logged,
    write_recipe,
)
from tests.live.argilla_calls import api
from tests.size import count
from tests.waiting import wait_for

OUTAGE_S = float(count(10, long=60, name="NEXTLABEL_OUTAGE_S"))
REPEATS_S = 300
"""For a bit less than this, Argilla's worker repeats a delivery: after 10, 60 and 180 seconds."""

REGISTRIES = ("rq:scheduled:high", "rq:failed:high", "rq:deferred:high")
"""Where RQ keeps the jobs that it will repeat, that it has given up, and that wait for others."""

pytestmark = pytest.mark.timeout(600 + OUTAGE_S)


def backend_beside(site: Site, folder: Path, texts: int) -> BackendProcess:
    env = {"NEXTLABEL_POLL_INTERVAL_S": "5"}
    return BackendProcess(str(write_recipe(folder, "outage", texts)), site.server, folder / "home", env=env)


@pytest.fixture
def backend(tmp_path: Path, site: Site) -> Iterator[BackendProcess]:
    process = backend_beside(site, tmp_path, texts=300 + int(3 * OUTAGE_S))
    process.start()
    yield process
    process.stop()


def test_what_people_did_during_an_outage_is_found(backend: BackendProcess, site: Site, tmp_path: Path) -> None:
    store = tmp_path / "home" / "outage" / "store.sqlite"
    status = backend.wait_ready()
    project, stop = status["project"]["id"], threading.Event()
    keys = dict(islice(site.keys.items(), 2))
    if isinstance(site.server, ArgillaServer):
        lose(site.server)  # hundreds of deliveries that the tests before this one left
    people = hire(site.server, keys, status, stop)
    backend.wait(lambda status: status["labelled"] >= 20, "twenty labels")

    backend.stop()
    head = len(exported(site.server, project))
    earlier = {number for number, _ in logged(store)}
    stop.wait(OUTAGE_S)
    dismiss(people, stop)
    for person in people:  # of what the log has, something is different now, and something gone, for sure
        given = [number for number, (state, _) in person.told.items() if state == "submitted"]
        known, unknown = ([number for number in given if (number in earlier) is here] for here in (True, False))
        person.change(known[0])
        person.remove(known[1])
        person.remove(unknown[0])
    lost = lose(site.server) if isinstance(site.server, ArgillaServer) and OUTAGE_S < REPEATS_S else set()
    platform = exported(site.server, project)
    assert platform.keys() - earlier
    assert earlier - platform.keys()

    seen = head_of(store)
    back = time.monotonic()
    backend.start()
    until_logged(backend, store, platform)
    took = time.monotonic() - back
    check_log(store, platform)
    check_told(people, platform)
    news = sources(store, seen)
    print(f"{OUTAGE_S:.0f} s down: answers {head} -> {len(platform)}, caught up {took:.1f} s after the start: {news}")
    print(f"deliveries lost: {len(lost)}, left: {left(site.server)}, people: {dict(tally(people))}")
    if lost:
        assert news.keys() == {"poll"}
        assert len(lost) >= len(platform.keys() - earlier)
        deliver_late(site.server, lost)
        assert dict(logged(store)) == platform, "a webhook that comes late undoes nothing"

    stop = threading.Event()  # and it goes on
    later = hire(site.server, keys, backend.wait_ready(), stop)
    count = backend.status()["labelled"]
    backend.wait(lambda status: status["labelled"] > count + 5, "labels after the outage")
    dismiss(later, stop)
    platform = exported(site.server, project)
    until_logged(backend, store, platform)
    check_log(store, platform)
    check_told([*people, *later], platform)


def test_what_an_owner_wrote_in_bulk_during_an_outage_is_found(
    argilla: ArgillaServer, argilla_users: list[str], tmp_path: Path
) -> None:
    """No webhook and no activity of the dataset tells of it."""
    backend = backend_beside(Site(argilla, {}), tmp_path, texts=60)
    store = tmp_path / "home" / "outage" / "store.sqlite"
    backend.start()
    try:
        dataset = backend.wait_ready()["project"]["id"]
        records = [item["id"] for item in owners_records(argilla, dataset)]
        in_bulk(argilla, dataset, dict.fromkeys(records[:5], LABELS[0]))
        backend.wait(lambda status: status["labelled"] == 5, "five labels")
        backend.stop()
        active = api(argilla, "GET", f"/datasets/{dataset}")["last_activity_at"]
        in_bulk(argilla, dataset, dict.fromkeys(records[3:25], LABELS[1]))
        assert api(argilla, "GET", f"/datasets/{dataset}")["last_activity_at"] == active
        platform = exported(argilla, dataset)
        assert Counter(answer for _, (answer,) in platform.values()) == {LABELS[0]: 3, LABELS[1]: 22}
        backend.start()
        until_logged(backend, store, platform)
        check_log(store, platform)
    finally:
        backend.stop()
        no_hooks(argilla)


def in_bulk(server: ArgillaServer, dataset: str, labels: Mapping[str, str]) -> None:
    """Write the owner's answers, record -> label, as their scripts do."""
    me = api(server, "GET", "/me")["id"]
    name = api(server, "GET", f"/datasets/{dataset}/questions")["items"][0]["name"]
    items = [
        {"id": record, "responses": [{"user_id": me, "status": "submitted", "values": {name: {"value": label}}}]}
        for record, label in labels.items()
    ]
    api(server, "PUT", f"/datasets/{dataset}/records/bulk", json={"items": items})


def head_of(store: Path) -> int:
    with Store.open(store) as opened:
        return opened.head()


def sources(store: Path, since: int) -> Counter[str]:
    """How many rows of the log after ``since`` came from where."""
    with Store.open(store) as opened:
        return Counter(row.source for row in opened.log_rows(since, limit=100_000))


def lose(server: ArgillaServer) -> set[str]:
    """Throw away whatever the worker has still to deliver, or to repeat; the jobs that these deliveries were."""
    lost: set[str] = set()
    looks = 0  # one after the other at which nothing was there
    with Redis.from_url(server.redis_url, decode_responses=True) as redis:

        def empty() -> bool:
            nonlocal looks
            jobs = {*redis.lrange(QUEUE, 0, -1)}.union(*(redis.zrange(registry, 0, -1) for registry in REGISTRIES))
            redis.delete(QUEUE, *REGISTRIES)
            lost.update(jobs)
            # A worker takes a job out of the queue before it says that it is busy, and then before the job runs.
            busy = any(redis.hget(worker, "state") == "busy" for worker in redis.smembers("rq:workers"))
            looks = 0 if jobs or busy or redis.zcard(RUNNING) else looks + 1
            return looks == 10

        wait_for(empty)
    return lost


def deliver_late(server: PlatformServer, jobs: Iterable[str]) -> None:
    """Of what was thrown away, deliver now what tells of new answers, though some are deleted since."""
    assert isinstance(server, ArgillaServer)
    with Redis.from_url(server.redis_url, decode_responses=True) as redis:
        created = [job for job in jobs if "response.created" in (redis.hget(f"rq:job:{job}", "description") or "")]
        assert created
        redis.rpush(QUEUE, *created)
    until_delivered(server)


def left(server: PlatformServer) -> dict[str, int]:
    """How many deliveries wait for Argilla's worker, or were given up by it; Label Studio never repeats one."""
    if not isinstance(server, ArgillaServer):
        return {}
    with Redis.from_url(server.redis_url, decode_responses=True) as redis:
        return {QUEUE: redis.llen(QUEUE)} | {registry: redis.zcard(registry) for registry in REGISTRIES}
