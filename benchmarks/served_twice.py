"""How often Label Studio serves one task to two people, one annotator per task: under its own order and under ours.

Three people who answer as soon as they are served, and think for a moment, in turn in a project that only has
predictions with scores, and in one that nextlabel keeps in order. A second answer to a task is told with how it came
about: both were served it by requests that overlapped, or the second one later.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import httpx

from benchmarks.label_to_queue import LABELS, write_recipe
from benchmarks.reporting import publish
from nextlabel.backend.stack import Annotator, LabelStudioServer, LabelStudioStack
from nextlabel.backend.stack.backend import BackendProcess
from nextlabel.connectors.base import NewProject
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from nextlabel.connectors.records import Labeling, LabelKind, QueueEntry, Record, Suggestion

PEOPLE = 3
RECORDS = 3000
THINK_S = 0.3
"""The longest that somebody thinks."""

Served = tuple[float, float]
"""When a task was asked for, and when the answer to that was there."""


def label(server: LabelStudioServer, tokens: list[str], project: str, seconds: float) -> dict[int, list[Served]]:
    """Let everybody work for so long: task -> when it was served, once for each answer that it got."""
    served: dict[int, list[Served]] = defaultdict(list)
    end = time.monotonic() + seconds
    lock = threading.Lock()

    def work(token: str) -> None:
        with Annotator(server.url, token, project) as person:
            while time.monotonic() < end:
                asked = time.monotonic()
                task = person.next_task()
                if task is None:
                    return
                answered = time.monotonic()
                person.submit(task, random.choice(LABELS))
                with lock:
                    served[int(task["id"])].append((asked, answered))
                time.sleep(random.uniform(0, THINK_S))

    people = [threading.Thread(target=work, args=(token,)) for token in tokens]
    for one in people:
        one.start()
    for one in people:
        one.join()
    return served


def row(order: str, served: dict[int, list[Served]]) -> dict[str, Any]:
    """A line of the table."""
    found = Counter[str]()
    for times in served.values():
        first, *others = sorted(times)
        for asked, _ in others:
            found["at once" if asked < first[1] else "later"] += 1
    answers = sum(len(times) for times in served.values())
    return {"order": order, "answers": answers, "second, asked for at once": found["at once"], "later": found["later"]}


def by_itself(server: LabelStudioServer, tokens: list[str], seconds: float) -> dict[str, Any]:
    """Label Studio's own order: uncertainty sampling by scores that stand there from the beginning."""
    labeling = Labeling(LabelKind.SINGLE, LABELS)
    connector = LabelStudioConnector.create(server.url, server.token, NewProject("by itself", labeling))
    try:
        ids = connector.push([Record(f"u{n}", {"text": f"sentence {n}"}) for n in range(RECORDS)]).values()
        shown = Suggestion((LABELS[0],), 0.5, "m")
        connector.publish("nl-bench-1", [QueueEntry(one, rank, shown) for rank, one in enumerate(ids)])
        return row("Label Studio's own", label(server, tokens, connector.project.id, seconds))
    finally:
        connector.close()


def with_us(server: LabelStudioServer, tokens: list[str], seconds: float) -> dict[str, Any]:
    """The same with nextlabel."""
    with tempfile.TemporaryDirectory() as folder:
        product = BackendProcess(str(write_recipe(Path(folder), RECORDS)), server, Path(folder) / "home")
        product.start()
        try:
            project = product.wait_ready()["project"]["id"]
            return row("nextlabel's", label(server, tokens, project, seconds))
        finally:
            product.stop()


def main(argv: list[str]) -> dict[str, Any]:
    """Both orders in turn, as often as asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="How long people work in each project.")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args(argv)
    with LabelStudioStack().start() as server:
        tokens = [server.add_user(f"a{number}@example.com") for number in range(PEOPLE)]
        rows = [
            measure(server, tokens, 60 * options.minutes)
            for _ in range(options.rounds)
            for measure in (by_itself, with_us)
        ]
        version = httpx.get(f"{server.url}/api/version", trust_env=False).json()["release"]
    return publish(
        "served_twice", {"label studio": version, "rows": rows}, list(rows[0]), [list(one.values()) for one in rows]
    )


if __name__ == "__main__":
    main(sys.argv[1:])
