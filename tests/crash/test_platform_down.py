"""The platform goes away while people label. The backend stays up and catches up by itself."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx
import pytest

from nextlabel.backend.stack import ArgillaStack, LabelStudioStack
from nextlabel.backend.stack.backend import BackendProcess
from tests.crash.people import check_log, check_told, dismiss, exported, hire, tally, until_logged, write_recipe
from tests.size import both_in_long, count

pytestmark = pytest.mark.timeout(900)

# The longest that a request of ours is repeated is 10 s. Argilla's worker, which is down too, repeats for 4 minutes.
STACKS: dict[str, tuple[type[LabelStudioStack | ArgillaStack], float]] = {
    "label-studio": (LabelStudioStack, float(count(15, long=30))),
    "argilla": (ArgillaStack, float(count(15, long=120))),
}


@pytest.mark.parametrize("platform", both_in_long("label-studio", "argilla"))
def test_without_the_platform(platform: str, tmp_path: Path) -> None:
    stack, down_s = STACKS[platform][0](), STACKS[platform][1]
    data, store = tmp_path / "platform", tmp_path / "home" / "down" / "store.sqlite"
    server = stack.start(data)
    backend = BackendProcess(str(write_recipe(tmp_path, "down", texts=600)), server, tmp_path / "home")
    stop = threading.Event()
    try:
        names = [f"down{number}{'@example.com' if platform == 'label-studio' else ''}" for number in range(2)]
        keys = {name: server.add_user(name) for name in names}
        backend.start()
        status = backend.wait_ready()
        project = status["project"]["id"]
        people = hire(server, keys, status, stop, patient=True)
        backend.wait(lambda status: status["labelled"] >= 5, "five labels")
        port = httpx.URL(server.url).port
        server.stop()

        stays_up(backend, down_s)
        assert not backend.status()["platform_reachable"]

        server = stack.start(data, port)
        before = backend.status()["labelled"]
        backend.wait(lambda status: status["platform_reachable"] and status["labelled"] > before + 5, "going on")
        dismiss(people, stop)
        assert tally(people)["waited"]
        found = exported(server, project)
        until_logged(backend, store, found)
        check_log(store, found)
        check_told(people, found)
        print(f"{platform} down for {down_s:.0f} s, {len(found)} answers, people: {dict(tally(people))}")
    finally:
        stop.set()
        backend.stop()
        server.stop()


def stays_up(backend: BackendProcess, seconds: float) -> None:
    """It answers all the while, predictions too."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert httpx.get(f"{backend.url}/health", timeout=20, trust_env=False).status_code == 200
        predicted = httpx.post(
            f"{backend.url}/api/predict",
            json={"text": "an oak by the river"},
            headers={"Authorization": f"Bearer {backend.token}"},
            timeout=20,
            trust_env=False,
        )
        assert predicted.status_code == 200
        time.sleep(1)
