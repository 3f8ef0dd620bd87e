"""Fusion heads: from what both towers say to labels, where a label may need both.

``concatenation``  both vectors side by side, and a hidden layer over them (none with ``hidden=0``: a linear head)
``product``        both projected to one length and multiplied (Kim et al. 2017, "Hadamard Product for Low-rank
                   Bilinear Pooling")
``gated``          both projected, and a gate that sees both decides how much of each goes on (Arevalo et al. 2017,
                   "Gated Multimodal Units for Information Fusion")

What comes out is scaled to one length, and a linear layer on it gives the labels: so a head splits into vectors like
any encoder's, and a probe on them. It is trained on the towers' vectors, which are made once (see
``multimodal.MultimodalEncoder.towers``), in seconds, and predicts with numpy alone.

A trained head is an encoder too: its fused vectors are what the loop fits its probe on after every label. The folder is
that of any trained model: ``head.safetensors`` is the last layer as a probe, ``fusion.*`` the layers before it, and
``fused.json`` names the encoder of both towers. That one is not in the folder, unless it was trained together with the
head: then its towers are, in ``text`` and ``image``, or both in ``clip``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.backend.activation import Activation, activation_in
from nextlabel.backend.blas import one_blas_thread
from nextlabel.backend.data.image_rules import ImageProblem
from nextlabel.backend.files import atomic_path, write_atomically
from nextlabel.backend.numeric import unit_rows
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import LearningError

from .base import Encoder, EncoderSpec, FloatMatrix
from .multimodal import MultimodalEncoder, Sides, TowerVectors, is_multimodal, load_multimodal

FusionKind: TypeAlias = Literal["concatenation", "product", "gated"]
Matrix: TypeAlias = npt.NDArray[np.float32]

FORMAT = "nextlabel-fusion-2"
WEIGHTS_FILE, HEADER_FILE = "fusion.safetensors", "fusion.json"
FUSED_FILE = "fused.json"
"""What the encoder of both towers was loaded with."""
CLIP_FOLDER, TEXT_FOLDER, IMAGE_FOLDER = "clip", "text", "image"
"""Where towers are that were trained together with the head."""


@dataclass(frozen=True, slots=True)
class FusionHead:
    """A fitted head. Immutable; safe to share between threads.

    ``weights`` by name, float32; ``temperature`` divides the logits; ``history`` has one entry per epoch, with ``loss``
    and, where rows were held out, their ``log_loss`` (before the temperature) and ``macro_f1``.
    """

    kind: FusionKind
    weights: Mapping[str, Matrix]
    labels: tuple[str, ...]
    activation: Activation
    text_dimension: int
    image_dimension: int
    temperature: float = 1.0
    history: tuple[Mapping[str, float], ...] = field(default=(), repr=False)

    def predict_proba(self, towers: TowerVectors) -> Matrix:
        """float32 [n, c]: rows sum to 1, or each label apart when multi-label."""
        shape = (towers.text.shape[1], towers.image.shape[1])
        if shape != (self.text_dimension, self.image_dimension):
            raise LearningError(
                f"the head takes texts of {self.text_dimension} and images of {self.image_dimension} numbers, "
                f"not {shape[0]} and {shape[1]}"
            )
        with one_blas_thread():
            return self.activation.probabilities(self.logits(towers) / np.float32(self.temperature))

    @property
    def width(self) -> int:
        """Length of a fused vector."""
        return int(self.weights["out.weight"].shape[1])

    def logits(self, towers: TowerVectors) -> Matrix:
        """float32 [n, c], before temperature."""
        return self._linear("out", self.fused(towers) * np.float32(self.width**0.5))

    def fused(self, towers: TowerVectors) -> Matrix:
        """What the last layer reads: unit vectors float32 [n, width]."""
        text, image = scaled(towers)
        if self.kind == "concatenation":
            hidden = np.concatenate([text, image], axis=1)
            if "hidden.weight" in self.weights:
                hidden = np.maximum(self._linear("hidden", hidden), 0)
        else:
            from_text, from_image = np.tanh(self._linear("text", text)), np.tanh(self._linear("image", image))
            if self.kind == "product":
                hidden = from_text * from_image
            else:
                opening = self._linear("gate", np.concatenate([text, image], axis=1))
                gate = 1 / (1 + np.exp(-opening.clip(-60, 60)))
                hidden = gate * from_text + (1 - gate) * from_image
        return unit_rows(hidden)

    def _linear(self, name: str, x: Matrix) -> Matrix:
        return np.asarray(x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"], np.float32)

    def save(self, folder: str | Path) -> None:
        """Write fusion.safetensors and fusion.json into ``folder``: numbers and words, no code."""
        from safetensors.numpy import save_file

        header = {
            "format": FORMAT,
            "kind": self.kind,
            "labels": list(self.labels),
            **self.activation.header,
            "text_dimension": self.text_dimension,
            "image_dimension": self.image_dimension,
            "temperature": self.temperature,
            "history": [dict(epoch) for epoch in self.history],
        }
        with atomic_path(Path(folder) / WEIGHTS_FILE) as file:
            save_file({name: np.ascontiguousarray(value) for name, value in self.weights.items()}, file)
        write_atomically(Path(folder) / HEADER_FILE, (json.dumps(header, indent=1) + "\n").encode())

    @classmethod
    def load(cls, folder: str | Path) -> FusionHead:
        """Read what ``save`` wrote. Raises LearningError for anything else."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            header = json.loads((Path(folder) / HEADER_FILE).read_text(encoding="utf-8"))
            if header.get("format") != FORMAT:
                raise LearningError(f"{folder} is not a fusion head of this version ({FORMAT}); train it again")
            head = cls(
                kind=header["kind"],
                weights=load_file(Path(folder) / WEIGHTS_FILE),
                labels=tuple(header["labels"]),
                activation=activation_in(header),
                text_dimension=int(header["text_dimension"]),
                image_dimension=int(header["image_dimension"]),
                temperature=float(header["temperature"]),
                history=tuple(header["history"]),
            )
            zeros = TowerVectors(
                np.zeros((1, head.text_dimension), np.float32), np.zeros((1, head.image_dimension), np.float32)
            )
            if head.kind not in get_args(FusionKind) or head.logits(zeros).shape != (1, len(head.labels)):
                raise ValueError("its weights don't fit its header")
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise LearningError(f"{folder} can't be read as a fusion head: {error}; train it again") from error
        return head


