"""A project with 5,000 finished records is attached, with the file that it was made from: how soon is the first queue?

On a real Label Studio and a real Argilla. The team has put 5,000 answered records and 500 open ones there; the file has
these and 500 more. `nextlabel init` writes the recipe, `hashing` reads the texts, as encoding is another benchmark's.
Told are the seconds from the start of `nextlabel run` to its first queue, and whether every answer is learned and
exported as it was given, the audit slice holds none that was answered, and nothing is doubled.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.reporting import publish
from nextlabel.backend.stack import ArgillaStack, LabelStudioStack
from nextlabel.backend.stack.backend import BackendProcess
from nextlabel.backend.stack.server import PlatformServer
from nextlabel.backend.store import Store

LABELS = ("bug", "praise")
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="label" toName="text"><Choice value="bug"/>'
    '<Choice value="praise"/></Choices></View>'
)
OPEN, NEW = 500, 500
GOAL_S = 90.0
COMMAND = [sys.executable, "-m", "nextlabel.backend.cli"]


def main(argv: list[str]) -> dict[str, Any]:
    """Measure, print, and write results/attach.json."""
    parser = argparse.ArgumentParser(prog="benchmarks attach", description=__doc__)
    parser.add_argument("--finished", type=int, default=5000)
    parser.add_argument("--platform", choices=["label-studio", "argilla"], help="Default: both.")
    options = parser.parse_args(argv)
    stacks = {"label-studio": LabelStudioStack, "argilla": ArgillaStack}
    figures = {}
    for name in [options.platform] if options.platform else stacks:
        with stacks[name]().start(say=print) as server:
            figures[name] = measured(server, options.finished)
    result = {
        "finished": options.finished,
        "goal_s": GOAL_S,
        "reached": all(one["first_queue_s"] < GOAL_S and not one["wrong"] for one in figures.values()),
        **figures,
    }
    rows = [[name, *one.values()] for name, one in figures.items()]
    return publish("attach", result, ["platform", *next(iter(figures.values()))], rows)


def text(number: int) -> str:
    """Twenty words and a number; the label is in two of them."""
    rng = random.Random(number)
    words = [f"word{rng.randrange(2000)}" for _ in range(20)]
    return f"{' '.join(words)} ticket {number} {'crashes' if number % 2 else 'is lovely'}"


def truth(number: int) -> str:
    """The answer that the team gave."""
    return LABELS[1 - number % 2]


def measured(server: PlatformServer, finished: int) -> dict[str, Any]:
    """Attach to a project of its own; how long that took, and what is wrong."""
    project = (studio if server.platform == "label-studio" else argilla)(server, finished)
    with tempfile.TemporaryDirectory(prefix="nextlabel-attach-") as folder:
        home = Path(folder)
        recipe, total = home / "tickets.yaml", finished + OPEN + NEW
        rows = [f"d{number},{text(number)}" for number in range(total)]
        (home / "tickets.csv").write_text("\n".join(["doc,text", *rows]) + "\n")
        environment = {**os.environ, **server.env(), "NEXTLABEL_HOME": str(home / "home")}
        init = [*COMMAND, "init", "--project", project, "--platform", server.platform, str(recipe)]
        subprocess.run(init, env=environment, check=True, capture_output=True)
        recipe.write_text(recipe.read_text() + "\nencoder: hashing\ndata: tickets.csv\nid: doc\n")
        process = BackendProcess(str(recipe), server, home / "home", yes=True)
        began = time.monotonic()
        try:
            process.start()
            process.wait_ready()
            took = time.monotonic() - began
            status = process.wait_settled()
        finally:
            process.stop()
        out = home / "out.jsonl"
        subprocess.run([*COMMAND, "export", str(recipe), "-o", str(out)], env=environment, check=True)
        exported = [json.loads(line) for line in out.read_text().splitlines()]
        with Store.open(process.home / "tickets" / "store.sqlite") as store:
            answered = {one.remote_id for one in store.answers()}
            audit = [item.remote_id for item in store.records() if item.audit]
        return {
            "first_queue_s": round(took, 1),
            "learned": status["labelled"],
            "exported": len(exported),
            "audit": len(audit),
            "on_platform": status["pushed"],
            "wrong": sum(row["answer"] != [truth(int(row["uid"][1:]))] for row in exported)
            + abs(status["labelled"] - finished)
            + abs(len(exported) - finished)
            + abs(status["pushed"] - total)
            + len(answered.intersection(audit))
            + (not audit),
        }


@contextmanager
def client(server: PlatformServer, headers: dict[str, str]) -> Iterator[httpx.Client]:
    """The team's owner, at the platform's own API."""
    with httpx.Client(base_url=server.url, headers=headers, timeout=600, trust_env=False) as found:
        yield found


def studio(server: PlatformServer, finished: int) -> str:
    """A project of Label Studio, its tasks imported with their annotations."""

    def task(number: int) -> dict[str, Any]:
        region = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": [truth(number)]}}
        annotations = [{"result": [region]}] if number < finished else []
        return {"data": {"text": text(number), "doc": f"d{number}"}, "annotations": annotations}

    with client(server, {"Authorization": f"Token {server.token}"}) as owner:
        made = owner.post("/api/projects/", json={"title": "tickets", "label_config": CONFIG})
        project = made.raise_for_status().json()["id"]
        tasks = [task(number) for number in range(finished + OPEN)]
        owner.post(f"/api/projects/{project}/import", json=tasks).raise_for_status()
    return str(project)


def argilla(server: PlatformServer, finished: int) -> str:
    """A dataset of Argilla, its records made with a response each."""
    with client(server, {"X-Argilla-Api-Key": server.token}) as owner:

        def call(method: str, path: str, body: Any = None) -> Any:
            answer = owner.request(method, f"/api/v1{path}", json=body).raise_for_status()
            return answer.json() if answer.content else None

        me, [space, *_] = call("GET", "/me")["id"], call("GET", "/me/workspaces")["items"]
        path = (
            f"/datasets/{(made := call('POST', '/datasets', {'name': 'tickets', 'workspace_id': space['id']}))['id']}"
        )
        named = {"required": True, "title": "text"}
        call("POST", f"{path}/fields", {"name": "text", "settings": {"type": "text"}, **named})
        options = [{"value": label, "text": label} for label in LABELS]
        settings = {"type": "label_selection", "options": options}
        call("POST", f"{path}/questions", {"name": "label", "settings": settings, **named})
        call("PUT", f"{path}/publish")

        def record(number: int) -> dict[str, Any]:
            answer = {"user_id": me, "status": "submitted", "values": {"label": {"value": truth(number)}}}
            given = {"responses": [answer]} if number < finished else {}
            return {"fields": {"text": text(number)}, "external_id": f"d{number}", **given}

        for start in range(0, finished + OPEN, 500):
            items = [record(number) for number in range(start, min(start + 500, finished + OPEN))]
            call("POST", f"{path}/records/bulk", {"items": items})
    return str(made["id"])
