"""What fine-tuning of a text classifier trains, minimises and measures.

The network is encoder, pooling, unit vector, dropout and linear layer. Single labels get a softmax, multi-label one
sigmoid per label, as in the probe; every loss is one value per example, so that weights and parts of batches are exact.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeVar, override

from nextlabel.backend.activation import SOFTMAX, Targets, activation_of
from nextlabel.backend.encoders.base import FloatMatrix
from nextlabel.backend.encoders.head_check import check_head
from nextlabel.backend.encoders.heads import OWN_HEAD, make_head
from nextlabel.backend.encoders.model_folder import ModelFolder
from nextlabel.backend.encoders.network import make_pooler, pooled_dimension, token_vectors
from nextlabel.backend.encoders.tokenizer import batches_by_length, pad, pool, pool_windows
from nextlabel.backend.encoders.torch import flatten_last_norm, load_parts
from nextlabel.backend.metrics import log_loss, macro_f1
from nextlabel.backend.models.calibration import at_temperature, fit_temperature
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.saving import head_of

from .loop import TrainingTask, half_precision, parameter_groups
from .memory import done_in_parts
from .spec import TrainingSpec, Watch
from .texts import EpochBatches, WindowedTexts, parts

EMBED_BATCH = 32  # windows
LARGEST_PAD = 16  # ids below it are always kept, and in their places


def cross_entropy(logits: Any, targets: Any, class_weights: Any = None) -> Any:
    """Cross-entropy [b] of logits [b, c] and targets int64 [b]; binary, the mean over labels, for bool [b, c].

    ``class_weights`` [c] multiplies the loss of that class; multi-label, that of its presence.
    """
    from torch.nn.functional import binary_cross_entropy_with_logits
    from torch.nn.functional import cross_entropy as softmax_cross_entropy

    if activation_of(targets) is SOFTMAX:
        return softmax_cross_entropy(logits, targets, weight=class_weights, reduction="none")
    each = binary_cross_entropy_with_logits(
        logits, targets.to(logits.dtype), pos_weight=class_weights, reduction="none"
    )
    return each.mean(dim=1)


def focal(logits: Any, targets: Any, gamma: float, class_weights: Any = None) -> Any:
    """Focal loss [b]: cross-entropy times (1 - p)^gamma, p being the probability given to what is right.

    Lin et al., 2017, "Focal Loss for Dense Object Detection". Arguments as in ``cross_entropy``; multi-label, the
    mean over labels.
    """
    import torch
    from torch.nn.functional import logsigmoid

    if activation_of(targets) is SOFTMAX:
        right = logits.log_softmax(dim=1).gather(1, targets.unsqueeze(1)).squeeze(1)
        loss = _focused(right, gamma)
        return loss if class_weights is None else loss * class_weights[targets]
    right = logsigmoid(torch.where(targets.bool(), logits, -logits))
    loss = _focused(right, gamma)
    if class_weights is not None:
        loss = loss * torch.where(targets.bool(), class_weights, torch.ones_like(class_weights))
    return loss.mean(dim=1)


def _focused(right: Any, gamma: float) -> Any:
    # Away from 0, where a root has no gradient: an exponent below 1 would make nan of a text that is surely right.
    wrong = (-right.expm1()).clamp(min=1e-12)
    return -(wrong**gamma) * right


def example_losses(
    logits: Any, targets: Any, loss: Literal["cross-entropy", "focal"], gamma: float, class_weights: Any = None
) -> Any:
    """The loss that a spec names, [b]."""
    if loss == "focal":
        return focal(logits, targets, gamma, class_weights)
    return cross_entropy(logits, targets, class_weights)


def balanced_weights(
    targets: Targets, classes: int, weights: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """A weight per class, float32 [classes], with which all classes count alike; 1 for a class that doesn't occur.

    Single label: n / (k * count), k classes occurring, as scikit-learn's ``balanced``. Multi-label: absences over
    presences of each label. ``weights`` [n] makes the counts weighted.
    """
    counts = np.ones(len(targets), np.float64) if weights is None else weights.astype(np.float64)
    out = np.ones(classes, np.float64)
    if activation_of(targets).several:
        present = counts @ targets
        occurs = (present > 0) & (present < counts.sum())
        out[occurs] = (counts.sum() - present[occurs]) / present[occurs]
    else:
        present = np.bincount(targets, weights=counts, minlength=classes).astype(np.float64)
        occurs = present > 0
        out[occurs] = counts.sum() / (occurs.sum() * present[occurs])
    return out.astype(np.float32)


class TextParts(NamedTuple):
    """Body and pooling as torch modules; what the ``pooling`` is called, and the length of its vectors."""

    body: Any
    pooler: Any
    pooling: str
    dimension: int


def text_parts(folder: ModelFolder, spec: TrainingSpec) -> TextParts:
    """What is in ``folder``, with the pooling or the head that ``spec`` names, if it names another.

    Raises LearningError, and ConfigError for a head of another package that won't do.
    """
    body, pooler = load_parts(folder)
    pooling, dimension = folder.pooling, folder.dimension
    if spec.own_head is not None and spec.own_head != getattr(pooler, "spec", None):
        pooler = make_head(spec.own_head, folder.width)
        pooling, dimension = OWN_HEAD, pooler.dimension
    elif spec.pooling not in ("model", pooling):
        pooling, dimension = spec.pooling, pooled_dimension(spec.pooling, folder.width)
        pooler = make_pooler(pooling, folder.width)
    if pooling == OWN_HEAD:
        check_head(pooler, folder.width, folder.max_length)
    return TextParts(body, pooler, pooling, dimension)


def text_classifier(folder: ModelFolder, spec: TrainingSpec, classes: int) -> Any:
    """A torch module (input_ids, attention_mask), int64 [w, t] -> logits float32 [b, classes].

    With ``owner`` and ``shares`` (see WindowedTexts.batch) the w rows are the windows of ``texts`` texts; without,
    each is a text. Its method ``vectors`` gives the unit vectors of the rows, float [w, d].

    It starts from ``text_parts``, whose errors it raises. The unit vector is multiplied by the root of its length,
    which gives its numbers a variance of about 1: what a linear layer is used to. The head that is saved has this
    factor in its weights.
    """
    import torch

    parts, types = text_parts(folder, spec), folder.reading.types
    dimension = parts.dimension

    class TextClassifier(torch.nn.Module):  # type: ignore[misc]  # torch comes without types here
        def __init__(self) -> None:
            super().__init__()
            self.pooling, self.dimension, self.classes = parts.pooling, dimension, classes
            self.body, self.pooler = parts.body, parts.pooler
            self.dropout = torch.nn.Dropout(spec.dropout)
            self.head = torch.nn.Linear(dimension, classes)

        def forward(
            self, input_ids: Any, attention_mask: Any, owner: Any = None, shares: Any = None, texts: int = 0
        ) -> Any:
            unit = self.vectors(input_ids, attention_mask)
            if owner is not None and texts < len(unit):
                unit = pool_windows(unit, owner, shares, texts)
            return self.read(unit)

        def vectors(self, input_ids: Any, attention_mask: Any) -> Any:
            """Unit vectors of the windows."""
            hidden = token_vectors(self.body, input_ids, attention_mask, types)
            vector = self.pooler(hidden.float(), attention_mask).float()
            return vector / vector.norm(dim=1, keepdim=True).clamp(min=1e-12)

        def read(self, unit: Any) -> Any:
            """Logits of texts from their unit vectors."""
            return self.head(self.dropout(unit * dimension**0.5))

    return TextClassifier()


def text_vectors(network: Any, texts: WindowedTexts, device: str, watch: Watch, *, told: bool = False) -> FloatMatrix:
    """Unit vectors float32 [n, d], as an encoder would make them. Leaves the network in evaluation mode.

    ``told``: whether its progress is worth a report.
    """
    import torch

    network.eval()
    rows = texts.windows.rows
    out, done = np.empty((len(rows), network.dimension), np.float32), 0

    def read(batch: Sequence[int]) -> None:
        ids, mask = (torch.from_numpy(part).to(device) for part in pad([rows[row] for row in batch]))
        with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=device == "cuda"):
            out[batch] = network.vectors(ids, mask).float().cpu().numpy()

    for batch in done_in_parts(batches_by_length(rows, EMBED_BATCH), read, watch.check):
        done += len(batch)
        if told:
            watch.tell("embedding", done, len(rows))
    return pool(out, texts.windows, len(texts)) if len(texts) else out


class Vocabulary:
    """Trains only the rows of the token table that the texts need.

    A row without a token in any text gets no gradient, so nothing but weight decay would ever change it; but the
    optimiser would walk over all of them, which is half of a small encoder, at every step. Tables that aren't a
    plain one, or whose padding has a high id, are left as they are.
    """

    def __init__(self, body: Any, rows: Sequence[Sequence[int]]) -> None:
        import torch

        self._table = body.get_input_embeddings()
        self._kept: Any = None
        pad = getattr(body.config, "pad_token_id", None) or 0
        if type(self._table) is not torch.nn.Embedding or pad >= LARGEST_PAD:
            return
        used = np.unique(np.concatenate([np.arange(LARGEST_PAD), *(np.asarray(row) for row in rows)]))
        kept = used[used < self._table.num_embeddings].astype(np.int64)
        if kept[-1] != used[-1]:
            return  # a token that the table does not have: the model itself will say so
        self._kept, self._full = torch.from_numpy(kept), self._table.weight.detach().clone()
        self._table.weight = torch.nn.Parameter(self._full[self._kept])
        place = torch.zeros(len(self._full), dtype=torch.int64, device=self._full.device)
        place[self._kept] = torch.arange(len(kept), device=place.device)
        self._hook = self._table.register_forward_pre_hook(lambda _, ids: (place[ids[0]],))

    def widen(self) -> None:
        """Put the whole table back, with the rows that were trained."""
        import torch

        if self._kept is not None:
            self._hook.remove()
            self._full[self._kept] = self._table.weight.detach().to(self._full.device)
            self._table.weight = torch.nn.Parameter(self._full)
            self._kept = None


class Inputs(Protocol):
    """What a network reads of n texts, or of n records. See WindowedTexts."""

    def __len__(self) -> int: ...

    def lengths(self) -> npt.NDArray[np.int64]:
        """How much there is to read in each, int64 [n]."""
        ...

    def take(self, rows: npt.NDArray[np.int64], /) -> Self:
        """Some of them, in the order given."""
        ...

    def batch(self, rows: Sequence[int], /) -> dict[str, Any]:
        """Tensors of ``rows``."""
        ...


Read = TypeVar("Read", bound=Inputs, default=WindowedTexts)


@dataclass(frozen=True, slots=True)
class AnsweredTexts(Generic[Read]):
    """Tokenised texts with their answers and ``weights``, float32 [n] with a mean of 1."""

    texts: Read
    targets: Targets
    weights: npt.NDArray[np.float32]

    def take(self, rows: npt.NDArray[np.int64]) -> AnsweredTexts[Read]:
        """Some of the texts, in the order of ``rows``."""
        return AnsweredTexts(self.texts.take(rows), self.targets[rows], self.weights[rows])


class LabelTask(TrainingTask, Generic[Read]):
    """A network that gives logits for labels, on labelled texts or records; it has ``classes`` of them."""

    held_out: AnsweredTexts[Read] | None

    def __init__(
        self,
        network: Any,
        train: AnsweredTexts[Read],
        held_out: AnsweredTexts[Read] | None,
        spec: TrainingSpec,
        device: str,
        watch: Watch,
    ) -> None:
        import torch

        self.train, self.held_out = train, held_out
        self.lengths, size = train.texts.lengths(), spec.batch_size
        batches = EpochBatches(self.lengths, train.targets, batch_size=size, resample=spec.resample, seed=spec.seed)
        super().__init__(network, batches, spec, device, watch)
        self._class_weights: Any = None
        if spec.class_weights == "balanced":
            balance = balanced_weights(train.targets, network.classes, train.weights)
            self._class_weights = torch.from_numpy(balance).to(device)

    @override
    def collate(self, rows: Any) -> dict[str, Any]:
        import torch

        answers = {"targets": self.train.targets[rows], "weights": self.train.weights[rows]}
        return self.train.texts.batch(rows) | {name: torch.from_numpy(part) for name, part in answers.items()}

    @abstractmethod
    def forward(self, part: dict[str, Any]) -> Any:
        """Logits [b, c] of a part of a batch."""

    @abstractmethod
    def logits(self, texts: Read) -> npt.NDArray[np.float32]:
        """What the network says of ``texts``, float32 [n, c]. Leaves it in evaluation mode."""

    @override
    def loss(self, part: dict[str, Any], whole: dict[str, Any]) -> Any:
        targets, spec = part["targets"], self.spec
        with half_precision(self.device):
            logits = self.forward(part)
        each = example_losses(logits.float(), targets, spec.loss, spec.focal_gamma, self._class_weights)
        return (each * part["weights"]).sum() / len(whole["targets"])

    @override
    def parameter_groups(self) -> list[dict[str, Any]]:
        return parameter_groups(self.network, self.body, self.spec)

    @property
    @override
    def thaw_step(self) -> int:
        return self.spec.thaw_after * self.epoch_steps

    @override
    def measure(self) -> dict[str, float]:
        """Temperature, and log loss and macro-F1 with it, on the held-out texts."""
        held = self.held_out
        if held is None:
            return {}
        logits = self.logits(held.texts)
        temperature = fit_temperature(logits, held.targets, held.weights)
        return {
            "temperature": temperature,
            "log_loss": log_loss(at_temperature(logits, temperature, held.targets), held.targets, held.weights),
            "macro_f1": macro_f1(at_temperature(logits, 1.0, held.targets), held.targets),
        }


class ClassifierTask(LabelTask[WindowedTexts]):
    """A network of ``text_classifier`` on labelled texts. A row is a text with its windows."""

    @override
    def parts(self, batch: dict[str, Any], most: int) -> Iterator[dict[str, Any]]:
        return parts(batch, most)

    @override
    def one(self, batch: dict[str, Any]) -> str:
        return f"text of {batch['input_ids'].shape[1]} tokens a window"

    @override
    def forward(self, part: dict[str, Any]) -> Any:
        count = len(part["targets"])
        return self.network(part["input_ids"], part["attention_mask"], part["owner"], part["shares"], count)

    @override
    def after_step(self) -> None:
        flatten_last_norm(self.network.body)  # or transformers' own classes could only nearly say what it says

    def head(self, temperature: float) -> Probe:
        """The linear layer as a probe on the encoder's vectors."""
        targets = self.train.targets
        return head_of(self.network, activation=activation_of(targets), temperature=temperature, labels=len(targets))

    @override
    def logits(self, texts: WindowedTexts) -> npt.NDArray[np.float32]:
        import torch

        vectors = text_vectors(self.network, texts, self.device, self.watch)
        with torch.inference_mode():
            logits: npt.NDArray[np.float32] = self.network.read(torch.from_numpy(vectors).to(self.device)).cpu().numpy()
        return logits
