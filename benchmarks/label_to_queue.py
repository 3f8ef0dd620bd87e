"""Label to reordered queue: a submit is answered -> a fresh annotator's next task is the first of the new ranking.

The whole product on a real Label Studio (SQLite): webhook, log, refit, ranking, publication. Two annotators take
turns: the one who holds a task submits it; the other, who holds nothing, then asks for the next one. It has to be
rank 0 of a generation that has seen the label. Measured from the moment the submit's 201 is there.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reporting import publish
from nextlabel.backend.stack import Annotator, LabelStudioStack
from nextlabel.backend.stack.backend import BackendProcess

LABELS = ("animal", "plant", "stone")
NOUNS = ("cat", "oak", "pebble", "horse", "fern", "granite", "dog", "moss", "slate", "bird", "birch", "flint")


def write_recipe(folder: Path, records: int) -> Path:
    """A recipe over ``records`` made-up sentences, all different."""
    dice = random.Random(0)
    lines = ["text"]
    lines += [f"sentence {i} with {' and '.join(dice.choices(NOUNS, k=12))}" for i in range(records)]
    (folder / "texts.csv").write_text("\n".join(lines) + "\n")
    path = folder / "bench.yaml"
    path.write_text(f"data: texts.csv\nlabels: [{', '.join(LABELS)}]\nencoder: hashing\n")
    return path


def measure(records: int, *, fast_import: bool, rounds: int) -> dict[str, Any]:
    """Seconds from submit to reordered queue, p50 and p95 over ``rounds``, after three that don't count."""
    with (
        tempfile.TemporaryDirectory() as folder,
        LabelStudioStack().start(fast_import=fast_import) as server,
    ):
        tokens = [server.add_user(f"a{i}@example.com") for i in range(2)]
        product = BackendProcess(str(write_recipe(Path(folder), records)), server, Path(folder) / "home")
        product.start()
        try:
            project = product.wait_ready()["project"]["id"]
            people = [Annotator(server.url, token, project) for token in tokens]
            holder, fresh = people
            task = holder.next_task()
            seconds, right = [], 0
            for _ in range(rounds + 3):
                before = product.status()["log_head"]
                holder.submit(task, random.choice(LABELS))
                answered = time.perf_counter()
                status = product.wait(
                    lambda now, head=before: now["generation_log_head"] > head, "a new queue", every_s=0.005
                )
                task = fresh.next_task()
                seconds.append(time.perf_counter() - answered)
                shown = task["predictions"][0] if task and task["predictions"] else {}
                right += shown.get("model_version") == status["generation"] and shown.get("score") == 0
                holder, fresh = fresh, holder
                time.sleep(random.uniform(0.3, 1.0))  # annotators read; the tail of the queue is published meanwhile
        finally:
            product.stop()
    p50, p95 = np.quantile(seconds[3:], [0.5, 0.95])
    return {
        "tasks": records,
        "speed flag": "on" if fast_import else "off",
        "p50 s": round(float(p50), 3),
        "p95 s": round(float(p95), 3),
        "new first served": f"{right}/{rounds + 3}",
    }


def main(argv: list[str]) -> dict[str, Any]:
    """Run the sizes asked for, with and without the server flag."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 10_000])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--flag", choices=["on", "off", "both"], default="both", help="Label Studio's speed flag.")
    options = parser.parse_args(argv)
    rows = [
        measure(size, fast_import=fast, rounds=options.rounds)
        for size in options.sizes
        for fast in (True, False)
        if options.flag in ("both", "on" if fast else "off")
    ]
    columns = list(rows[0])
    return publish("label_to_queue", {"rows": rows}, columns, [list(row.values()) for row in rows])


if __name__ == "__main__":
    main(sys.argv[1:])
