"""Training a fusion head on vectors that are at hand: whole epochs in milliseconds.

``train_fusion`` trains a head of one kind, ``choose_head`` what a recipe's ``fusion`` says, and ``save_fused`` leaves a
model folder, as every training does. ``train_fused`` is all of it, as a job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.backend.activation import Targets, activation_of
from nextlabel.backend.data.examples import Examples, assign_folds
from nextlabel.backend.encoders.base import EncoderSpec, need, usable_cores
from nextlabel.backend.encoders.fusion import FusionHead, FusionKind, scaled, write_fused
from nextlabel.backend.encoders.load import load
from nextlabel.backend.encoders.multimodal import MultimodalEncoder, TowerVectors
from nextlabel.backend.metrics import macro_f1
from nextlabel.backend.models.calibration import at_temperature, fit_temperature
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.saving import save_head, whole_folder
from nextlabel.connectors.errors import ConfigError, LearningError

from .classifier import cross_entropy
from .loop import TrainingTask, run
from .spec import TrainingSpec, Watch, never, no_report
from .texts import EpochBatches

if TYPE_CHECKING:
    from .jobs import TrainingJob
    from .spec import ProgressReport

FEWEST_HELD_OUT = 5
CHUNK = 64  # records encoded between two reports
PATIENCE = 40  # epochs; what needs both sides shows late


@dataclass(frozen=True, slots=True)
class FusionSpec:
    """How a head is trained. ``hidden``: units of the hidden layer or projections; 0 for a linear concatenation.

    ``patience``: epochs without a lower loss on the ``held_out`` share before it ends; the best epoch is kept.
    """

    kind: FusionKind = "gated"
    hidden: int = 128
    epochs: int = 200
    patience: int = 20
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    dropout: float = 0.2
    held_out: float = 0.15
    seed: int = 0

    def pace(self) -> TrainingSpec:
        """What of it concerns the loop."""
        names = ("epochs", "patience", "batch_size", "learning_rate", "weight_decay", "seed")
        return TrainingSpec(**{name: getattr(self, name) for name in names})

    def __post_init__(self) -> None:
        if self.kind not in get_args(FusionKind):
            raise ConfigError(f"fusion {self.kind!r} is unknown; choose {', '.join(get_args(FusionKind))}")
        if self.hidden < 0 or (self.hidden == 0 and self.kind != "concatenation"):
            raise ConfigError(f"hidden is {self.hidden}; {self.kind} needs 1 or more")
        if self.epochs < 1 or self.batch_size < 1 or not 0 <= self.held_out < 1 or not 0 <= self.dropout < 1:
            raise ConfigError("epochs and batch_size must be 1 or more, held_out and dropout from 0 to below 1")


def train_fusion(
    towers: TowerVectors,
    targets: Targets,
    labels: tuple[str, ...],
    spec: FusionSpec | None = None,
    *,
    weights: npt.NDArray[Any] | None = None,
    groups: npt.NDArray[np.int64] | None = None,
    stop: Callable[[], bool] = never,
) -> FusionHead:
    """Train a head on ``towers`` of n rows.

    ``targets`` int64 [n] in [0, c), or bool [n, c] for multi-label; ``weights`` [n], how much a row counts; rows of
    one of ``groups`` [n] are held out together. The same seed gives the same head. Raises LearningError, MissingExtra,
    and TrainingCancelled when ``stop`` says so.
    """
    need("torch")
    import torch

    spec = FusionSpec() if spec is None else spec
    _check(towers, targets, labels, weights)
    counts = np.ones(len(targets), np.float32) if weights is None else np.asarray(weights, np.float32)
    held = _held_out(targets, spec, groups)
    text, image = scaled(towers)
    with torch.random.fork_rng(devices=[]):  # seeds of our own; the caller's stay as they are
        torch.manual_seed(spec.seed)
        network = fusion_network(spec, text.shape[1], image.shape[1], len(labels))
        columns = {"text": text, "image": image, "targets": targets, "weights": counts}
        outcome = run(FusionTask(network, columns, held, spec, stop))
    head = FusionHead(
        kind=spec.kind,
        weights={name: value.detach().numpy().copy() for name, value in network.state_dict().items()},
        labels=labels,
        activation=activation_of(targets),
        text_dimension=text.shape[1],
        image_dimension=image.shape[1],
        history=tuple(outcome.history),
    )
    unseen = TowerVectors(towers.text[held], towers.image[held])
    return replace(head, temperature=fit_temperature(head.logits(unseen), targets[held], counts[held]))


class FusionTask(TrainingTask):
    """A ``fusion_network`` on rows of ``columns``, those ``held`` left out. Rates stay, and gradients aren't cut."""

    clip = float("inf")

    def __init__(
        self,
        network: Any,
        columns: Mapping[str, npt.NDArray[Any]],
        held: npt.NDArray[np.bool_],
        spec: FusionSpec,
        stop: Callable[[], bool],
    ) -> None:
        import torch

        self._columns = {name: torch.from_numpy(np.ascontiguousarray(column)) for name, column in columns.items()}
        self._rows, same = np.flatnonzero(~held), np.zeros(int((~held).sum()), np.int64)
        self.held_out = np.flatnonzero(held) if held.any() else None
        batches = EpochBatches(same, same, batch_size=spec.batch_size, seed=spec.seed)
        super().__init__(network, batches, spec.pace(), "cpu", Watch(no_report, stop))

    @override
    def collate(self, rows: list[int]) -> dict[str, Any]:
        return self._columns_of(self._rows[rows])

    def _columns_of(self, rows: npt.NDArray[np.int64]) -> dict[str, Any]:
        return {name: column[rows] for name, column in self._columns.items()}

    @override
    def loss(self, part: dict[str, Any], whole: dict[str, Any]) -> Any:
        return self._mean(self.network(part["text"], part["image"]), part, whole)

    def _mean(self, logits: Any, part: dict[str, Any], whole: dict[str, Any]) -> Any:
        each = cross_entropy(logits, part["targets"])
        return (each * part["weights"]).sum() / whole["weights"].sum().clamp(min=1e-9)

    @override
    def parameter_groups(self) -> list[dict[str, Any]]:
        spec = self.spec
        return [{"params": self.network.parameters(), "lr": spec.learning_rate, "weight_decay": spec.weight_decay}]

    @override
    def rate(self, step: int) -> float:
        return 1.0

    @override
    def measure(self) -> dict[str, float]:
        import torch

        held = self._columns_of(self.held_out)
        targets = held["targets"].numpy()
        self.network.eval()
        with torch.inference_mode():
            logits = self.network(held["text"], held["image"])
            loss = float(self._mean(logits, held, held))
        return {"log_loss": loss, "macro_f1": macro_f1(at_temperature(logits.numpy(), 1.0, targets), targets)}


