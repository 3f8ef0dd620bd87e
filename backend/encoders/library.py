"""A model's folder as sentence-transformers reads it, or a refusal that names what stands in the way.

What a folder says about tokens, pooling and what comes after is read by the library that owns these files, and by
nothing else: a setting is as its maker meant it, or the folder is refused.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

from nextlabel.connectors.errors import LearningError

from .base import need

MODULES_FILE = "modules.json"
POOLER_FILE = "pooler.safetensors"
OWN_FILE = "nextlabel.json"
"""Beside the weights of a learned pooling or head, which no other library knows: which it is."""
POOLED = {"Pooling", "Dense", "LayerNorm", "Normalize", "Dropout"}
"""Modules of sentence-transformers that may follow the encoder: from its token vectors to one for the text."""
LOCAL = {"local_files_only": True, "trust_remote_code": False}
SET_IN_LOADING = {"dtype", "use_cache", "_name_or_path"}
"""Of a configuration of transformers: what is set the same whoever loads the model."""
SETTINGS_FILES = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json")


def modules_of(path: Path) -> list[dict[str, Any]]:
    """The modules of sentence-transformers in ``path``, as its modules.json names them; none without that file."""
    file = path / MODULES_FILE
    return list(read_json(file).get("list", [])) if file.is_file() else []


def kind_of(module: dict[str, Any]) -> str:
    """The name of a module's class."""
    return str(module.get("type", "")).rsplit(".", 1)[-1]


def body_of(path: Path) -> Path:
    """Where the weights of the transformer are: ``path`` itself, or the folder of its first module."""
    modules = modules_of(path)
    return path / str(modules[0].get("path", "")) if modules else path


def is_model(path: Path) -> bool:
    """Whether ``path`` holds a model, of whatever kind."""
    return any((path / file).is_file() for file in ("config.json", MODULES_FILE, "adapter_config.json"))


