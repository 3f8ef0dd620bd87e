"""What an exported model's folder holds beside the weights: the tokenizer, and how to use the model."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nextlabel.backend.learning.model_folder import ModelFolder
from nextlabel.connectors.errors import LearningError, MissingExtra

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``out`` that becomes ``out`` when the block ends well, and vanishes if not.

    Raises LearningError if ``out`` is there and not empty, or can't be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LearningError(f"{out} is there already; name a new folder")
    work = out.absolute().parent / f".{out.name}-{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        work.mkdir(parents=True)
        yield work
        work.replace(out)
    except OSError as error:
        reason = "the disk is full" if error.errno in _NO_ROOM else str(error)
        raise LearningError(f"{out} can't be written: {reason}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def need(*modules: str) -> None:
    """Raises MissingExtra for the first of ``modules`` that is not installed."""
    for module in modules:
        if find_spec(module) is None:
            raise MissingExtra(module, "train")


def write_tokenizer(folder: ModelFolder, source: Path, out: Path) -> None:
    """Write the tokenizer.json at ``source`` and its settings, so that transformers makes the tokens that we make.

    Texts are cut at ``folder.max_length`` tokens where truncation is asked for, and the model's prompt is prepended.
    """
    from tokenizers import Tokenizer, normalizers

    tokenizer = Tokenizer.from_file(str(source))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if folder.prompt:
        steps = [normalizers.Prepend(folder.prompt), *([tokenizer.normalizer] if tokenizer.normalizer else [])]
        tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.save(str(out / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # takes tokenizer.json as it is, in every version
        "model_max_length": folder.max_length,
        "model_input_names": ["input_ids", "attention_mask"],  # one segment a text: its type ids are all 0
        "truncation_side": "right",
        "padding_side": "right",
        "clean_up_tokenization_spaces": False,
        **_special_tokens(folder, tokenizer),
    }
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=1, ensure_ascii=False), encoding="utf-8")


def _special_tokens(folder: ModelFolder, tokenizer: Any) -> dict[str, str]:
    """The names of padding and the like, from whichever file of the folder says them."""
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token", "bos_token", "eos_token")
    found: dict[str, str] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        try:
            said = json.loads((folder.path / file).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        for name in names:
            token = said.get(name)
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str) and tokenizer.token_to_id(token) is not None:
                found[name] = token
    if "pad_token" not in found:
        config = json.loads((folder.path / "config.json").read_text(encoding="utf-8"))
        found["pad_token"] = tokenizer.id_to_token(config.get("pad_token_id") or 0)
    return found


def pipeline_usage(trust: bool) -> str:
    """Python that loads the exported folder into a pipeline."""
    code = ", trust_remote_code=True" if trust else ""
    return (
        "from transformers import pipeline\n\n"
        f'classify = pipeline("text-classification", model="THIS_FOLDER", truncation=True, top_k=None{code})\n'
        'classify("a text")  # every label with its probability; keep the weights in float32'
    )


ONNX_USAGE = """\
import json
import numpy, onnxruntime, tokenizers

labels = json.load(open("labels.json"))["labels"]
tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")
tokenizer.enable_truncation(json.load(open("tokenizer_config.json"))["model_max_length"])
ids = numpy.array([tokenizer.encode("a text").ids])
session = onnxruntime.InferenceSession("model.onnx")
[probabilities] = session.run(None, {"input_ids": ids, "attention_mask": numpy.ones_like(ids)})
print(dict(zip(labels, probabilities[0])))"""