def fusion_network(spec: FusionSpec, text_dimension: int, image_dimension: int, classes: int) -> Any:
    """The torch module that ``FusionHead.logits`` repeats: scaled (text [b, dt], image [b, dv]) -> logits [b, c]."""
    import torch
    from torch import nn

    both = text_dimension + image_dimension

    class Network(nn.Module):  # type: ignore[misc]  # torch comes without types here
        def __init__(self) -> None:
            super().__init__()
            if spec.kind == "concatenation":
                if spec.hidden:
                    self.hidden = nn.Linear(both, spec.hidden)
            else:
                self.text = nn.Linear(text_dimension, spec.hidden)
                self.image = nn.Linear(image_dimension, spec.hidden)
                if spec.kind == "gated":
                    self.gate = nn.Linear(both, spec.hidden)
            self.dropout = nn.Dropout(spec.dropout)
            self.out = nn.Linear(spec.hidden or both, classes)

        def forward(self, text: Any, image: Any) -> Any:
            if spec.kind == "concatenation":
                fused = torch.cat([text, image], dim=1)
                if spec.hidden:
                    fused = torch.relu(self.hidden(fused))
            else:
                fused, seen = torch.tanh(self.text(text)), torch.tanh(self.image(image))
                if spec.kind == "product":
                    fused = fused * seen
                else:
                    gate = torch.sigmoid(self.gate(torch.cat([text, image], dim=1)))
                    fused = gate * fused + (1 - gate) * seen
            fused = nn.functional.normalize(fused, dim=1) * fused.shape[1] ** 0.5
            return self.out(self.dropout(fused))

    return Network()


def _held_out(targets: Targets, spec: FusionSpec, groups: npt.NDArray[np.int64] | None) -> npt.NDArray[np.bool_]:
    """Which rows tell when to stop, bool [n]: about ``held_out`` of them, or none where that is too few."""
    if not spec.held_out or len(targets) * spec.held_out < FEWEST_HELD_OUT:
        return np.zeros(len(targets), np.bool_)
    folds = max(round(1 / spec.held_out), 2)
    return np.asarray(assign_folds(targets, folds, np.random.default_rng(spec.seed), groups) == 0, np.bool_)


