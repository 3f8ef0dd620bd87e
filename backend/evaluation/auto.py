"""Rungs chosen by the data: the cheapest one that is not clearly worse than the best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.base import EncoderSpec, Engine
from nextlabel.backend.training.spec import RungName, TrainingSpec
from nextlabel.connectors.errors import ConfigError

from .ladder import climb
from .rungs import RUNGS, Fitted, Rung, Setup, rungs_for

if TYPE_CHECKING:
    from nextlabel.backend.training.progress import ProgressReport


@dataclass(frozen=True, slots=True)
class Auto:
    """The rung that the ladder chooses on held-out answers, fitted on all of them; none above ``spec.rung``."""

    setup: Setup
    name: Literal["auto"] = "auto"

    def fit(self, train: Examples, report: ProgressReport | None = None) -> Fitted:
        """See Rung."""
        highest = self.setup.spec.rung
        allowed = RUNGS if highest == "auto" else RUNGS[: RUNGS.index(highest) + 1]
        rungs = [rung for rung in rungs_for(self.setup) if rung.name in allowed]
        chosen = climb(train, rungs, np.random.default_rng(self.setup.spec.seed), report=report).chosen
        return next(rung for rung in rungs if rung.name == chosen).fit(train, report)


def make_rung(
    name: RungName | Literal["auto"],
    encoder: str,
    spec: TrainingSpec,
    *,
    engine: Engine = "auto",
    max_length: int = 128,
    windows: int = 1,
    cache_dir: Path,
    descriptions: Mapping[str, str] = {},
) -> Rung:
    """The rung called ``name`` on ``encoder``; ``auto`` lets held-out answers choose among all.

    ``max_length`` in tokens; a longer text is read, and trained on, in up to ``windows`` windows.
    ``cache_dir`` keeps embeddings between runs and holds a training while it runs. ``descriptions`` gives labels a
    sentence in plain words, for zero-shot and as the probe's start. Raises ConfigError for an unknown name, and for
    a rung that trains the encoder where there is none (``hashing``).
    """
    asked = EncoderSpec(encoder, engine, max_length, windows=windows, cache_dir=cache_dir)
    setup = Setup(asked, spec, cache_dir, descriptions)
    if name == "auto":
        return Auto(setup)
    if name not in RUNGS:
        raise ConfigError(f"rung {name!r} is unknown; choose one of auto, {', '.join(RUNGS)}")
    for rung in rungs_for(setup):
        if rung.name == name:
            return rung
    raise ConfigError(f"the encoder {encoder!r} has nothing to train, so there is no {name}; take zero-shot or probe")
