"""A new generation of 50, from an annotator's submit answered to a fresh annotator's next task being the new first.

The connector and Label Studio alone: no model is fitted, `publish` is called directly when the submit is answered.
The figure of the whole loop is `label_to_queue`. Label Studio on SQLite, with and without its speed flag, projects of
2,000 and 10,000 tasks, overlap 1. Every fifth place is blind. Old generations are retired between rounds.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.push import LABELING, made_up
from benchmarks.reporting import publish
from nextlabel.backend.stack import Annotator, LabelStudioServer, LabelStudioStack
from nextlabel.connectors.base import NewProject
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from nextlabel.connectors.records import QueueEntry, Suggestion

HEAD = 50
GOALS = {2_000: 1.0, 10_000: 2.0}
"""Seconds at p95 that the whole loop may take; the part measured here must leave room for the fit."""


def main(argv: list[str]) -> dict[str, Any]:
    """Measure every combination and write the result."""
    parser = argparse.ArgumentParser(prog="benchmarks reorder")
    parser.add_argument("--tasks", type=int, nargs="+", default=list(GOALS))
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--flag", choices=("on", "off", "both"), default="both")
    options = parser.parse_args(argv)
    measured = []
    for flag in (True, False):
        if options.flag not in ("both", "on" if flag else "off"):
            continue
        with LabelStudioStack(fast_import=flag).start(say=print) as server:
            for number, tasks in enumerate(options.tasks):
                measured.append({"speed_flag": flag, "tasks": tasks} | rounds(server, tasks, options.rounds, number))
    columns = ("speed flag", "tasks", "publish p50/p95", "next p50/p95", "in all p50/p95 (s)", "new first was served")
    rows = [
        (
            "on" if one["speed_flag"] else "off",
            one["tasks"],
            f"{one['publish_p50']:.3f} / {one['publish_p95']:.3f}",
            f"{one['next_p50']:.3f} / {one['next_p95']:.3f}",
            f"{one['total_p50']:.3f} / {one['total_p95']:.3f}",
            f"{one['right']} of {one['rounds']}",
        )
        for one in measured
    ]
    return publish("reorder", {"head": HEAD, "measured": measured, "goals_p95_whole_loop": GOALS}, columns, rows)


def rounds(server: LabelStudioServer, tasks: int, count: int, number: int) -> dict[str, Any]:
    """Times of ``count`` rounds after one that is thrown away."""
    connector = LabelStudioConnector.create(server.url, server.token, NewProject(f"reorder {tasks}", LABELING))
    ids = list(connector.push(made_up(tasks)).values())
    names = [f"{who}{number}@example.com" for who in ("one", "two")]
    one, two = (Annotator(server.url, server.add_user(name), connector.project.id) for name in names)
    rng, times, right, old = random.Random(1), [], 0, ""
    for turn in range(count + 1):
        chosen = rng.sample(ids, HEAD + 1)  # one is being labelled, the others become the queue
        held, queue = chosen[0], chosen[1:]
        ids = [task for task in ids if task not in (held, queue[0])]
        version = f"nl-bench-{turn}"
        one.submit(int(held), "sport")
        start = time.perf_counter()
        connector.publish(version, entries(queue))
        published = time.perf_counter()
        task = two.next_task()
        served = time.perf_counter()
        if task is None or str(task["id"]) != queue[0]:
            print(f"round {turn}: {task and task['id']} was served, not {queue[0]}")
        elif turn:
            right += 1
        if task is not None:
            two.submit(task, "tech")  # gives the task back, so that she is fresh again
        if turn:
            times.append((published - start, served - published, served - start))
        if old:
            connector.retire(old)
        old = version
    connector.close()
    table = np.array(times)
    figures = {
        f"{what}_{label}": float(np.percentile(table[:, column], q))
        for column, what in enumerate(("publish", "next", "total"))
        for label, q in (("p50", 50), ("p95", 95))
    }
    return {"rounds": count, "right": right, **figures}


def entries(queue: Sequence[str]) -> list[QueueEntry]:
    """The queue as the loop publishes it, one place in five blind."""
    shown = Suggestion(("politics",), 0.6, "model-1")
    return [QueueEntry(task, rank, None if rank % 5 == 4 else shown) for rank, task in enumerate(queue)]
