"""What ``nextlabel evaluate`` is asked, and what follows from it: the fit, its name, where fits are kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nextlabel.backend.learning.encoders import HASHING, Engine
from nextlabel.backend.learning.evaluation.crossvalidation import Fit
from nextlabel.backend.learning.rungs import make_rung
from nextlabel.backend.learning.training.spec import RungName, TrainingSpec
from nextlabel.connectors.errors import ConfigError

from .labelled import LabelledColumns

if TYPE_CHECKING:
    from nextlabel.backend.learning.training.progress import Report


@dataclass(frozen=True, slots=True)
class Request:
    """What to evaluate on what.

    ``parts`` are the values of the split column to learn from and to test on; ``only`` are values of it, and rows
    with none of them are not looked at. ``test`` is a file to test on, ``dataset_split`` the split of a hub data set
    that ``data`` means, ``cache`` the folder for everything that can be made again; ``fresh`` fits folds anew that are
    kept there. ``curve`` asks for a learning curve, or not; None leaves it to the rung: the probe is cheap enough.
    Raises ConfigError for a curve of zero-shot, which learns nothing.
    """

    data: str
    columns: LabelledColumns
    cache: Path
    rung: RungName | Literal["auto"] = "probe"
    encoder: str = HASHING
    engine: Engine = "auto"
    max_length: int = 128
    windows: int = 1
    folds: int = 5
    seeds: int = 1
    random_folds: bool = False
    parts: tuple[str, str] | None = None
    only: tuple[str, ...] = ()
    test: str | None = None
    dataset_split: str = "train"
    fresh: bool = False
    curve: bool | None = None

    def __post_init__(self) -> None:
        if self.curve and self.rung == "zero-shot":
            raise ConfigError("zero-shot learns from no label, so it has no learning curve; take probe or above")

    @property
    def fixed(self) -> bool:
        """Whether rows to test on are named, so that there are no folds."""
        return self.parts is not None or self.test is not None

    @property
    def wants_curve(self) -> bool:
        """Whether a learning curve is to be made."""
        return self.rung == "probe" if self.curve is None else self.curve

    @property
    def keep(self) -> Path | None:
        """Where finished fits are looked for and left; None for neither."""
        return None if self.fresh else self.cache / "folds"

    def fit(self, seed: int, on_step: Report | None) -> Fit:
        """What learns from examples, with ``seed`` for all that is random in it."""
        rung = make_rung(
            self.rung,
            self.encoder,
            TrainingSpec(rung=self.rung, seed=seed),
            engine=self.engine,
            max_length=self.max_length,
            windows=self.windows,
            cache_dir=self.cache,
        )
        return lambda train: rung.fit(train, on_step)

    def name(self, seed: int) -> str:
        """All that makes a fit beside its examples; for a folder of a model, what is in it."""
        from importlib.metadata import version

        content = self.encoder
        if self.encoder != HASHING:
            from nextlabel.backend.learning.model_folder import find_model

            content = find_model(self.encoder).digest(self.cache)
        spec = TrainingSpec(rung=self.rung, seed=seed).model_dump(mode="json")
        return json.dumps([version("nextlabel"), content, self.engine, self.max_length, self.windows, spec])