def _check(towers: TowerVectors, targets: Targets, labels: tuple[str, ...], weights: npt.NDArray[Any] | None) -> None:
    rows = {len(towers.text), len(towers.image), len(targets)} | (set() if weights is None else {len(weights)})
    if len(rows) != 1 or not len(targets):
        raise LearningError(f"texts, images, targets and weights must have equally many rows, not {sorted(rows)}")
    if targets.shape[1:] not in ((), (len(labels),)):
        raise LearningError(f"targets have {targets.shape[1]} columns, but there are {len(labels)} labels")
    if not activation_of(targets).in_range(targets, len(labels)):
        raise LearningError(f"targets must lie in [0, {len(labels)}), found {targets.min()} to {targets.max()}")
    if not (np.isfinite(towers.text).all() and np.isfinite(towers.image).all()):
        raise LearningError("some vectors aren't finite: encode them anew")


def choose_head(towers: TowerVectors, examples: Examples, spec: TrainingSpec, watch: Watch) -> FusionHead:
    """A head of the kind that ``spec.fusion`` names; of ``auto``, the one of all kinds with the least held-out loss.

    ``towers`` are the vectors of ``examples``, all of whose images could be read. Groups and copies are held out
    together, the same rows for all kinds. Raises LearningError, MissingExtra, TrainingCancelled.
    """
    if spec.fusion == "none":
        raise LearningError("the recipe says `fusion: none`, so there is no head to train")
    kinds: tuple[FusionKind, ...] = get_args(FusionKind) if spec.fusion == "auto" else (spec.fusion,)
    beside: dict[str, Any] = {"weights": examples.weights, "groups": examples.together(), "stop": watch.stop}
    heads = []
    for number, kind in enumerate(kinds):
        watch.tell("training", number, len(kinds))
        how = FusionSpec(kind, patience=PATIENCE, held_out=min(spec.held_out, 0.5), seed=spec.seed)
        heads.append(train_fusion(towers, examples.targets, examples.labels, how, **beside))
    watch.tell("training", len(kinds), len(kinds))
    return min(heads, key=_loss)


def train_fused(job: TrainingJob, folder: Path, report: ProgressReport, stop: Callable[[], bool]) -> None:
    """Train a fusion head as ``job`` says, and write it into the new ``folder``. Raises LearningError.

    Seconds, once the images are encoded; both towers keep what they have encoded, so a job that is killed goes on.
    Records with an image that can't be read are left out.
    """
    watch, examples = Watch(report, stop), job.examples
    encoder = load(job.encoder, threads=max(1, usable_cores() - 1))
    if not isinstance(encoder, MultimodalEncoder):
        raise LearningError(f"{job.encoder.name} encodes no images, so there is nothing to fuse")
    parts = []
    for at in range(0, len(examples.texts), CHUNK):
        watch.tell("embedding", at, len(examples.texts))
        parts.append(encoder.towers(examples.texts[at : at + CHUNK]))
    towers = TowerVectors(np.concatenate([one.text for one in parts]), np.concatenate([one.image for one in parts]))
    towers, examples = towers.take(towers.seen), examples.take(np.flatnonzero(towers.seen))
    head = choose_head(towers, examples, job.spec, watch)
    save_fused(folder, head, last_layer(head, len(examples)), job.encoder, encoder.fingerprint, watch.seconds)


def save_fused(
    folder: Path, head: FusionHead, probe: Probe, encoder: EncoderSpec, fingerprint: str, seconds: float
) -> None:
    """Write a model into ``folder``, which is new or empty: ``head``, its last layer as a ``probe``, and on what.

    ``encoder`` makes the towers' vectors, with that ``fingerprint``; ``seconds`` is what the training took.
    """
    training = {
        "device": "cpu",
        "seconds": seconds,
        "epochs": len(head.history),
        "temperature": head.temperature,
        "history": list(head.history),
    }
    with whole_folder(folder) as partial:
        write_fused(partial, head, encoder, fingerprint)
        save_head(partial, probe, head.labels, training)


def last_layer(head: FusionHead, labels: int) -> Probe:
    """The last layer as a probe on fused vectors; ``labels`` is the number of rows it was trained on."""
    scale = np.float32(head.width**0.5)
    weights, bias = head.weights["out.weight"] * scale, head.weights["out.bias"].copy()
    return Probe(np.ascontiguousarray(weights), bias, head.activation, head.temperature, labels)


def _loss(head: FusionHead) -> float:
    """The lowest loss on what the head was not trained on, the same rows for all heads; without such, in training."""
    return min(epoch.get("log_loss", epoch["loss"]) for epoch in head.history)
