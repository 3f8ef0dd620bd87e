"""10,000 answers of 20 people are imported into a new project, killed midway and again, and then repeated.

On a real Label Studio and a real Argilla: `nextlabel import` makes the project, the accounts and the records, and is
killed twice on its way (SIGKILL, at a quarter and at two thirds). Told are answers a second, what platform, log and
file have otherwise in the end, and what a repetition adds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.reporting import publish
from nextlabel.backend.stack import ArgillaStack, LabelStudioStack
from nextlabel.backend.stack.server import PlatformServer
from nextlabel.backend.store import Store
from nextlabel.connectors.argilla.connector import ArgillaConnector
from nextlabel.connectors.label_studio.connector import LabelStudioConnector

LABELS = ("bug", "praise", "question")
PER_RECORD = 3
"""People who answered each record."""
KILLED_AT = (0.25, 0.66)
COMMAND = [sys.executable, "-m", "nextlabel.backend.cli"]
Answers = dict[tuple[str, str], str]


def main(argv: list[str]) -> dict[str, Any]:
    """Measure, print, and write results/import_answers.json."""
    parser = argparse.ArgumentParser(prog="benchmarks import_answers", description=__doc__)
    parser.add_argument("--answers", type=int, default=10_000)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--platform", choices=["label-studio", "argilla"], help="Default: both.")
    options = parser.parse_args(argv)
    stacks = {"label-studio": LabelStudioStack, "argilla": ArgillaStack}
    figures = {}
    for name in [options.platform] if options.platform else stacks:
        with stacks[name]().start(say=print) as server:
            figures[name] = measured(server, options.answers, options.people)
    reached = all(not one["wrong"] and not one["added_by_repeating"] for one in figures.values())
    result = {"answers": options.answers, "people": options.people, "reached": reached, **figures}
    rows = [[name, *one.values()] for name, one in figures.items()]
    return publish("import_answers", result, ["platform", *next(iter(figures.values()))], rows)


def given(answers: int, people: int) -> Answers:
    """(uid, annotator) -> label: every person answers as many, and each record is answered by a few."""
    dice = random.Random(7)
    names = [f"person{number:02}" for number in range(people)]
    found: Answers = {}
    record = 0
    while len(found) < answers:
        for who in dice.sample(names, min(PER_RECORD, answers - len(found))):
            found[f"d{record}", who] = dice.choice(LABELS)
        record += 1
    return found


def measured(server: PlatformServer, answers: int, people: int) -> dict[str, Any]:
    """Import into a project of its own; how long that took, and what is wrong."""
    wanted = given(answers, people)
    records = sorted({uid for uid, _ in wanted})
    with tempfile.TemporaryDirectory(prefix="nextlabel-import-") as folder:
        home = Path(folder)
        (home / "tickets.csv").write_text("\n".join(["doc,text", *(f"{uid},ticket {uid} is here" for uid in records)]))
        rows = [f"{uid},{who},{label},2024-05-01T10:00:00" for (uid, who), label in wanted.items()]
        (home / "votes.csv").write_text("\n".join(["doc,annotator,answer,time", *rows]))
        recipe = home / "tickets.yaml"
        labels = ", ".join(LABELS)
        recipe.write_text(f"data: tickets.csv\nid: doc\nlabels: [{labels}]\nencoder: hashing\noverlap: {PER_RECORD}\n")
        recipe.write_text(recipe.read_text() + f"platform: {server.platform}\n")
        environment = {**os.environ, **server.env(), "NEXTLABEL_HOME": str(home / "home")}
        command = [*COMMAND, "import", str(recipe), str(home / "votes.csv"), "--make-accounts", "--yes", "--json"]
        store = home / "home" / "tickets" / "store.sqlite"
        began, away = time.monotonic(), 0.0
        for share in KILLED_AT:
            away += killed(command, environment, store, int(share * answers))
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        took = time.monotonic() - began
        again = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        wrong = differences(server, store, wanted)
    return {
        "answers_s": round(took - away, 1),
        "answers_per_s": round(answers / (took - away), 1),
        "killed": len(KILLED_AT),
        "on_platform": json.loads(done.stdout)["imported"]["there"],
        "added_by_repeating": json.loads(again.stdout)["new"],
        "wrong": wrong,
    }


def killed(command: list[str], environment: dict[str, str], store: Path, there: int) -> float:
    """Run the command until so many answers are there, then kill it. Returns the seconds that its lease runs on."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while counted(store) < there:
            if process.poll() is not None:
                raise RuntimeError(f"it ended by itself ({process.returncode})")
            time.sleep(0.2)
        process.kill()
    started = time.monotonic()
    time.sleep(15.0)  # until its lease is over; whoever follows would wait for that
    return time.monotonic() - started


def counted(store: Path) -> int:
    """How many imported answers the store knows to be on the platform."""
    if not store.exists():
        return 0
    with Store.open(store) as opened:
        return opened.import_counts().there


def differences(server: PlatformServer, store: Path, wanted: Answers) -> int:
    """How many answers file, log and platform have otherwise; doubled ones count as such."""
    connectors: dict[str, type[LabelStudioConnector] | type[ArgillaConnector]] = {
        "label-studio": LabelStudioConnector,
        "argilla": ArgillaConnector,
    }
    with Store.open(store) as opened:
        project = opened.get_meta("project") or ""
        connector = connectors[server.platform].attach(server.url, server.token, project)
        names = {number: name.split("@")[0] for number, name in connector.accounts().items()}
        uids = {item.remote_id: item.record.uid for item in opened.records()}
        log = [(uids[one.remote_id], names[one.annotator], str(one.value[0])) for one in opened.answers(drafts=True)]
        answers = [one for page in connector.annotated() for one in page.annotations]
        there = [(uids[one.remote_id], names[one.annotator], str(one.value[0])) for one in answers]
        connector.close()
    file = {(*key, label) for key, label in wanted.items()}
    doubled = len(log) - len(set(log)) + len(there) - len(set(there))
    return len(file ^ set(log)) + len(file ^ set(there)) + doubled
