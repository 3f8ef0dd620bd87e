"""A trained fusion head as an encoder: its fused vectors, on which the loop fits its probe after every label.

The folder is that of any trained model: ``head.safetensors`` is the last layer as a probe, ``fusion.*`` the layers
before it, and ``encoder.json`` names the encoder of both towers, which is not in the folder.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from nextlabel.backend.learning.atomic import write_atomically
from nextlabel.backend.learning.encoders import Encoder, FloatMatrix, load_encoder, usable_cores
from nextlabel.backend.learning.multimodal.encoder import MultimodalEncoder, TowerVectors
from nextlabel.backend.learning.multimodal.fusion import WEIGHTS_FILE, FusionHead, FusionKind
from nextlabel.connectors.errors import LearningError

if TYPE_CHECKING:
    from nextlabel.backend.learning.training.jobs import TrainingJob
    from nextlabel.backend.learning.training.progress import Report

FUSED_FILE = "fused.json"
"""What the encoder of both towers was loaded with."""
CHUNK = 64  # records encoded between two reports
PATIENCE = 40  # epochs; what needs both sides shows late


class FusedEncoder(MultimodalEncoder):
    """Encodes the strings of ``connectors.content`` as what the last layer of a fusion head reads. See Encoder."""

    def __init__(self, name: str, base: MultimodalEncoder, head: FusionHead, digest: str) -> None:
        super().__init__(name, base.text, base.image, base.rules, None, shared=False)
        self._base, self._head, self._digest = base, head, digest
        self.dimension = head.width
        self.fingerprint = (
            f"fused-{hashlib.blake2b(f'{base.fingerprint} {digest}'.encode(), digest_size=12).hexdigest()}"
        )

    def for_requests(self) -> FusedEncoder:
        """See MultimodalEncoder."""
        return FusedEncoder(self.name, self._base.for_requests(), self._head, self._digest)

    def towers(self, texts: Sequence[str]) -> TowerVectors:
        """See MultimodalEncoder: those of the encoder below, which keeps them."""
        return self._base.towers(texts)

    def encode(self, texts: Sequence[str]) -> FloatMatrix:
        """See Encoder."""
        return self._head.fused(self.towers(texts))

    def encode_labels(self, texts: Sequence[str]) -> FloatMatrix:
        """See MultimodalEncoder. The head has learned more than labels' words could tell."""
        return self.encode(texts)


def is_fused(folder: Path) -> bool:
    """Whether the model in ``folder`` is a fusion head."""
    return (folder / FUSED_FILE).is_file()


def fused_on(folder: Path) -> str:
    """The encoder that the head in ``folder`` was trained on. Raises LearningError."""
    return str(_facts(folder)["encoder"])


def load_fused(folder: Path, load: Callable[..., Encoder]) -> FusedEncoder:
    """The encoder that ``train_fused`` wrote; ``load`` is load_encoder with its options.

    Raises LearningError if it can't be read, or the encoder below is another one now.
    """
    facts = _facts(folder)
    base = load(facts["encoder"], max_length=facts["max_length"])
    if not isinstance(base, MultimodalEncoder) or base.fingerprint != facts["fingerprint"]:
        raise LearningError(
            f"{folder} was trained on the vectors of {facts['encoder']} ({facts['fingerprint']}), which makes others "
            f"now ({base.fingerprint}): another version of it, or another kind of device; train again"
        )
    digest = hashlib.blake2b((folder / WEIGHTS_FILE).read_bytes(), digest_size=8).hexdigest()
    return FusedEncoder(str(folder), base, FusionHead.load(folder), digest)


def train_fused(job: TrainingJob, folder: Path, report: Report, stop: Callable[[], bool]) -> None:
    """Train a fusion head as ``job`` says, and write it into the new ``folder``. Raises LearningError.

    Seconds, once the images are encoded; both towers keep what they have encoded, so a job that is killed goes on.
    """
    from nextlabel.backend.learning.multimodal.fusion_training import FusionSpec, train_fusion
    from nextlabel.backend.learning.training.progress import TrainingCancelled, TrainingProgress
    from nextlabel.backend.learning.training.saving import save_head, whole_folder

    started = time.monotonic()

    def tell(stage: str, done: int, total: int) -> None:
        if stop():
            raise TrainingCancelled("the training was stopped")
        report(TrainingProgress(stage, done, total, seconds=time.monotonic() - started))  # type: ignore[arg-type]

    kind, examples = job.spec.fusion, job.examples
    if kind == "none":
        raise LearningError("the recipe says `fusion: none`, so there is no head to train")
    threads = max(1, usable_cores() - 1)
    encoder = load_encoder(
        job.encoder,
        job.engine,
        max_length=job.max_length,
        cache_dir=job.cache_dir,
        threads=threads,
        windows=job.windows,
        images=job.images,
    )
    if not isinstance(encoder, MultimodalEncoder):
        raise LearningError(f"{job.encoder} encodes no images, so there is nothing to fuse")
    parts = []
    for at in range(0, len(examples.texts), CHUNK):
        tell("embedding", at, len(examples.texts))
        parts.append(encoder.towers(examples.texts[at : at + CHUNK]))
    towers = TowerVectors(np.concatenate([one.text for one in parts]), np.concatenate([one.image for one in parts]))
    kinds = get_args(FusionKind) if kind == "auto" else (kind,)
    heads = []
    for number, one in enumerate(kinds):
        tell("training", number, len(kinds))
        spec = FusionSpec(one, patience=PATIENCE, held_out=min(job.spec.held_out, 0.5), seed=job.spec.seed)
        heads.append(
            train_fusion(
                towers, examples.targets, examples.labels, spec, weights=examples.weights, groups=examples.groups
            )
        )
    head = min(heads, key=_loss)
    tell("training", len(kinds), len(kinds))
    facts = {"encoder": job.encoder, "fingerprint": encoder.fingerprint, "max_length": job.max_length}
    with whole_folder(folder) as partial:
        head.save(partial)
        write_atomically(partial / FUSED_FILE, (json.dumps(facts, indent=1) + "\n").encode())
        # The registry takes what transformers would call a model: a configuration beside the weights.
        write_atomically(partial / "config.json", b'{"model_type": "nextlabel-fusion"}\n')
        training = {"device": "cpu", "seconds": time.monotonic() - started, "epochs": len(head.history)}
        save_head(partial, head.probe(len(examples.texts)), examples.labels, training)


def _loss(head: FusionHead) -> float:
    """The lowest loss on what the head was not trained on, the same rows for all heads; without such, in training."""
    return min(epoch.get("held_out_loss", epoch["train_loss"]) for epoch in head.history)


def _facts(folder: Path) -> dict[str, str]:
    file = folder / FUSED_FILE
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        return {name: facts[name] for name in ("encoder", "fingerprint", "max_length")}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise LearningError(f"{file} can't be read: {error}; train the head again") from error
