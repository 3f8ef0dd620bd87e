"""What a model's folder means, found out by loading it with the libraries that own its files.

What they make of some texts is compared with what we make of them. Where that is not the same, or depends on the texts
in the same batch, the folder is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.connectors.errors import LearningError

from .heads import OWN_HEAD
from .library import OWN_FILE, POOLER_FILE, body_of, is_plain, kind_of, load_library, modules_of, quiet, read_json
from .network import LEARNED, POOLINGS, load_pooler, pooled_network, token_vectors

SAMPLE = (
    "The quick brown fox jumps over the lazy dog.",
    "MY PARCEL BROKE, and the Refund Failed: Ärger & naïveté \u00a3 3.50!",
    "\n\n   blanks around  \t and   within \r\n ",
    "don't [SEP] </s> stop 😀 日本語のテキスト مرحبا",
    "word " * 40 + "end",
    "I",
    "",
)
SAMPLE_LENGTHS = (12, 40)  # tokens that the sample is cut to
LARGEST_DIFFERENCE = 1e-4  # of an entry of a unit vector
NO_END = 1_000_000  # tokens: what tokenizers say that know no end
LARGEST_TRAINED = 1_500_000_000  # bytes of weights up to which a step of training is tried


@dataclass(frozen=True, slots=True)
class Reading:
    """How a model reads texts.

    ``dimension`` is the length of a text's vector, ``width`` that of a token's. ``length``: tokens that its maker has
    it read, 0 if nothing says; ``limit``: tokens that it can read, 0 if there is no end. ``pooling``: one of POOLINGS,
    OWN_HEAD, or a name for what only sentence-transformers' own modules do. ``types``: token types of the first and of
    the last token; those between are 0. ``left``: a text that is too long loses its beginning. ``prompted`` is false if
    the prompt's tokens are left out of the pooling. ``extra``: a digest of all that vectors depend on beside the
    weights, pooling, length and tokenizer.json; empty for most. ``untrainable``: why it can't be trained, or empty;
    ``tags``: whether transformers has a class of it for marking tokens. ``plain``: see library.is_plain.
    """

    dimension: int
    width: int
    length: int
    limit: int
    pooling: str
    prompt: str = ""
    prompted: bool = True
    types: tuple[int, int] = (0, 0)
    left: bool = False
    extra: str = ""
    untrainable: str = ""
    tags: bool = True
    plain: bool = False


def read(path: Path) -> tuple[Reading, str]:
    """How the model in ``path`` reads texts, and its tokenizer as JSON. Raises LearningError."""
    library = load_library(path)
    from transformers import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING

    body = library[0].auto_model
    _refuse_missing_weights(path, body)
    tokenizer = _rust_tokenizer(path, library[0].tokenizer)
    pooling, (length, limit) = _pooling(path, library), _lengths(path, library)
    left = library[0].tokenizer.truncation_side == "left"
    prompt = str(library.prompts.get(library.default_prompt_name) or "")
    rows, types = _tokens(path, library, tokenizer, prompt, left, limit)
    prompted = all(getattr(module, "include_prompt", True) for module in library)
    alone = 0 if prompted or not prompt else prompt_tokens(tokenizer, prompt)
    network = pooled_network(body, load_pooler(library, path, pooling, _width(body, rows), alone), types)
    vectors = _vectors(path, library, network, rows, pooling not in (*LEARNED, OWN_HEAD))
    small = sum(file.stat().st_size for file in body_of(path).glob("*.safetensors")) <= LARGEST_TRAINED
    return Reading(
        dimension=vectors.shape[1],
        width=_width(body, rows),
        length=length,
        limit=limit,
        pooling=pooling,
        prompt=prompt,
        prompted=prompted,
        types=types,
        left=left,
        extra=_extra(path, tokenizer, pooling, types, left),
        untrainable=_untrainable(network, rows) if small else "",
        tags=type(body.config) in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
        plain=is_plain(path, body),
    ), tokenizer


def _refuse_missing_weights(path: Path, body: Any) -> None:
    if _has_all(path, body):
        return
    import torch

    # Some have other names in the file than in memory, and which are the same only the library knows, as it loads them.
    with quiet():
        _, found = type(body).from_pretrained(
            body_of(path), config=body.config, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    if missing := sorted(name for name in found["missing_keys"] if "pooler" not in name):
        raise LearningError(
            f"{path} lacks weights of the encoder, {missing[0]} and {len(missing) - 1} more, which would be "
            "random numbers; get the model anew, or check that config.json goes with model.safetensors"
        )


def _has_all(path: Path, body: Any) -> bool:
    """Whether the files name every weight of the encoder as it does itself, with its prefix or without."""
    from safetensors import safe_open

    there: set[str] = set()
    for file in body_of(path).glob("model*.safetensors"):
        with safe_open(file, "numpy") as weights:
            there |= set(weights.keys())
    wanted = [name for name in body.state_dict() if "pooler" not in name]
    return any(there.issuperset(f"{prefix}{name}" for name in wanted) for prefix in ("", f"{body.base_model_prefix}."))


def _rust_tokenizer(path: Path, tokenizer: Any) -> str:
    """The tokenizer as JSON, which cuts and pads nothing. Raises LearningError."""
    from tokenizers import Tokenizer

    try:
        return _plain(Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()))
    except Exception as error:  # one in Python, or with parts in Python
        raise LearningError(
            f"{path}: its tokenizer ({type(tokenizer).__name__}) has no form as a tokenizer.json: {error}"
        ) from error


def _plain(tokenizer: Any) -> str:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return str(tokenizer.to_str())


def _pooling(path: Path, library: Any) -> str:
    """One of POOLINGS, or a name for what sentence-transformers' modules do. Raises LearningError."""
    if (own := path / OWN_FILE).is_file():
        learned = read_json(own).get("pooling")
        if learned not in (*LEARNED, OWN_HEAD):
            raise LearningError(f"{own}: pooling {learned!r} is unknown; {' and '.join(LEARNED)} are learned")
        if not (path / POOLER_FILE).is_file():
            raise LearningError(f"{own} names the learned pooling {learned!r}, but there is no {POOLER_FILE} beside it")
        return str(learned)
    modules = list(library)[1:]
    if not modules or not hasattr(modules[0], "pooling_mode"):
        raise LearningError(f"{path} has no Pooling module after its encoder, so it makes no vector of a text")
    modes = modules[0].pooling_mode
    names = [modes] if isinstance(modes, str) else list(modes)
    names += [] if modules[0].include_prompt else ["unprompted"]
    names += [name for module in modules[1:] if (name := type(module).__name__.lower()) != "normalize"]
    return "-".join(names).replace("_", "-")


