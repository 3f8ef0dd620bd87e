"""Label to reordered queue: a submit is answered -> a fresh annotator's next task is the first of the new ranking.

The whole product on a real Label Studio (SQLite), or a real Argilla with its worker: webhook, log, refit, ranking,
publication. On Label Studio two annotators take turns: the one who holds a task submits it; the other, who holds
nothing, then asks for the next one. It has to be rank 0 of a generation that has seen the label. Measured from the
moment the submit's 201 is there.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reporting import publish
from nextlabel.backend.stack import Annotator, ArgillaStack, LabelStudioStack
from nextlabel.backend.stack.annotators import ArgillaAnnotator, Page
from nextlabel.backend.stack.backend import BackendProcess, past

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


@dataclass
class Site:
    """One version of the product with a project of its own, and two annotators who take turns in it."""

    name: str
    product: BackendProcess
    holder: Annotator
    fresh: Annotator
    task: Any = None
    seconds: list[float] = field(default_factory=list)
    right: int = 0

    def round(self) -> None:
        """Who holds a task submits it; the other then asks for the next one."""
        before = self.product.status()["log_head"]
        self.holder.submit(self.task, random.choice(LABELS))
        answered = time.perf_counter()
        status = self.product.wait(lambda now: now["generation_log_head"] > before, "a new queue", every_s=0.005)
        self.task = self.fresh.next_task()
        self.seconds.append(time.perf_counter() - answered)
        shown = self.task["predictions"][0] if self.task and self.task["predictions"] else {}
        self.right += shown.get("model_version") == status["generation"] and shown.get("score") == 0
        self.holder, self.fresh = self.fresh, self.holder


def measure(records: int, *, fast_import: bool, rounds: int, versions: Mapping[str, str]) -> list[dict[str, Any]]:
    """Label Studio: seconds from submit to reordered queue, over ``rounds`` after three that don't count.

    ``versions``: name -> the Python that runs it. Several take turns on one server, round by round.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        LabelStudioStack(fast_import=fast_import).start() as server,
    ):
        tokens = [server.add_user(f"a{i}@example.com") for i in range(2)]
        sites = []
        try:
            for name, python in versions.items():
                home = Path(folder) / name
                home.mkdir()
                product = BackendProcess(str(write_recipe(home, records)), server, home / "home", python=python)
                product.start()
                project = product.wait_ready()["project"]["id"]
                holder, fresh = (Annotator(server.url, token, project) for token in tokens)
                sites.append(Site(name, product, holder, fresh))
                sites[-1].task = sites[-1].holder.next_task()
            for _ in range(rounds + 3):
                for site in sites:
                    site.round()
                    time.sleep(random.uniform(0.3, 1.0))  # annotators read; the queue's tail is published meanwhile
        finally:
            for site in sites:
                site.product.stop()
    figures = {"tasks": records, "speed flag": "on" if fast_import else "off"}
    named = [{"version": site.name} if len(sites) > 1 else {} for site in sites]
    return [
        figures | name | summary(site.seconds, f"{site.right}/{rounds + 3}")
        for name, site in zip(named, sites, strict=True)
    ]


def measure_argilla(records: int, *, rounds: int) -> dict[str, Any]:
    """Argilla: one person submits, another, who never does, asks for the first record of her own link.

    It is right if it is still the first once everything is quiet: the new queue was there, and no old one.
    """
    with tempfile.TemporaryDirectory() as folder, ArgillaStack().start() as server:
        keys = {name: server.add_user(name) for name in ("holder", "fresh")}
        product = BackendProcess(str(write_recipe(Path(folder), records)), server, Path(folder) / "home")
        product.start()
        try:
            status = product.wait_ready(limit_s=1200)
            people = {name: ArgillaAnnotator(server.url, key, status["project"]["id"]) for name, key in keys.items()}
            page = Page(people["holder"], status["links"]["holder"])
            seconds, heard, right = [], [], 0
            for _ in range(rounds + 3):
                before = product.wait(lambda now: now["state"] == "idle", "a quiet moment", limit_s=600)["log_head"]
                page.submit(random.choice(LABELS))
                answered = time.perf_counter()
                product.wait(past("log_head", before), "the label", every_s=0.005)
                heard.append(time.perf_counter() - answered)
                product.wait(past("generation_log_head", before), "a new queue", every_s=0.005)
                first = people["fresh"].next(status["links"]["fresh"])
                seconds.append(time.perf_counter() - answered)
                time.sleep(random.uniform(0.3, 1.0))
                again = people["fresh"].next(status["links"]["fresh"])
                right += first is not None and again is not None and first["id"] == again["id"]
            for person in people.values():
                person.close()
        finally:
            product.stop()
    figures = {"records": records, "of it until we heard of the label, p50 s": round(float(np.median(heard[3:])), 3)}
    return figures | summary(seconds, f"{right}/{rounds + 3}")


def summary(seconds: list[float], right: str) -> dict[str, Any]:
    """The table's last columns; the first three rounds don't count."""
    p50, p95 = np.quantile(seconds[3:], [0.5, 0.95])
    return {"p50 s": round(float(p50), 3), "p95 s": round(float(p95), 3), "new first served": right}


def main(argv: list[str]) -> dict[str, Any]:
    """Run the sizes asked for: on Label Studio with and without its speed flag, or on Argilla."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--platform", choices=["label-studio", "argilla"], default="label-studio")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 10_000])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--flag", choices=["on", "off", "both"], default="both", help="Label Studio's speed flag.")
    parser.add_argument("--beside", metavar="PYTHON", help="Another version's Python: both take turns, round by round.")
    options = parser.parse_args(argv)
    if options.platform == "argilla":
        rows = [measure_argilla(size, rounds=options.rounds) for size in options.sizes]
        return publish("label_to_queue_argilla", {"rows": rows}, list(rows[0]), [list(row.values()) for row in rows])
    versions = {"this": sys.executable} | ({"other": options.beside} if options.beside else {})
    rows = [
        row
        for size in options.sizes
        for fast in (True, False)
        if options.flag in ("both", "on" if fast else "off")
        for row in measure(size, fast_import=fast, rounds=options.rounds, versions=versions)
    ]
    return publish("label_to_queue", {"rows": rows}, list(rows[0]), [list(row.values()) for row in rows])


if __name__ == "__main__":
    main(sys.argv[1:])
