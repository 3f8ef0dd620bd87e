"""Simulated annotators: threads that label through the platform's HTTP API and know nothing else of us."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from .platforms import Person


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

    ``answers`` maps uids to true labels. ``pace_s`` are the fewest and the most seconds spent on a record.
    ``failure`` holds what ended the thread early, if anything did.
    """

    def __init__(
        self,
        person: Person,
        answers: Mapping[str, str],
        error_rate: float,
        quota: Quota,
        rng: np.random.Generator,
        on_label: Callable[[], None],
        pace_s: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        super().__init__(name="simulated annotator", daemon=True)
        self._person, self._answers, self._error_rate = person, answers, error_rate
        self._quota, self._rng, self._on_label = quota, rng, on_label
        self._labels, self._pace_s = sorted(set(answers.values())), pace_s
        self.failure: Exception | None = None

    def run(self) -> None:
        """Label until the quota is used up or the queue is empty."""
        try:
            while self._quota.claim():
                uid = self._person.look()
                if uid is None:
                    self._quota.put_back()
                    return
                time.sleep(self._rng.uniform(*self._pace_s))
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