def positions_of(body: Any) -> int:
    """How many tokens a network of transformers has positions for; 0 where there is no end."""
    said = getattr(body.config, "max_position_embeddings", 0)
    limits = [said] if isinstance(said, int) and said > 0 else []
    for name, table in body.named_modules():
        # RoBERTa and its kin count positions from the one after the padding's.
        if name.endswith("position_embeddings") and getattr(table, "padding_idx", None) is not None:
            limits.append(len(table.weight) - table.padding_idx - 1)
    return min(limits, default=0)


def _lengths(path: Path, library: Any) -> tuple[int, int]:
    """How many tokens the model's maker has it read, and how many it can read; 0 where there is no end."""
    limit, length = positions_of(library[0].auto_model), library.max_seq_length or 0
    settings = path / "sentence_bert_config.json"
    if (path / OWN_FILE).is_file() and settings.is_file() and not modules_of(path):
        length = read_json(settings).get("max_seq_length") or length
    length = 0 if length > NO_END else int(length)
    return (min(length, limit) if limit else length), limit


def cut(tokenizer: Any, length: int, *, left: bool, stride: int = 0) -> None:
    """Have a Rust tokenizer cut texts at ``length`` tokens, in place; what is past them goes into more encodings."""
    tokenizer.enable_truncation(length, stride=stride, direction="left" if left else "right")


def prompt_tokens(tokenizer: str, prompt: str) -> int:
    """How many tokens ``prompt`` has at the beginning of a text."""
    from tokenizers import Tokenizer

    encoding = Tokenizer.from_str(tokenizer).encode(prompt)
    return len(encoding.ids) - bool(encoding.special_tokens_mask and encoding.special_tokens_mask[-1])


def _tokens(
    path: Path, library: Any, tokenizer: str, prompt: str, left: bool, limit: int
) -> tuple[list[list[int]], tuple[int, int]]:
    """Token ids of the sample, and token types of the first and the last token.

    Raises LearningError if the library makes others.
    """
    from inspect import signature

    from tokenizers import Tokenizer

    ours = Tokenizer.from_str(tokenizer)
    takes_types = "token_type_ids" in signature(library[0].auto_model.forward).parameters
    rows: list[list[int]] = []
    kinds: set[tuple[int, int]] = set()
    for length in SAMPLE_LENGTHS:
        length = min(length, limit) if limit else length
        library.max_seq_length = length
        cut(ours, length, left=left)
        rows = []
        for text in SAMPLE:
            features = library[0].preprocess([text], prompt=prompt or None)
            rows.append([int(one) for one in features["input_ids"][0]])
            if rows[-1] != ours.encode(prompt + text).ids:
                name = type(library[0].tokenizer).__name__
                raise LearningError(f"{path}: its tokenizer ({name}) makes other tokens than its tokenizer.json can")
            if takes_types and rows[-1] and "token_type_ids" in features:
                kinds.add(_ends(path, [int(one) for one in features["token_type_ids"][0]]))
    if len(kinds) > 1:
        raise LearningError(f"{path}: its tokenizer sets token_type_ids in a way that is not supported")
    return rows, next(iter(kinds), (0, 0))


