"""Label Studio goes away for two minutes while people label. The backend stays up and catches up by itself."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from nextlabel.backend.stack import Annotator, LabelStudioStack
from nextlabel.backend.stack.backend import BackendProcess
from tests.crash.people import RestlessAnnotator, exported, logged, write_recipe

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

DOWN_S = 120.0


def test_two_minutes_without_the_platform(tmp_path: Path) -> None:
    stack = LabelStudioStack()
    data = tmp_path / "label-studio"
    server = stack.start(data)
    backend = BackendProcess(str(write_recipe(tmp_path, "down", texts=600)), server, tmp_path / "home")
    stop = threading.Event()
    try:
        backend.start()
        project = backend.wait_ready()["project"]["id"]
        tokens = [server.add_user(f"down{i}@example.com") for i in range(2)]
        people = [
            RestlessAnnotator(Annotator(server.url, token, project), i, stop, patient=True)
            for i, token in enumerate(tokens)
        ]
        for person in people:
            person.start()
        backend.wait(lambda status: status["labelled"] >= 5, "five labels")
        port = httpx.URL(server.url).port
        server.stop()

        deadline = time.monotonic() + DOWN_S
        while time.monotonic() < deadline:  # it keeps answering all the while
            assert httpx.get(f"{backend.url}/health", timeout=2, trust_env=False).status_code == 200
            predicted = httpx.post(
                f"{backend.url}/api/predict",
                json={"text": "an oak by the river"},
                headers={"Authorization": f"Bearer {backend.token}"},
                timeout=5,
                trust_env=False,
            )
            assert predicted.status_code == 200
            time.sleep(1)
        assert not backend.status()["platform_reachable"]

        server = stack.start(data, port)
        before = backend.status()["labelled"]
        backend.wait(lambda status: status["platform_reachable"] and status["labelled"] > before + 5, "going on")
        stop.set()
        for person in people:
            person.join(60)
        assert [error for person in people for error in person.failures] == []
        assert any(person.done["waited"] for person in people)
        platform = exported(server, project)

        def caught_up(status: dict[str, Any]) -> bool:
            return dict(logged(tmp_path / "home" / "down" / "store.sqlite")) == platform

        backend.wait(caught_up, "a log that equals the export")
        ours = logged(tmp_path / "home" / "down" / "store.sqlite")
        assert len({one for one, _ in ours}) == len(ours)
    finally:
        stop.set()
        backend.stop()
        server.stop()
