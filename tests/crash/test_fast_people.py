"""People as fast as the server lets them, and a platform that lags behind itself. No label may be lost, nor made up.

Nobody is killed here. Label Studio's SQLite is locked by another writer now and then, its counters say 0 where there
are answers, and listings are of before the last change, on either platform. ``NEXTLABEL_ANSWERS`` and
``NEXTLABEL_RUNS`` make it longer.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from nextlabel.backend.stack import LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess
from nextlabel.backend.stack.processes import free_ports
from tests.crash.chaos import StaleProxy
from tests.crash.conftest import Site, no_hooks, until_delivered
from tests.crash.people import (
    NO_PAUSE_S,
    check_log,
    check_told,
    dismiss,
    exported,
    hire,
    tally,
    until_logged,
    write_recipe,
)
from tests.size import count

ANSWERS = count(60, long=300, name="NEXTLABEL_ANSWERS")
RUNS = count(1, long=3, name="NEXTLABEL_RUNS")
LOCKED_S, FREE_S = 1.5, 3.0
"""How long another writer holds SQLite's lock, and lets go of it. Label Studio waits five seconds."""

pytestmark = pytest.mark.timeout(600 + 3 * ANSWERS)


@pytest.mark.parametrize("run", range(RUNS))
def test_nothing_is_lost_where_people_are_fast_and_the_platform_is_late(site: Site, tmp_path: Path, run: int) -> None:
    stop = threading.Event()
    store = tmp_path / "home" / "fast" / "store.sqlite"
    port, front = free_ports(2)
    with ExitStack() as stack:
        proxy = stack.enter_context(StaleProxy(front, site.server.url, seed=run))
        backend = BackendProcess(
            str(write_recipe(tmp_path, "fast", texts=ANSWERS + 400)),
            site.server,
            tmp_path / "home",
            port=port,
            env={"NEXTLABEL_POLL_INTERVAL_S": "1"}
            | dict.fromkeys(("LABEL_STUDIO_URL", "NEXTLABEL_ARGILLA_URL"), proxy.url),
        )
        stack.callback(no_hooks_of, site)
        stack.callback(backend.stop)
        backend.start()
        status = backend.wait_ready()
        project = status["project"]["id"]
        stack.enter_context(lagging(site, project, stop))
        began = time.monotonic()
        people = hire(site.server, site.keys, status, stop, pause_s=NO_PAUSE_S, patient=True)
        backend.wait(
            lambda _: sum(person.done["submitted"] for person in people) >= ANSWERS, "people at work", 300 + 2 * ANSWERS
        )
        dismiss(people, stop)
        proxy.stale = False
        until_delivered(site.server)
        platform = exported(site.server, project)
        took = time.monotonic() - began
        print(f"{len(platform)} answers in {took:.0f} s, people: {dict(tally(people))}, listings: {dict(proxy.fates)}")
        until_logged(backend, store, platform, 60)
        check_log(store, platform)
        check_told(people, platform)
        assert sum(proxy.fates.values()) > 0, "no listing was late"


def no_hooks_of(site: Site) -> None:
    if site.server.platform == "argilla":
        no_hooks(site.server)  # type: ignore[arg-type]


@contextmanager
def lagging(site: Site, project: str, stop: threading.Event) -> Iterator[None]:
    """Until ``stop``, Label Studio's database is locked now and then, and its counters of ``project`` are wrong."""
    if not isinstance(site.server, LabelStudioServer):
        yield
        return
    file = site.server.data_dir / "label_studio.sqlite3"

    def lock() -> None:
        late = "UPDATE task SET total_annotations = 0, cancelled_annotations = 0 WHERE project_id = ?"
        while not stop.wait(FREE_S):
            with closing(sqlite3.connect(file, timeout=60, isolation_level=None)) as database:
                database.execute("BEGIN IMMEDIATE")
                database.execute(late, (int(project),))
                stop.wait(LOCKED_S)
                database.execute("COMMIT")

    thread = threading.Thread(target=lock)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
