"""Fine-tuning both towers of a multimodal encoder together with a fusion head, end to end.

The head is trained first, on the vectors that the towers make as they are, so that these are not torn about for a head
that knows nothing (Kumar et al., 2022, "Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution", https://arxiv.org/abs/2202.10054). What comes of it is a fusion head with towers of its own (see
``encoders.fusion``): new towers make new vectors, so every record is encoded anew once it is in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.backend.activation import activation_of
from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.encoders.fusion import CLIP_FOLDER, IMAGE_FOLDER, TEXT_FOLDER, FusionHead, write_fused
from nextlabel.backend.encoders.image_models import ClipTowers
from nextlabel.backend.encoders.model_folder import know_trained
from nextlabel.backend.encoders.multimodal import TowerVectors
from nextlabel.backend.encoders.network import pooled_network
from nextlabel.backend.encoders.tokenizer import pool_windows
from nextlabel.backend.models.crossfit import LEAST
from nextlabel.backend.models.saving import save_encoder, save_head

from .classifier import AnsweredTexts, LabelTask, Vocabulary, text_parts
from .finetune import train_members
from .fusion import FusionSpec, choose_head, fusion_network, last_layer
from .loop import Outcome, half_precision
from .memory import done_in_parts
from .records import PICTURE, ClipTexts, Records, Towers, open_towers
from .spec import CHECKPOINT_SECONDS, ProgressReport, TrainingSpec, Watch, never, no_report
from .trainer import Given, Trainer, TrainingResult, answered, check_examples

BATCH = 16  # records whose vectors are made together, without gradients
START = "start"  # the folder in a training's scratch that keeps the head it started with


def tower_network(towers: Towers, spec: TrainingSpec, classes: int) -> Any:
    """A torch module: a batch of ``Records`` -> logits float [b, classes], once it has a ``head``.

    Its method ``vectors`` gives the unit vectors of words and pictures, float [b, dt] and [b, dv], zeros where there
    are none: the same as MultimodalEncoder.towers. ``trained``: the part that was trained before.
    """
    import torch

    image = towers.encoder.image.network
    text: Any = None
    trained, pooling, dimension = image, "", towers.encoder.text.dimension  # of CLIP, which is one model
    if towers.text is not None:
        body, pooler, pooling, dimension = text_parts(towers.text, spec)
        text = pooled_network(body, pooler, towers.text.reading.types)
        trained = torch.nn.ModuleList([body, image])

    class TowerNetwork(torch.nn.Module):  # type: ignore[misc]  # torch comes without types here
        def __init__(self) -> None:
            super().__init__()
            self.text, self.image = text, image
            self.head: Any = None
            self.pooling, self.dimension, self.classes = pooling, dimension, classes

        @property
        def trained(self) -> Any:
            """Not a part beside those: each tensor is in a checkpoint once."""
            return trained

        def train(self, mode: bool = True) -> Any:
            """As in torch, but batch norms stay as they are in prediction.

            They would take mean and variance from a handful of pictures, and leave running ones for prediction that
            no step was made with. Their scale and shift are trained.
            """
            super().train(mode)
            for part in self.modules():
                if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                    part.eval()
            return self

        def forward(self, batch: dict[str, Any]) -> Any:
            return self.read(*self.vectors(batch))

        def vectors(self, batch: dict[str, Any]) -> tuple[Any, Any]:
            """Unit vectors of words and of pictures."""
            count, seen = len(batch["said"]), batch["of"]
            if isinstance(towers.encoder.text, ClipTowers):
                tokens = {name: tensor for name, tensor in batch.items() if name in ("input_ids", "attention_mask")}
                words = _unit(towers.encoder.text.text_features_of(tokens).float())
            else:
                words = self.text(batch["input_ids"], batch["attention_mask"]).float()
                if len(words) > count:
                    words = pool_windows(words, batch["owner"], batch["shares"], count)
            shown = torch.zeros(count, towers.encoder.image.dimension, device=words.device)
            if len(seen):
                inputs = {name.removeprefix(PICTURE): batch[name] for name in batch if name.startswith(PICTURE)}
                each = _unit(towers.encoder.image.features_of(inputs).float())
                shown = _unit(shown.index_add(0, seen, each))  # of several pictures, the mean
            return words * batch["said"].unsqueeze(1), shown

        def read(self, words: Any, shown: Any) -> Any:
            """Logits from the vectors, which are scaled as in encoders.fusion.scaled."""
            return self.head(words * words.shape[1] ** 0.5, shown * shown.shape[1] ** 0.5)

    return TowerNetwork()


def _unit(vectors: Any) -> Any:
    return vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-12)


def tower_vectors(network: Any, records: Records, device: str, watch: Watch, *, told: bool = False) -> TowerVectors:
    """What both towers of a ``tower_network`` say of ``records``. Leaves it in evaluation mode.

    ``told``: whether its progress is worth a report.
    """
    import torch

    network.eval()
    text = np.empty((len(records), network.dimension), np.float32)
    image = np.empty((len(records), records.encoder.image.dimension), np.float32)

    def read(rows: Sequence[int]) -> None:
        batch = {name: tensor.to(device) for name, tensor in records.batch(rows).items()}
        with torch.inference_mode(), half_precision(device):
            words, shown = network.vectors(batch)
        place = slice(rows[0], rows[-1] + 1)
        text[place], image[place] = words.float().cpu().numpy(), shown.float().cpu().numpy()

    batches = [range(at, min(at + BATCH, len(records))) for at in range(0, len(records), BATCH)]
    for rows in done_in_parts(batches, read, watch.check):
        if told:
            watch.tell("embedding", rows[-1] + 1, len(records))
    return TowerVectors(text, image)


class TowerTask(LabelTask[Records]):
    """A network of ``tower_network`` with its head on labelled records. A row is a record."""

    @property
    @override
    def body(self) -> Any:
        return self.network.trained

    @override
    def collate(self, rows: Any) -> dict[str, Any]:
        return super().collate(list(rows))

    @override
    def parts(self, batch: dict[str, Any], most: int) -> Iterator[dict[str, Any]]:
        rows = batch["row"].tolist()
        if len(rows) <= most:
            yield batch
            return
        for start in range(0, len(rows), most):
            yield self.collate(rows[start : start + most])

    @override
    def one(self, batch: dict[str, Any]) -> str:
        return "record"

    @override
    def forward(self, part: dict[str, Any]) -> Any:
        return self.network(part)

    @override
    def logits(self, texts: Records) -> npt.NDArray[np.float32]:
        import torch

        towers = tower_vectors(self.network, texts, self.device, self.watch)
        with torch.inference_mode():
            both = (torch.from_numpy(one).to(self.device) for one in (towers.text, towers.image))
            logits: npt.NDArray[np.float32] = self.network.read(*both).cpu().numpy()
        return logits


class TowerTuner(Trainer[Examples, TowerTask, Towers]):
    """Trains both towers with a fusion head."""

    kind = "fine-tune"

    @override
    def check(self, examples: Examples, held_out: Examples | None) -> None:
        check_examples(examples, held_out)

    @override
    def prepare(self, given: Given[Examples, Towers]) -> tuple[TowerTask, Vocabulary]:
        examples, held_out, towers = given.examples, given.held_out, given.encoder
        network = tower_network(towers, given.spec, len(examples.labels)).to(given.device)
        texts = [*examples.texts, *(held_out.texts if held_out is not None else ())]
        records = towers.records(texts, given.watch)
        first, rest = np.split(np.arange(len(texts)), [len(examples)])
        train = answered(records.take(first), examples)
        held = None if held_out is None else answered(records.take(rest), held_out)
        network.head = self._started(network, train, given).to(given.device)
        words = records.words
        if isinstance(words, ClipTexts):
            reads = getattr(network.image, "text_model", network.image)  # as CLIP, SigLIP and their kin call it
            vocabulary = Vocabulary(reads, words.batch(range(len(words)))["input_ids"].tolist())
        else:
            vocabulary = Vocabulary(network.text.encoder, words.windows.rows)
        return TowerTask(network, train, held, given.spec, given.device, given.watch), vocabulary

    def _started(self, network: Any, train: AnsweredTexts[Records], given: Given[Examples, Towers]) -> Any:
        """A fusion head that was trained on the network's own vectors as they are, as a torch module."""
        import torch

        place = given.scratch / f"{START}-{given.key}"
        if (place / "fusion.json").is_file():  # the training was killed later than this
            head = FusionHead.load(place)
        else:
            towers = tower_vectors(network, train.texts, given.device, given.watch, told=True)
            head = choose_head(towers, given.examples, given.spec, given.watch)
            place.mkdir(parents=True, exist_ok=True)
            head.save(place)
        spec = FusionSpec(head.kind, dropout=given.spec.dropout)
        module = fusion_network(spec, head.text_dimension, head.image_dimension, len(head.labels))
        module.load_state_dict({name: torch.from_numpy(value) for name, value in head.weights.items()})
        module.kind = head.kind
        return module

    @override
    def fit(self, task: TowerTask, given: Given[Examples, Towers]) -> tuple[Outcome, dict[str, float] | None]:
        if given.spec.members > 1 and len(given.examples) >= LEAST:
            return train_members(task, given)
        return super().fit(task, given)

    @override
    def save(self, folder: Path, task: TowerTask, given: Given[Examples, Towers], result: TrainingResult) -> None:
        towers, network, examples = given.encoder, task.network, given.examples
        if towers.text is None:
            towers.encoder.image.save(folder / CLIP_FOLDER)
        else:
            text = {"body": network.text.encoder, "pooler": network.text.pooler}
            read = SimpleNamespace(**text, pooling=network.pooling, dimension=network.dimension)
            save_encoder(folder / TEXT_FOLDER, read, towers.text)
            towers.encoder.image.save(folder / IMAGE_FOLDER)
        weights = {name: tensor.detach().float().numpy().copy() for name, tensor in network.head.state_dict().items()}
        head = FusionHead(
            kind=network.head.kind,
            weights=weights,
            labels=examples.labels,
            activation=activation_of(examples.targets),
            text_dimension=network.dimension,
            image_dimension=towers.encoder.image.dimension,
            temperature=result.temperature,
        )
        write_fused(folder, head, towers.spec, "")
        facts = result.facts(towers, given.spec, len(examples)) | {"windows": towers.spec.windows}
        save_head(folder, last_layer(head, len(examples)), examples.labels, facts)


def train_towers(
    encoder: EncoderSpec,
    examples: Examples,
    held_out: Examples | None,
    spec: TrainingSpec,
    folder: Path,
    *,
    scratch: Path,
    report: ProgressReport = no_report,
    stop: Callable[[], bool] = never,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> TrainingResult:
    """Train both towers of ``encoder`` and a head on records with pictures; else as Trainer.train does.

    Records whose pictures can't be read are left out. Raises what Trainer.train and ``open_towers`` do.
    """
    tuner = TowerTuner(checkpoint_seconds=checkpoint_seconds)
    texts = [*examples.texts, *(held_out.texts if held_out is not None else ())]
    towers = open_towers(encoder, texts, scratch, Watch(report, stop))
    kept, left = (None if one is None else one.take(towers.seen(one.texts)) for one in (examples, held_out))
    assert kept is not None  # noqa: S101  # only what is held out may be nothing
    result = tuner.train(towers, kept, left, spec, folder, scratch=scratch, report=report, stop=stop)
    if towers.text is not None:
        know_trained(folder / TEXT_FOLDER, towers.text, spec.pooling_of(towers.text.pooling), encoder.cache)
    return result
