"""What fine-tuning of a text classifier trains and measures; ``loop`` does the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.data.folds import Targets
from nextlabel.backend.encoders.last_norm import flatten_last_norm
from nextlabel.backend.metrics import macro_f1
from nextlabel.backend.models.calibration import fit_temperature, log_loss
from nextlabel.backend.numeric import probabilities

from .loop import Watch, best_of
from .losses import balanced_weights, example_losses
from .network import parameter_groups
from .sampling import EpochBatches
from .spec import TrainingSpec
from .texts import WindowedTexts, parts, text_vectors


@dataclass(frozen=True, slots=True)
class AnsweredTexts:
    """Tokenised texts with their answers and ``weights``, float32 [n] with a mean of 1."""

    texts: WindowedTexts
    targets: Targets
    weights: npt.NDArray[np.float32]

    def take(self, rows: npt.NDArray[np.int64]) -> AnsweredTexts:
        """Some of the texts, in the order of ``rows``."""
        return AnsweredTexts(self.texts.take(rows), self.targets[rows], self.weights[rows])


class ClassifierTask:
    """A network of ``text_classifier`` on labelled texts; a TrainingTask. A row is a text with its windows."""

    unit = "text"

    def __init__(
        self,
        network: Any,
        train: AnsweredTexts,
        held_out: AnsweredTexts | None,
        spec: TrainingSpec,
        device: str,
        watch: Watch,
    ) -> None:
        import torch

        self.network, self.train, self.held_out, self.spec = network, train, held_out, spec
        self.device, self.watch = device, watch
        self._class_weights: Any = None
        if spec.class_weights == "balanced":
            balance = balanced_weights(train.targets, network.head.out_features, train.weights)
            self._class_weights = torch.from_numpy(balance).to(device)

    def batches(self) -> EpochBatches:
        """See TrainingTask."""
        train, spec = self.train, self.spec
        lengths = train.texts.lengths().tolist()
        return EpochBatches(lengths, train.targets, batch_size=spec.batch_size, resample=spec.resample, seed=spec.seed)

    def collate(self, rows: list[int]) -> dict[str, Any]:
        """See TrainingTask."""
        import torch

        answers = {"targets": self.train.targets[rows], "weights": self.train.weights[rows]}
        return self.train.texts.batch(rows) | {name: torch.from_numpy(part) for name, part in answers.items()}

    def parts(self, inputs: dict[str, Any], most: int) -> Iterator[dict[str, Any]]:
        """See TrainingTask."""
        return parts(inputs, most)

    def loss(self, model: Any, part: dict[str, Any], whole: dict[str, Any]) -> Any:
        """See TrainingTask."""
        targets, spec = part["targets"], self.spec
        logits = model(part["input_ids"], part["attention_mask"], part["owner"], part["shares"], len(targets))
        each = example_losses(logits.float(), targets, spec.loss, spec.focal_gamma, self._class_weights)
        return (each * part["weights"]).sum() / len(whole["targets"])

    def parameter_groups(self) -> list[dict[str, Any]]:
        """See TrainingTask."""
        return parameter_groups(self.network, self.spec)

    def after_step(self) -> None:
        """See TrainingTask."""
        flatten_last_norm(self.network.body)  # or transformers' own classes could only nearly say what it says

    def measure(self) -> dict[str, float]:
        """Temperature, and log loss and macro-F1 with it, on the held-out texts."""
        held = self.held_out
        if held is None:
            return {}
        logits = self.logits(held.texts)
        temperature = fit_temperature(logits, held.targets, held.weights)
        return {
            "temperature": temperature,
            "log_loss": log_loss(logits, held.targets, held.weights, temperature),
            "macro_f1": macro_f1(probabilities(logits.copy(), held.targets.ndim == 2), held.targets),
        }

    def best_of(self, history: Sequence[dict[str, float]]) -> dict[str, float] | None:
        """See TrainingTask."""
        return best_of(history)

    def logits(self, texts: WindowedTexts) -> npt.NDArray[np.float32]:
        """What the network says of ``texts``, float32 [n, c]. Leaves it in evaluation mode."""
        import torch

        vectors = text_vectors(self.network, texts, self.device, self.watch)
        with torch.inference_mode():
            logits: npt.NDArray[np.float32] = self.network.read(torch.from_numpy(vectors).to(self.device)).cpu().numpy()
        return logits