def scaled(towers: TowerVectors) -> tuple[Matrix, Matrix]:
    """Both vectors with numbers of about 1: unit vectors times the root of their length, as layers start from."""
    text, image = towers.text, towers.image
    return text * np.float32(text.shape[1] ** 0.5), image * np.float32(image.shape[1] ** 0.5)


class FusedEncoder(MultimodalEncoder):
    """Encodes contents as what the last layer of a fusion head reads. See Encoder."""

    def __init__(self, name: str, base: MultimodalEncoder, head: FusionHead, digest: str) -> None:
        super().__init__(name, base.text, base.image, base.rules, None, shared=False)
        self.base, self._head, self._digest = base, head, digest
        self.dimension = head.width
        self.fingerprint = (
            f"fused-{hashlib.blake2b(f'{base.fingerprint} {digest}'.encode(), digest_size=12).hexdigest()}"
        )

    @override
    def for_requests(self) -> FusedEncoder:
        return FusedEncoder(self.name, self.base.for_requests(), self._head, self._digest)

    @override
    def towers(self, texts: Sequence[Readable]) -> TowerVectors:
        return self.base.towers(texts)  # which keeps them

    @override
    def fetched(self, texts: Sequence[Readable]) -> list[Readable | ImageProblem]:
        return self.base.fetched(texts)

    @override
    def look_again(self, texts: Iterable[Readable], stopping: Callable[[], bool] = lambda: False) -> None:
        self.base.look_again(texts, stopping)

    @override
    def problem(self, text: Readable) -> ImageProblem | None:
        return self.base.problem(text)

    @override
    def encode(self, texts: Sequence[Readable]) -> FloatMatrix:
        towers = self.towers(texts)
        vectors = np.full((len(texts), self.dimension), np.nan, np.float32)
        vectors[towers.seen] = self._head.fused(towers.take(towers.seen))
        return vectors

    @override
    def encode_labels(self, texts: Sequence[str]) -> FloatMatrix:
        return self.encode(texts)  # the head has learned more than labels' words could tell


