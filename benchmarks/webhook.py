"""``/webhook`` is acknowledged in less than 50 ms (p99) while a refit runs.

The real app behind a real uvicorn in a process of its own, the real parser, a real store on disk; in another
thread of that process the real refit runs without a pause: fit on 2,000 labels, then score 100,000 records. The
events are as large as Label Studio's, each on a new connection as Label Studio opens one, from four annotators at
once. Measured by the caller, from connecting to the last byte of the answer. Each names its own annotation.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks.reporting import publish
from nextlabel.backend.credentials import Credentials
from nextlabel.backend.service.ports import Backend, Status
from nextlabel.connectors.base import ProjectRef
from nextlabel.connectors.records import Hint, Labeling, LabelKind, Record, Suggestion

SECRETS = Credentials("ls", "password", "token", "webhook-secret")
LABELS = tuple("abcde")
GOAL_MS = 50.0
ANNOTATORS = 4
LABELLED, DIMENSION, POOL = 2_000, 384, 100_000


class StoredService:
    """The part of the service that a webhook meets: the parser, the store, and a status."""

    serving_version = "nl-1"

    def __init__(self, path: Path) -> None:
        from nextlabel.backend.store import Store

        self.labeling = Labeling(LabelKind.SINGLE, LABELS)
        self.heard = 0
        self.store = Store.open(path)

    async def predict(self, records: Sequence[Record]) -> list[Suggestion | None]:
        """Blind."""
        return [None for _ in records]

    def parse_event(self, body: dict[str, Any]) -> Hint:
        """As the connector does it."""
        from nextlabel.connectors.label_studio.payloads import read_event

        return read_event("<View/>", "9", body)

    def hear(self, hint: Hint) -> bool:
        """Where to look; nobody does, here."""
        self.heard += len(hint.annotations)
        return True

    def versions(self) -> list[str]:
        """None."""
        return []

    def status(self) -> Status:
        """As cheap as the real one."""
        project = ProjectRef("label-studio", "http://127.0.0.1:8080", "9", "bench", "")
        return Status(project, True, "", 0, 0, 0, 0, self.store.head(), "nl-1", "", 0, None, None, True)


def refit_for_ever(stop: threading.Event, counter: list[float]) -> None:
    """The fast step's arithmetic, one after the other; notes how long each took."""
    from nextlabel.backend.models.probe import Probe

    rng = np.random.default_rng(0)
    centres = rng.normal(size=(len(LABELS), DIMENSION))
    targets = rng.integers(len(LABELS), size=LABELLED)
    vectors = (centres[targets] + 3 * rng.normal(size=(LABELLED, DIMENSION))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pool = rng.normal(size=(POOL, DIMENSION)).astype(np.float16)
    probe = None
    while not stop.is_set():
        began = time.perf_counter()
        probe = Probe.fit(vectors, targets, len(LABELS), warm=probe)
        probe.predict_proba(pool)
        counter.append(time.perf_counter() - began)


def serve(pipe: Connection, folder: str) -> None:
    """The server's process: say the port, refit while told to, end when told to."""
    from nextlabel.backend.app import create_app
    from nextlabel.backend.logging import configure
    from nextlabel.backend.server import listen, make_server
    from nextlabel.backend.settings import Settings

    configure("warning", "json")
    service = StoredService(Path(folder) / "store.sqlite")
    app = create_app(cast(Backend, service), Settings(home=Path(folder)), secrets=SECRETS)
    server = make_server(app)
    listener = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    pipe.send(listener.getsockname()[1])
    stop, refits = threading.Event(), list[float]()
    worker: threading.Thread | None = None
    while (told := pipe.recv()) != "end":
        if told == "refit":
            worker = threading.Thread(target=refit_for_ever, args=(stop, refits))
            worker.start()
            while not refits:
                time.sleep(0.01)
        pipe.send(service.heard)
    stop.set()
    if worker is not None:
        worker.join()
    server.should_exit = True
    thread.join()
    service.store.close()
    pipe.send(refits)


def event(number: int) -> bytes:
    """What Label Studio 1.23 sends for one submit: about 6 kB, most of it the text and the project."""
    label = LABELS[number % len(LABELS)]
    annotation = {
        "id": number,
        "result": [{"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": [label]}}],
        "was_cancelled": False,
        "created_at": "2026-11-22T04:00:00.000000Z",
        "updated_at": "2026-11-22T04:00:00.000000Z",
        "completed_by": 2,
        "task": number,
        "project": 9,
        **{f"field_{i}": None for i in range(14)},
    }
    task = {"id": number, "data": {"text": f"{number} " + "word " * 450}, **{f"field_{i}": 0 for i in range(20)}}
    project = {"id": 9, "label_config": "<View>" + "x" * 600 + "</View>", **{f"field_{i}": "value" for i in range(50)}}
    body = {"action": "ANNOTATION_CREATED", "annotation": annotation, "task": task, "project": project}
    return json.dumps(body).encode()


def submit(port: int, numbers: Sequence[int], pause_s: float) -> list[float]:
    """Send one event a number, one after the other; return seconds for each."""
    headers = {"Content-Type": "application/json", "X-Nextlabel-Secret": SECRETS.webhook_secret}
    taken = []
    for number in numbers:
        body = event(number)
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("POST", "/webhook", body, headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        taken.append(time.perf_counter() - began)
        if answer.status != 200:
            raise RuntimeError(f"event {number}: {answer.status}")
        time.sleep(pause_s)
    return taken


def burst(port: int, first: int, events: int, pause_s: float) -> dict[str, float]:
    """``events`` from four annotators at once; milliseconds."""
    shares = [range(first + start, first + events, ANNOTATORS) for start in range(ANNOTATORS)]
    with ThreadPoolExecutor(ANNOTATORS) as pool:
        results = list(pool.map(lambda share: submit(port, share, pause_s), shares))
    milliseconds = 1000 * np.array([one for result in results for one in result])
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99])
    figures = {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "max_ms": max(milliseconds)}
    return {name: round(float(value), 2) for name, value in figures.items()}


def main(argv: Sequence[str]) -> dict[str, Any]:
    """Measure, print, and write results/webhook.json."""
    parser = argparse.ArgumentParser(prog="benchmarks webhook", description=__doc__)
    parser.add_argument("--events", type=int, default=2000, help="events a measurement")
    parser.add_argument("--pause", type=float, default=0.05, help="seconds that an annotator takes between two")
    options = parser.parse_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        process = context.Process(target=serve, args=(there, folder))
        process.start()
        try:
            port = here.recv()
            submit(port, range(1, 51), 0)
            idle = burst(port, 1_000, options.events, options.pause)
            here.send("refit")
            here.recv()
            busy = burst(port, 1_000_000, options.events, options.pause)
            here.send("head")
            head = here.recv()
            here.send("end")
            refits = here.recv()
        finally:
            process.join(30)
            if process.is_alive():
                process.kill()
    result = {
        "goal_p99_ms": GOAL_MS,
        "reached": busy["p99_ms"] < GOAL_MS,
        "events": options.events,
        "annotators": ANNOTATORS,
        "lost": 50 + 2 * options.events - head,
        "idle": idle,
        "while_refitting": busy,
        "refits": len(refits),
        "refit_s": round(float(np.median(refits)), 3),
    }
    rows = [[name, *figures.values()] for name, figures in (("idle", idle), ("while refitting", busy))]
    return publish("webhook", result, ["", *idle], rows)
