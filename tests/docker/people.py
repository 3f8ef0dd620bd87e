"""A person at each platform of the stack, and what the platform keeps of all that was answered."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

import httpx

from nextlabel.backend.stack import Annotator, ArgillaAnnotator
from nextlabel.connectors.errors import PlatformError

from .stack import Stack

Answers = list[tuple[str, str]]
"""(number of the ticket, its label), sorted."""


class Person(Protocol):
    """Somebody who labels tickets."""

    def next(self) -> tuple[str, str, bool]:
        """Number and text of the ticket that is served next, and whether it has a suggestion."""

    def answer(self) -> None:
        """Label the ticket that is served next."""

    def kept(self) -> Answers:
        """All answers that the platform has."""


def label_of(text: str) -> str:
    """A rule that can be learned."""
    return "question" if text.endswith("?") else "bug"


class OnLabelStudio:
    """With the administrator's token."""

    def __init__(self, stack: Stack) -> None:
        project = stack.status()["project"]["id"]
        self._person = Annotator(stack.platform, stack.values["LABEL_STUDIO_USER_TOKEN"], project)

    def _served(self) -> dict[str, Any]:
        task = self._person.next_task()
        assert task is not None, "no task is left"
        return task

    def next(self) -> tuple[str, str, bool]:
        task = self._served()
        suggested = any(prediction["result"] for prediction in task["predictions"])
        return str(task["data"]["nextlabel_uid"]), task["data"]["text"], suggested

    def answer(self) -> None:
        task = self._served()
        self._person.submit(task, label_of(task["data"]["text"]))

    def kept(self) -> Answers:
        path = f"/api/projects/{self._person.project}/export"
        tasks = self._person._http.get(path, params={"exportType": "JSON"}).raise_for_status().json()
        return sorted(
            (str(task["data"]["nextlabel_uid"]), one["result"][0]["value"]["choices"][0])
            for task in tasks
            for one in task["annotations"]
        )


class OnArgilla:
    """With the owner's key, in the order of the owner's own link."""

    def __init__(self, stack: Stack) -> None:
        name = stack.values["ARGILLA_USERNAME"]
        status = stack.wait(lambda status: name in status["links"], "the owner's link")
        self._link, dataset = status["links"][name], status["project"]["id"]
        self._person = ArgillaAnnotator(stack.platform, stack.values["ARGILLA_OWNER_API_KEY"], dataset)

    def _served(self) -> dict[str, Any]:
        record = self._person.next(self._link)
        assert record is not None, "no record is left"
        return record

    def next(self) -> tuple[str, str, bool]:
        record = self._served()
        return str(record["external_id"]), record["fields"]["text"], bool(record["suggestions"])

    def answer(self) -> None:
        record = self._served()
        self._person.submit(record, label_of(record["fields"]["text"]))

    def kept(self) -> Answers:
        found = self._person.ask(
            "GET", f"/datasets/{self._person.dataset}/records", params={"include": "responses", "limit": 1000}
        )
        return sorted(
            (str(record["external_id"]), response["values"]["label"]["value"])
            for record in found["items"]
            for response in record["responses"]
        )


def logged(stack: Stack) -> Answers:
    """All answers that nextlabel's log has, by its own export."""
    stack.run("nextlabel", "export", stack.recipe, "--each", "--output", "/tmp/votes.jsonl")
    rows = [json.loads(line) for line in stack.run("cat", "/tmp/votes.jsonl").splitlines()]
    return sorted((str(row["uid"]), row["answer"][0]) for row in rows)


def answer_while(person: Person, number: int) -> Iterator[None]:
    """Have ``person`` give ``number`` answers, whatever runs or does not, while the caller goes through this once."""
    stop = threading.Event()

    def work() -> None:
        given = 0
        while given < number and not stop.is_set():
            try:
                person.answer()
                given += 1
            except (PlatformError, httpx.HTTPError):  # somebody pulled the plug: a person tries again
                time.sleep(0.5)

    at_work = threading.Thread(target=work)
    at_work.start()
    try:
        yield
        at_work.join(180)
        assert not at_work.is_alive(), "the person could not finish"
    finally:
        stop.set()
        at_work.join()