def _ends(path: Path, types: list[int]) -> tuple[int, int]:
    if any(types[1:-1]) or len(types) < 2:
        raise LearningError(f"{path}: its tokenizer sets token_type_ids in a way that is not supported")
    return types[0], types[-1]


def _width(body: Any, rows: Sequence[Sequence[int]]) -> int:
    import torch

    ids = torch.tensor([rows[0]])
    with torch.inference_mode():
        return int(token_vectors(body, ids, torch.ones_like(ids)).shape[-1])


def _vectors(path: Path, library: Any, network: Any, rows: Sequence[list[int]], known: bool) -> npt.NDArray[np.float32]:
    """Vectors of the sample, float32 [n, d]. Raises LearningError if they depend on more than the text.

    ``known``: whether the library can tell what they should be.
    """
    alone = np.concatenate([_run(network, [row]) for row in rows if row])
    if not np.isfinite(alone).all():
        raise LearningError(f"{path} makes vectors that are no numbers")
    name = type(library[0].auto_model).__name__
    again = np.concatenate([_run(network, [row]) for row in rows if row])
    if np.abs(alone - again).max() > LARGEST_DIFFERENCE:
        raise LearningError(f"{path}: a {name} makes another vector of a text each time, so it can't be used")
    together = _run(network, [row for row in rows if row])
    if np.abs(alone - together).max() > LARGEST_DIFFERENCE:
        raise LearningError(
            f"{path}: a {name} makes another vector of a text beside longer ones than alone, so it can't be used"
        )
    texts = [text for text, row in zip(SAMPLE, rows, strict=True) if row]
    if known:
        theirs = library.encode(texts, batch_size=1, normalize_embeddings=True, show_progress_bar=False)
        if np.abs(alone - theirs).max() > LARGEST_DIFFERENCE:
            raise LearningError(f"{path}: sentence-transformers makes other vectors of a {name} than nextlabel can")
    return alone


def _run(network: Any, rows: Sequence[list[int]]) -> npt.NDArray[np.float32]:
    """Unit vectors float32 [n, d] of token ids, padded to one length."""
    import torch

    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    with torch.inference_mode():
        vectors: npt.NDArray[np.float32] = network(ids, mask).numpy()
    return vectors


def _extra(path: Path, tokenizer: str, pooling: str, types: tuple[int, int], left: bool) -> str:
    """See Reading."""
    from tokenizers import Tokenizer

    plain, parts = body_of(path) / "tokenizer.json", []
    if not plain.is_file() or json.loads(_plain(Tokenizer.from_file(str(plain)))) != json.loads(tokenizer):
        parts.append(tokenizer.encode())
    if any(types) or left:
        parts.append(json.dumps([types, left]).encode())
    if pooling == OWN_HEAD:
        parts.append((path / OWN_FILE).read_bytes())
    elif pooling not in POOLINGS:
        folders = (path / module["path"] for module in modules_of(path)[1:] if kind_of(module) != "Normalize")
        parts += [file.read_bytes() for folder in folders for file in sorted(folder.glob("*")) if file.is_file()]
    return hashlib.blake2b(b"\0".join(parts), digest_size=4).hexdigest() if parts else ""


def _untrainable(network: Any, rows: Sequence[list[int]]) -> str:
    """Why a step of training fails; empty if it doesn't."""
    import torch

    ids = torch.tensor([max(rows, key=len)])
    try:
        network.encoder.get_input_embeddings()
        with torch.random.fork_rng(devices=[]):
            network.train()(ids, torch.ones_like(ids)).sum().backward()
        grads = [parameter.grad for parameter in network.encoder.parameters() if parameter.grad is not None]
        if not grads or not all(torch.isfinite(grad).all() for grad in grads):
            return "its weights get no gradients"
    except Exception as error:  # whatever the model's own class raises
        return " ".join(str(error).split()) or type(error).__name__
    finally:
        network.eval().zero_grad(set_to_none=True)
    return ""
