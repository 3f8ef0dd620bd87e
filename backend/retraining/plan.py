"""What one training is to do, on disk: whoever starts after a crash goes on with the same records and candidates."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nextlabel.backend.files import write_atomically
from nextlabel.backend.models.card import JobKind
from nextlabel.backend.training.spec import RungName
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Labeling

FILE = "plan.json"
CONTINUED: tuple[JobKind, ...] = ("fine-tune", "spans")
"""Rungs whose models the next training may go on from."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to train: the rung, and the trained model to start from; empty for the recipe's own encoder."""

    rung: JobKind
    start: str


def candidates(rungs: Sequence[JobKind], rung: RungName | Literal["auto"], chosen: str) -> list[Candidate]:
    """Each of ``rungs`` that the recipe's ``rung`` wants, from its own encoder; and on from the ``chosen`` model.

    ``chosen`` is a version, empty for the recipe's own encoder. Only what was fine-tuned is gone on from.
    """
    wanted = [Candidate(one, "") for one in rungs if rung in ("auto", one) or one == "spans"]
    line = next((one for one in CONTINUED if one in rungs and chosen.startswith(f"{one}-")), None)
    if line is not None and rung in ("auto", "fine-tune"):
        wanted.append(Candidate(line, chosen))
    return wanted


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """``labels`` answers were known at ``log_seq``. Nothing is trained on the positions ``held_out`` and ``audit``.

    ``failed``: index of a candidate -> why there is no model of it. ``names`` and ``kind``: the labels that were asked
    for, in order, and how many of them a record may have; empty in plans from before they were noted.
    """

    log_seq: int
    labels: int
    held_out: tuple[int, ...]
    audit: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    failed: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    kind: str = ""

    @classmethod
    def read(cls, folder: Path) -> TrainingPlan | None:
        """The plan in ``folder``, None if there is none. Raises LearningError if it can't be read."""
        file = folder / FILE
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            candidates = tuple(Candidate(**one) for one in values.pop("candidates"))
            held_out, audit = (tuple(values.pop(name)) for name in ("held_out", "audit"))
            names = tuple(values.pop("names", ()))
            return cls(candidates=candidates, held_out=held_out, audit=audit, names=names, **values)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise LearningError(f"{file} can't be read: {error}; remove {folder} to train anew") from None

    def write(self, folder: Path) -> None:
        """Put the plan into ``folder``."""
        write_atomically(folder / FILE, json.dumps(dataclasses.asdict(self)).encode())

    def is_for(self, labeling: Labeling) -> bool:
        """Whether what it trains answers ``labeling``: its jobs on disk hold answers as numbers of labels."""
        return (self.names, self.kind) == (labeling.labels, labeling.kind.value)

    def without(self, candidate: int, reason: str) -> TrainingPlan:
        """The same plan after ``candidate`` failed."""
        return dataclasses.replace(self, failed={**self.failed, str(candidate): reason})
