"""How a model is to be trained: the ``training`` section of a recipe."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

CHECKPOINT_SECONDS = 120.0  # between two; a small job needs none, a long one loses two minutes at most

RungName: TypeAlias = Literal["zero-shot", "probe", "few-shot", "fine-tune"]
PoolingName: TypeAlias = Literal["model", "mean", "cls", "max", "attention", "bilstm"]


class TrainingSpec(BaseModel):
    """What a recipe says about training. All of it has a default that is sensible for a small encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rung: Literal["auto"] | RungName = Field(
        default="auto",
        description="Highest rung of the ladder: `probe` (a linear head on the encoder as it is), `few-shot` "
        "(contrastive), `fine-tune` (the whole encoder). `auto` lets held-out answers decide.",
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