def read_json(file: Path) -> dict[str, Any]:
    """A JSON file; a list is given under ``list``. Raises LearningError."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LearningError(f"{file} can't be read as JSON: {error}") from error
    return data if isinstance(data, dict) else {"list": data}


def refuse_code(path: Path) -> None:
    """Raises LearningError if the model in ``path`` wants to run code of its own, before any library could ask."""
    for folder in dict.fromkeys((path, body_of(path))):
        for file in map(folder.joinpath, SETTINGS_FILES):
            if file.is_file() and read_json(file).get("auto_map"):
                raise LearningError(
                    f"{file} wants code of its own run (auto_map), which nextlabel never does: convert the model to an "
                    "architecture that transformers has, or name another"
                )
    for module in modules_of(path):
        if not str(module.get("type", "")).startswith("sentence_transformers."):
            raise LearningError(
                f"{path / MODULES_FILE} wants code of its own run ({module.get('type')}), which nextlabel never does; "
                "name another model"
            )


def refuse_parts(path: Path) -> None:
    """Raises LearningError if ``path`` holds parts that make no vector of a text out of its tokens."""
    if (body_of(path) / "adapter_config.json").is_file():
        raise LearningError(
            f"{path} is an adapter (adapter_config.json), not a whole model; put it into the model that it is for: "
            "peft.AutoPeftModel.from_pretrained(folder).merge_and_unload().save_pretrained(new_folder)"
        )
    modules = modules_of(path)
    if modules and kind_of(modules[0]) != "Transformer":
        raise LearningError(
            f"{path} begins with a {kind_of(modules[0])!r} module; only models of transformers are read"
        )
    for module in modules[1:]:
        kind, file = kind_of(module), path / str(module.get("path", "")) / "config.json"
        if kind not in POOLED:
            raise LearningError(f"{path} needs a {kind!r} module after its encoder, which is not supported")
        if kind == "Dense":
            _refuse_dense(file)


def _refuse_dense(file: Path) -> None:
    settings = read_json(file)
    activation = str(settings.get("activation_function") or "torch.")
    if not activation.startswith("torch."):
        raise LearningError(f"{file}: activation_function {activation} is code of its own, which nextlabel never runs")
    for name in ("module_input_name", "module_output_name"):
        if settings.get(name) not in (None, "sentence_embedding"):
            raise LearningError(f"{file}: {name} {settings[name]!r} is not supported; sentence_embedding is")


def load_library(path: Path, *, attention: str | None = None) -> Any:
    """The model in ``path`` as a SentenceTransformer on the CPU, in float32. Raises LearningError and MissingExtra.

    ``attention``: one of transformers' implementations; None is the fastest that the model has.
    """
    need("torch", "transformers", "sentence_transformers")
    import torch

    refuse_code(path)
    refuse_parts(path)
    options: dict[str, Any] = {"use_safetensors": True, "dtype": torch.float32}
    if attention is not None:
        options["attn_implementation"] = attention
    with quiet():
        from sentence_transformers import SentenceTransformer

        try:
            library = SentenceTransformer(
                str(path), device="cpu", local_files_only=True, trust_remote_code=False, model_kwargs=options
            )
        except Exception as error:  # a configuration or a file that the libraries can't make sense of
            raise LearningError(f"{path} can't be loaded as a text encoder: {error}") from error
    _refuse_inputs(path, library[0])
    config = library[0].auto_model.config
    if getattr(config, "attention_type", None) == "block_sparse":  # BigBird: the first short text would change it
        library[0].auto_model.set_attention_type("original_full")
    return library.eval()


def load_network(path: Path, *, attention: str | None = None) -> Any:
    """The transformer of ``path`` as ``load_library`` has it, where it ``is_plain``: sentence-transformers, which takes
    longer to import than most models to load, is left out. Raises LearningError and MissingExtra.
    """
    need("torch", "transformers")
    import torch

    refuse_code(path)
    options: dict[str, Any] = {"use_safetensors": True, "dtype": torch.float32, **LOCAL}
    if attention is not None:
        options["attn_implementation"] = attention
    with quiet():
        from transformers import AutoConfig, AutoModel

        try:
            config = AutoConfig.from_pretrained(body_of(path), **LOCAL)
            if hasattr(config, "use_cache"):
                config.use_cache = False
            network = AutoModel.from_pretrained(body_of(path), config=config, **options)
        except Exception as error:  # a file that has changed since it was inspected
            raise LearningError(f"{path} can't be loaded as a text encoder: {error}") from error
    return network.eval()


def is_plain(path: Path, network: Any) -> bool:
    """Whether ``network``, which sentence-transformers has loaded from ``path``, is the one that transformers loads.

    It is where the class is the one that goes with the configuration, and the configuration is the one in the file:
    the weights are read from the same files in the same way.
    """
    from transformers import MODEL_MAPPING, AutoConfig

    for file in body_of(path).glob("sentence_*_config.json"):
        if any(read_json(file).get(f"{part}_{kind}") for part in ("model", "config") for kind in ("args", "kwargs")):
            return False
    config = AutoConfig.from_pretrained(body_of(path), **LOCAL)
    if config.sub_configs or getattr(config, "attention_type", None) or type(config) not in MODEL_MAPPING:
        return False
    said, has = (
        {name: value for name, value in one.to_dict().items() if name not in SET_IN_LOADING}
        for one in (config, network.config)
    )
    return MODEL_MAPPING[type(config)] is type(network) and said == has


def _refuse_inputs(path: Path, transformer: Any) -> None:
    """Raises LearningError if a text goes into the first module in another way than as its tokens."""
    takes = signature(transformer.auto_model.forward).parameters
    if "text" not in transformer.modality_config or "input_ids" not in takes:
        raise LearningError(f"{path} is not a text encoder: it makes no token vectors of a text")
    if "message" in transformer.modality_config:
        raise LearningError(
            f"{path} puts every text into a chat template (chat_template), which is not supported; say "
            "`modality_config` for plain text in its sentence_bert_config.json, or remove the template"
        )
    how = transformer.modality_config["text"]
    if (how["method"], how["method_output_name"]) != ("forward", "last_hidden_state"):
        raise LearningError(f"{path}: modality_config {how} is not supported; last_hidden_state of forward is")
    if transformer.processing_kwargs:
        raise LearningError(f"{path}: processing_kwargs {transformer.processing_kwargs} are not supported")


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of both libraries, and no warnings: of poolers that are not used, prompts, and the like."""
    from transformers.utils import logging as chatter

    chatter.disable_progress_bar()
    theirs = logging.getLogger("sentence_transformers")
    verbosity, level = chatter.get_verbosity(), theirs.level
    chatter.set_verbosity_error()
    theirs.setLevel(logging.ERROR)
    try:
        yield
    finally:
        chatter.set_verbosity(verbosity)
        theirs.setLevel(level)
