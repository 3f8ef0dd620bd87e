"""Argilla: a link for each annotator, or feed mode without links? Three simulated people, the real page's paging.

BBC news with its true labels, answers at a human pace made short (0.5 to 1.5 s each), one of the three wrong one time
in ten. With links the dataset holds the whole pool and every page is sorted by its reader's lane; in feed mode it holds
a window, and pages come in Argilla's own random order. What is compared is what a team gets for its labels: different
records answered, answers spent on records that somebody else answered, the model's true accuracy on all records not
answered, and how long people sat before an empty page.
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.reporting import publish
from nextlabel.backend.recipe import find_recipe
from nextlabel.backend.stack import ArgillaAnnotator, ArgillaServer, ArgillaStack, Page
from nextlabel.backend.stack.backend import BackendProcess

ERROR_RATES = (0.0, 0.0, 0.1)
PACE_S = (0.5, 1.5)


def main(argv: list[str]) -> dict[str, Any]:
    """Run every mode with every seed and write the result."""
    parser = argparse.ArgumentParser(prog="benchmarks argilla_modes")
    parser.add_argument("--labels", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--windows", type=int, nargs="*", default=[30, 100])
    options = parser.parse_args(argv)
    runs = [run(window, seed, options.labels) for seed in range(options.seeds) for window in (None, *options.windows)]
    rows = []
    for window in (None, *options.windows):
        mine = [one for one in runs if one["window"] == window]
        rows.append(
            (
                "a link each" if window is None else f"feed, window {window}",
                spread([one["accuracy"] for one in mine]),
                spread([one["records"] for one in mine]),
                spread([one["answered_twice"] for one in mine]),
                spread([one["empty_s"] for one in mine]),
                spread([one["label_to_queue_p50"] for one in mine]),
            )
        )
    columns = ("mode", "accuracy on the rest", "records", "answered twice", "empty page (s)", "label to queue p50 (s)")
    return publish("argilla_modes", {"labels": options.labels, "runs": runs}, columns, rows)


def spread(values: list[float]) -> str:
    """Mean, and the range."""
    return f"{np.mean(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def run(window: int | None, seed: int, labels: int) -> dict[str, Any]:
    """One mode, one seed: what came of so many answers."""
    with tempfile.TemporaryDirectory() as folder, ArgillaStack().start() as server:
        truth, texts = write_data(Path(folder))
        recipe = write_recipe(Path(folder), sorted(set(truth.values())), window)
        keys = {f"annotator{number}": server.add_user(f"annotator{number}") for number in range(len(ERROR_RATES))}
        product = BackendProcess(str(recipe), server, Path(folder) / "home", seed=seed)
        product.start()
        try:
            status = product.wait(lambda now: now["state"] == "idle" and now["generation"], "a queue", limit_s=900)
            people = [
                Reader(server, key, status["project"]["id"], "" if window else status["links"][name], truth, rate, seed)
                for (name, key), rate in zip(keys.items(), ERROR_RATES, strict=True)
            ]
            quota = threading.Semaphore(labels)
            threads = [threading.Thread(target=person.work, args=(quota,)) for person in people]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            status = product.wait_settled(limit_s=120)
            answered = [uid for person in people for uid in person.answered]
            rest = [uid for uid in texts if uid not in set(answered)]
            found = predicted(product, [texts[uid] for uid in rest])
        finally:
            product.stop()
    right = [label == truth[uid] for uid, label in zip(rest, found, strict=True)]
    return {
        "window": window,
        "seed": seed,
        "accuracy": float(np.mean(right)),
        "records": len(set(answered)),
        "answered_twice": len(answered) - len(set(answered)),
        "empty_s": sum(person.empty_s for person in people),
        "label_to_queue_p50": status["label_to_queue_p50"],
    }


class Reader:
    """A person at the page, with a pace, and perhaps wrong now and then."""

    def __init__(
        self, server: ArgillaServer, key: str, dataset: str, link: str, truth: dict[str, str], rate: float, seed: int
    ) -> None:
        self.answered: list[str] = []
        self.empty_s = 0.0
        self._client = ArgillaAnnotator(server.url, key, dataset)
        self._link, self._truth, self._rate = link, truth, rate
        self._dice = random.Random(f"{seed} {key}")
        self._labels = sorted(set(truth.values()))

    def work(self, quota: threading.Semaphore) -> None:
        """Answer what the page shows until the quota is used up; open an empty page anew every second."""
        page = Page(self._client, self._link)
        while quota.acquire(blocking=False):
            while page.current is None:
                time.sleep(1.0)
                self.empty_s += 1.0
                page.reload()
            time.sleep(self._dice.uniform(*PACE_S))
            uid = str(page.current["external_id"])
            label = self._truth[uid]
            if self._dice.random() < self._rate:
                label = self._dice.choice([other for other in self._labels if other != label])
            page.submit(label)
            self.answered.append(uid)
        self._client.close()


def write_data(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The BBC articles as a CSV, without exact copies; true label and text by uid."""
    bbc = find_recipe("bbc-news")
    answers = bbc.truth()
    first: dict[str, str] = {}  # text -> uid
    for record in bbc.read():
        first.setdefault(record.fields["text"], record.uid)
    texts = {uid: text for text, uid in first.items()}
    with (folder / "bbc.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["uid", "text"])
        writer.writerows(texts.items())
    return {uid: answers[uid] for uid in texts}, texts


def write_recipe(folder: Path, labels: list[str], window: int | None) -> Path:
    """The recipe in ten lines."""
    path = folder / "modes.yaml"
    lines = ["data: bbc.csv", "fields: text", "id: uid", f"labels: [{', '.join(labels)}]", "platform: argilla"]
    path.write_text("\n".join([*lines, *([f"window: {window}"] if window else [])]) + "\n")
    return path


def predicted(product: BackendProcess, texts: list[str]) -> list[str]:
    """What the model in force says of each text."""
    found: list[str] = []
    with httpx.Client(headers={"Authorization": f"Bearer {product.token}"}, timeout=300, trust_env=False) as http:
        for start in range(0, len(texts), 500):
            reply = http.post(f"{product.url}/api/predict", json={"texts": texts[start : start + 500]})
            found += [guess["label"] for guess in reply.raise_for_status().json()["predictions"]]
    return found