def is_fused(folder: Path) -> bool:
    """Whether the model in ``folder`` is a fusion head, with towers of its own or without."""
    return (folder / FUSED_FILE).is_file()


def has_towers(name: str) -> bool:
    """Whether the encoder called ``name`` has a tower for texts and one for pictures."""
    return is_multimodal(name) or is_fused(Path(name))


def fused_on(folder: Path) -> str:
    """The encoder that the head in ``folder`` was trained on, or its own towers began as. Raises LearningError."""
    return str(_facts(folder)["encoder"])


def own_sides(folder: Path) -> Sides | None:
    """The towers in ``folder`` that were trained together with its head; None where there are none."""
    if (folder / CLIP_FOLDER).is_dir():
        return Sides(clip=str(folder / CLIP_FOLDER))
    if (folder / TEXT_FOLDER).is_dir() and (folder / IMAGE_FOLDER).is_dir():
        return Sides(text=str(folder / TEXT_FOLDER), image=str(folder / IMAGE_FOLDER))
    return None


def sides_of(name: str) -> Sides:
    """What the towers of the encoder called ``name`` are loaded from, of a fusion head's too. Raises ConfigError for an
    encoder without two, LearningError for a head that can't be read.
    """
    if not is_fused(Path(name)):
        return Sides.of(name)
    return own_sides(Path(name)) or sides_of(fused_on(Path(name)))


def write_fused(folder: Path, head: FusionHead, spec: EncoderSpec, fingerprint: str) -> None:
    """Write ``head`` and what it stands on: the encoder that ``spec`` names, or towers that are in ``folder``.

    ``fingerprint``: of the encoder whose vectors it reads; "" for towers in the folder, which can't be others.
    """
    head.save(folder)
    told = {"encoder": spec.name, "max_length": spec.max_length, "engine": spec.engine}
    facts = {"fingerprint": fingerprint, **told}
    write_atomically(folder / FUSED_FILE, (json.dumps(facts, indent=1) + "\n").encode())
    # The registry takes what transformers would call a model: a configuration beside the weights.
    write_atomically(folder / "config.json", b'{"model_type": "nextlabel-fusion"}\n')


def load_fused(
    spec: EncoderSpec, load: Callable[[EncoderSpec], Encoder], *, threads: int | None = None
) -> FusedEncoder:
    """The encoder in the folder that ``spec`` names; ``load`` loads the one below, as ``spec`` says.

    Raises LearningError if it can't be read, or the encoder below is another one now.
    """
    folder = Path(spec.name)
    facts, head, sides = _facts(folder), FusionHead.load(folder), own_sides(folder)
    digest = hashlib.blake2b((folder / WEIGHTS_FILE).read_bytes(), digest_size=8).hexdigest()
    below = replace(spec, max_length=facts["max_length"])
    if sides is not None:  # their weights are in the folder, and part of their fingerprints
        return FusedEncoder(str(folder), load_multimodal(below, load, sides, threads=threads), head, digest)
    base = load(replace(below, name=facts["encoder"], engine=facts["engine"] if spec.engine == "auto" else spec.engine))
    if not isinstance(base, MultimodalEncoder) or base.fingerprint != facts["fingerprint"]:
        raise LearningError(
            f"{folder} was trained on the vectors of {facts['encoder']} ({facts['fingerprint']}), which makes others "
            f"now ({base.fingerprint}): another version of it, or another kind of device; train again"
        )
    return FusedEncoder(str(folder), base, head, digest)


def _facts(folder: Path) -> dict[str, Any]:
    file = folder / FUSED_FILE
    try:
        facts = {"engine": "auto", **json.loads(file.read_text(encoding="utf-8"))}  # older ones don't name it
        return {name: facts[name] for name in ("encoder", "fingerprint", "max_length", "engine")}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise LearningError(f"{file} can't be read: {error}; train the head again") from error
