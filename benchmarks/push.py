"""Push of 10,000 text tasks: our way against the SDK's import with embedded predictions (goal: 5 times as fast).

Ours puts the tasks there without predictions, by uid; the first 50 of the queue, published right after, are shown
apart. Theirs is `projects.import_tasks`, 5,000 tasks a call, each with a prediction. Same server, same texts, in
turns, the better of two runs each; an import of 500 first warms both up.
"""

from __future__ import annotations

import argparse
import random
import time
from typing import Any

from benchmarks.reporting import publish
from nextlabel.backend.stack import LabelStudioServer, LabelStudioStack
from nextlabel.connectors.base import NewProject
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from nextlabel.connectors.label_studio.payloads import prediction_from
from nextlabel.connectors.records import Labeling, LabelKind, QueueEntry, Record, Suggestion

LABELING = Labeling(LabelKind.SINGLE, ("business", "entertainment", "politics", "sport", "tech"))
HEAD = 50
SDK_BATCH = 5000
GOAL = 5.0
RUNS = 2


def main(argv: list[str]) -> dict[str, Any]:
    """Measure both ways and write the result."""
    parser = argparse.ArgumentParser(prog="benchmarks push")
    parser.add_argument("--tasks", type=int, default=10_000)
    options = parser.parse_args(argv)
    records = made_up(options.tasks)
    mine, other = [], []
    with LabelStudioStack().start(say=print) as server:
        ours(server, made_up(500), "warm")
        theirs(server, made_up(500))
        for _ in range(RUNS):
            mine.append(ours(server, records, "timed"))
            other.append(theirs(server, records))
    pushed, published = min(mine)
    sdk, predictions = min(other)
    ratio = sdk / pushed
    rows = [
        ("SDK import, prediction embedded in every task", f"{sdk:.1f}", f"{options.tasks / sdk:.0f}", "1.0"),
        ("push", f"{pushed:.1f}", f"{options.tasks / pushed:.0f}", f"{ratio:.1f}"),
        ("push, and the first 50 published", f"{pushed + published:.1f}", "", f"{sdk / (pushed + published):.1f}"),
    ]
    result = {
        "tasks": options.tasks,
        "push_s": pushed,
        "publish_s": published,
        "sdk_s": sdk,
        "sdk_predictions_stored": predictions,
        "runs": {"ours": mine, "sdk": other},
        "ratio": ratio,
        "goal": GOAL,
        "reached": ratio >= GOAL,
    }
    return publish("push", result, ("way", "seconds", "tasks/s", "times as fast"), rows)


def made_up(count: int) -> list[Record]:
    """Texts of about 25 words, like short news."""
    rng = random.Random(count)
    words = [f"word{number}" for number in range(2000)]
    return [Record(f"uid-{number}", {"text": " ".join(rng.choices(words, k=25))}) for number in range(count)]


def ours(server: LabelStudioServer, records: list[Record], name: str) -> tuple[float, float]:
    """Seconds to push, and to publish the head of the queue."""
    connector = LabelStudioConnector.create(server.url, server.token, NewProject(name, LABELING))
    start = time.perf_counter()
    ids = connector.push(records)
    pushed = time.perf_counter()
    shown = Suggestion(("sport",), 0.5, "model-1")
    connector.publish("nl-push-1", [QueueEntry(task, rank, shown) for rank, task in enumerate([*ids.values()][:HEAD])])
    published = time.perf_counter()
    if len(set(ids.values())) != len(records):
        raise SystemExit("tasks were lost: this is no measurement")
    connector.close()
    return pushed - start, published - pushed


def theirs(server: LabelStudioServer, records: list[Record]) -> tuple[float, int]:
    """Seconds that the SDK's import takes, and how many predictions were stored."""
    from label_studio_sdk import LabelStudio

    project = LabelStudioConnector.create(server.url, server.token, NewProject("sdk", LABELING))
    client = LabelStudio(base_url=server.url, api_key=server.token, timeout=600)
    prediction = prediction_from(LABELING, Suggestion(("sport",), 0.5, "model-1"))
    tasks: list[dict[str, Any]] = [
        {"data": {**record.fields, "uid": record.uid}, "predictions": [prediction]} for record in records
    ]
    start = time.perf_counter()
    stored = 0
    for first in range(0, len(tasks), SDK_BATCH):
        answer = client.projects.import_tasks(int(project.project.id), request=tasks[first : first + SDK_BATCH])
        stored += answer.prediction_count
    seconds = time.perf_counter() - start
    project.close()
    return seconds, stored
