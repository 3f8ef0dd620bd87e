"""What a training is told, and what it tells: the ``training`` section of a recipe, how far it is, and its stop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from nextlabel.backend.encoders.head_names import HeadSpec
from nextlabel.connectors.errors import LearningError

CHECKPOINT_SECONDS = 120.0  # between two; a small job needs none, a long one loses two minutes at most

TrainedRungName: TypeAlias = Literal["fusion", "few-shot", "fine-tune"]
"""Rungs that take a training, the cheapest first; see ``trained_rungs`` for what an encoder has of them."""
RungName: TypeAlias = Literal["zero-shot", "probe", TrainedRungName]
Stage: TypeAlias = Literal["reading", "tokenising", "training", "evaluating", "embedding"]
EpochFigures: TypeAlias = Mapping[str, float]
"""What was measured after an epoch: its number as ``epoch`` and the mean ``loss`` on what was learned; on held-out
texts ``log_loss``, ``macro_f1`` and, where the loss is measured at one of its own, ``temperature``; ``seconds`` since
the beginning; ``member``, where there are several."""
PoolingName: TypeAlias = Literal["model", "mean", "cls", "max", "attention", "bilstm"]


class TrainingSpec(BaseModel):
    """What a recipe says about training. All of it has a default that is sensible for a small encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rung: Literal["auto"] | RungName = Field(
        default="auto",
        description="Highest rung of the ladder: `probe` (a linear head on the encoder as it is), `few-shot` "
        "(contrastive), `fine-tune` (the whole encoder). `auto` lets held-out answers decide. For records with images: "
        "`fusion` (a head on both encoders' vectors), which `auto` goes up to, and `fine-tune` (both encoders with the "
        "head), which takes minutes to hours and has every image encoded anew.",
    )
    start_at: int = Field(default=100, ge=10, description="Labels before the encoder is trained for the first time.")
    growth: float = Field(
        default=0.5, gt=0, description="By how much the labels must have grown before it is trained again; 0.5 is half."
    )
    pooling: PoolingName = Field(
        default="model",
        description="How token vectors become one: as the encoder's own files say (`model`), `mean`, `cls`, `max`, "
        "`attention` (learned weights), or `bilstm` (one layer, 256 each way).",
    )
    head: str = Field(
        default="",
        description="In place of `pooling`: the name of a torch module of your own between token vectors and linear "
        "layer; see [A head of one's own](models.md#a-head-of-ones-own).",
    )
    head_options: Mapping[str, Any] = Field(default_factory=dict, description="Options of the head.")
    fusion: Literal["auto", "none", "concatenation", "product", "gated"] = Field(
        default="auto",
        description="For records with images: the head that is trained on the vectors of text and image, where a label "
        "may need both. `auto`: the one of the three that does best on held-out labels. `none`: a probe only.",
    )
    loss: Literal["cross-entropy", "focal"] = Field(default="cross-entropy", description="What is minimised.")
    focal_gamma: float = Field(default=2.0, ge=0, description="How much the focal loss leaves easy texts alone.")
    class_weights: Literal["none", "balanced"] = Field(
        default="none", description="`balanced`: rare labels count more."
    )
    resample: Literal["none", "under", "over"] = Field(
        default="none", description="Show every label equally often: by leaving texts out, or by showing some again."
    )
    members: int = Field(
        default=1,
        ge=1,
        le=10,
        description="How many fine-tunings, each without another part of the labels, are averaged into one model. "
        "Takes as many times longer; 5 is worth trying on a GPU.",
    )
    epochs: int = Field(default=4, ge=1, description="Most passes over the labels.")
    thaw_after: int = Field(
        default=0,
        ge=0,
        description="Fine-tuning in two stages: so many of the epochs train only what stands on the encoder, then all "
        "is trained, with a warm-up of its own. For poolings that have weights to learn; 0: all from the start.",
    )
    patience: int = Field(
        default=2, ge=0, description="Epochs without a gain on held-out labels before it ends; 0: never."
    )
    held_out: float = Field(
        default=0.15, ge=0, lt=0.9, description="Share of the labels that is not trained on: they tell when to stop."
    )
    learning_rate: float = Field(default=1e-4, gt=0, description="Of the encoder, at its peak.")
    head_learning_rate: float = Field(default=1e-3, gt=0, description="Of what stands on the encoder, at its peak.")
    batch_size: int = Field(default=16, ge=1, description="Texts per step; fewer at once if they do not fit in memory.")
    warmup: float = Field(default=0.1, ge=0, lt=1, description="Share of the steps over which the rate rises.")
    weight_decay: float = Field(default=0.01, ge=0, description="As in AdamW.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="In front of the linear layer.")
    seed: int = Field(default=0, ge=0, description="Of everything that is random in training.")

    @property
    def own_head(self) -> HeadSpec | None:
        """The head, if there is one."""
        return HeadSpec(self.head, self.head_options) if self.head else None

    @field_validator("head_options", mode="after")
    @classmethod
    def _plain(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        try:  # they are written beside the weights
            found: dict[str, Any] = json.loads(json.dumps(dict(options), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"write numbers, words, true and false, and lists and mappings of these: {error}"
            ) from None
        return found

    @model_validator(mode="after")
    def _heads(self) -> TrainingSpec:
        if self.head and self.pooling != "model":
            raise ValueError(
                f"head: {self.head} stands in the place of `pooling: {self.pooling}`; leave out one of them"
            )
        if self.head_options and not self.head:
            raise ValueError("head_options: there is no head; name it with `head:`, or leave them out")
        if self.head and self.rung in ("zero-shot", "probe", "fusion"):
            raise ValueError(
                f"head: with `rung: {self.rung}` no encoder is trained, nor a head; write `rung: fine-tune`"
            )
        return self

    @model_serializer(mode="wrap")
    def _told(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without a head it says nothing of one: keys of what was kept before there were any stay as they are."""
        told: dict[str, Any] = whole(self)
        return told if self.head else {name: told[name] for name in told if name not in ("head", "head_options")}

    def pooling_of(self, encoder: str) -> str:
        """The pooling of a model that is trained from one with that of ``encoder``; empty for a head of one's own."""
        if self.head:
            return ""
        return encoder if self.pooling == "model" else self.pooling

    @model_validator(mode="after")
    def _thaws(self) -> TrainingSpec:
        if self.thaw_after and self.thaw_after >= self.epochs:
            raise ValueError(f"thaw_after: {self.thaw_after} of {self.epochs} epochs leave none for the encoder")
        return self


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """One report of a running training.

    ``step`` of ``steps`` counts what the stage counts (texts, or steps of the optimiser); ``epoch`` is a fraction.
    ``loss`` is the last one on training texts, ``score`` the last log loss on held-out texts (lower is better).
    ``seconds`` since the training began, those before an interruption included. ``history``: the epochs that are over.
    """

    stage: Stage
    step: int
    steps: int
    epoch: float = 0.0
    loss: float | None = None
    score: float | None = None
    seconds: float = 0.0
    history: Sequence[EpochFigures] = ()


ProgressReport: TypeAlias = Callable[[TrainingProgress], None]


class TrainingCancelled(LearningError):
    """Whoever watches the training has asked it to stop. Nothing was written but checkpoints."""


def no_report(_: TrainingProgress) -> None:
    """For a training that nobody watches."""


def never() -> bool:
    """For a training that nobody stops."""
    return False


@dataclass(slots=True)
class Watch:
    """Who is told, who may stop it, and how long it has taken, interruptions left out; ``what`` it is, in words."""

    report: ProgressReport
    stop: Callable[[], bool]
    what: str = "training"
    before: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return self.before + time.monotonic() - self.started

    def tell(self, stage: Stage, step: int, steps: int) -> None:
        """Report so many of a stage's steps. Raises TrainingCancelled when it is to stop."""
        self.check()
        self.report(TrainingProgress(stage, step, steps, seconds=self.seconds))

    def check(self) -> None:
        """Raises TrainingCancelled when it is to stop."""
        if self.stop():
            raise TrainingCancelled(f"the {self.what} was stopped before its end; the model is as it was")
