"""Simulated annotators: threads that label through the platform's HTTP API and know nothing else of us.

And what the demo does differently on each platform: start it, sit a person down in front of it, and export answers.
The persons and the exports speak to the platform themselves and know nothing of our connectors, so that the figures
are not our own word for it.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import httpx
import numpy as np
from typing_extensions import override

from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.stack import Annotator, ArgillaAnnotator, ArgillaStack, LabelStudioStack, Page, PlatformServer
from nextlabel.backend.stack.server import PlatformStack
from nextlabel.connectors.hierarchy import SEPARATOR
from nextlabel.connectors.label_studio.config import UID_KEY

Json = dict[str, Any]

ERROR_RATES = (0.0, 0.0, 0.1)
"""One of the three simulated annotators gives a wrong answer one time in ten."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to run. ``home`` holds the demo's store, pictures and logs; the recipe has to know the true labels.

    ``platform`` is where to run it, whatever the recipe says.
    """

    recipe: Recipe
    home: Path
    platform: str = "label-studio"
    labels: int = 200
    seed: int = 0
    keep: bool = False
    error_rates: Sequence[float] = ERROR_RATES


class Person(ABC):
    """Somebody who labels in a project of one platform, one record after the other.

    ``stack`` starts the platform, ``user`` becomes the name of the annotator NUMBER, and ``pace_s`` are the fewest and
    the most seconds that people need for a record.
    """

    stack: ClassVar[type[PlatformStack[Any]]]
    user: ClassVar[str]
    pace_s: ClassVar[tuple[float, float]] = (0.0, 0.0)

    @abstractmethod
    def __init__(self, server: PlatformServer, token: str, project: str, link: str) -> None:
        """The owner of ``token`` at work in ``project``, who follows ``link`` if there is one."""

    @abstractmethod
    def look(self) -> str | None:
        """The uid of the record in front of this person; None if there is nothing left to label."""

    @abstractmethod
    def answer(self, label: str) -> None:
        """Give the record that was looked at a label, and go on to the next."""

    @abstractmethod
    def close(self) -> None:
        """Release connections."""

    @staticmethod
    @abstractmethod
    def exported(server: PlatformServer, project: str) -> dict[str, str]:
        """Every submitted answer that the platform itself has: id -> label."""


class OnLabelStudio(Person):
    """Asks for the next task and opens it, as the web page does. Its name is an email address."""

    stack = LabelStudioStack
    user = "annotator{}@example.com"

    def __init__(self, server: PlatformServer, token: str, project: str, link: str) -> None:
        self._client = Annotator(server.url, token, project)
        self._task: Json = {}
        # Labels in a tree are asked for by other controls.
        asked = self._client.ask("GET", f"/api/projects/{project}/")["label_config"]
        self._places = "taxonomy" if "<Taxonomy" in asked else "choices" if "allowNested" in asked else ""

    @override
    def look(self) -> str | None:
        task = self._client.next_task()
        if task is None:
            return None
        self._task = task
        self._client.open(task)
        return str(task["data"][UID_KEY])

    @override
    def answer(self, label: str) -> None:
        kind = self._places
        place = {"from_name": "label", "to_name": "text", "type": kind, "value": {kind: [label.split(SEPARATOR)]}}
        self._client.submit(self._task, [place] if kind else label)

    @override
    def close(self) -> None:
        self._client.close()

    @override
    @staticmethod
    def exported(server: PlatformServer, project: str) -> dict[str, str]:
        # What the Export button gives.
        headers = {"Authorization": f"Token {server.token}"}
        tasks = get(server, f"/api/projects/{project}/export", headers, exportType="JSON")
        given = [(str(one["id"]), one["result"][0]["value"]) for task in tasks for one in task["annotations"]]
        last = {number: (value.get("taxonomy") or value["choices"])[-1] for number, value in given}
        return {number: one if isinstance(one, str) else SEPARATOR.join(one) for number, one in last.items()}


class OnArgilla(Person):
    """Works through the page, and opens it anew when it shows nothing.

    Argilla's web page fetches ten records at a time, sorted as the address asks. So whoever answers in no time answers
    what was best a while ago: a page holds up to sixteen records. People are still a few times as slow as the pace
    here.
    """

    stack = ArgillaStack
    user = "annotator{}"
    pace_s = (0.5, 1.5)

    def __init__(self, server: PlatformServer, token: str, project: str, link: str) -> None:
        self._page = Page(ArgillaAnnotator(server.url, token, project), link)

    @override
    def look(self) -> str | None:
        shown = self._page.current or self._page.reload()
        return str(shown["external_id"]) if shown else None

    @override
    def answer(self, label: str) -> None:
        self._page.submit(label)

    @override
    def close(self) -> None:
        self._page.annotator.close()

    @override
    @staticmethod
    def exported(server: PlatformServer, project: str) -> dict[str, str]:
        # The submitted responses of every record, as the dataset's owner lists them.
        path, headers = f"/api/v1/datasets/{project}/records", {"X-Argilla-Api-Key": server.token}
        records: list[Json] = []
        while items := get(server, path, headers, include="responses", limit=500, offset=len(records))["items"]:
            records += items
        return {
            str(one["id"]): next(iter(one["values"].values()))["value"]
            for record in records
            for one in record["responses"]
            if one["status"] == "submitted"
        }


PLATFORMS: dict[str, type[Person]] = {"label-studio": OnLabelStudio, "argilla": OnArgilla}


def get(server: PlatformServer, path: str, headers: dict[str, str], **params: str | int) -> Any:
    """What the server answers to its owner, as JSON. Raises httpx.HTTPError."""
    answer = httpx.get(f"{server.url}{path}", params=params, headers=headers, timeout=120, trust_env=False)
    return answer.raise_for_status().json()


@dataclass
class Quota:
    """How many labels are still wanted, shared by all annotators. A label is claimed before it is given."""

    wanted: int
    given: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def claim(self) -> bool:
        """Claim one label; False when all are claimed."""
        with self._lock:
            if self.given >= self.wanted:
                return False
            self.given += 1
            return True

    def put_back(self) -> None:
        """A claimed label that could not be given."""
        with self._lock:
            self.given -= 1


class SimulatedAnnotator(threading.Thread):
    """Answers the record in front of ``person``, and the next; wrong with probability ``error_rate``.

    ``answers`` maps uids to true labels. ``failure`` holds what ended the thread early, if anything did.
    """

    def __init__(
        self,
        person: Person,
        answers: Mapping[str, str],
        error_rate: float,
        quota: Quota,
        rng: np.random.Generator,
        on_label: Callable[[], None],
    ) -> None:
        super().__init__(name="simulated annotator", daemon=True)
        self._person, self._answers, self._error_rate = person, answers, error_rate
        self._quota, self._rng, self._on_label = quota, rng, on_label
        self._labels = sorted(set(answers.values()))
        self.failure: Exception | None = None

    def run(self) -> None:
        """Label until the quota is used up or the queue is empty."""
        try:
            while self._quota.claim():
                uid = self._person.look()
                if uid is None:
                    self._quota.put_back()
                    return
                time.sleep(self._rng.uniform(*self._person.pace_s))
                self._person.answer(noisy(self._answers[uid], self._labels, self._error_rate, self._rng))
                self._on_label()
        except Exception as error:
            self._quota.put_back()
            self.failure = error
        finally:
            self._person.close()


def noisy(truth: str, labels: list[str], error_rate: float, rng: np.random.Generator) -> str:
    """``truth``, or with probability ``error_rate`` one of the other ``labels``, all equally likely."""
    if rng.random() >= error_rate:
        return truth
    return str(rng.choice([label for label in labels if label != truth]))
