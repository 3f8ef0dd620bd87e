"""An exported folder beside its weights: the folder itself, its tokenizer, a probe laid out as a model."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nextlabel.backend.encoders.library import MODULES_FILE
from nextlabel.backend.encoders.model_folder import ModelFolder
from nextlabel.backend.encoders.tokenizer import Tokeniser, clean_text
from nextlabel.backend.files import is_full
from nextlabel.backend.models.card import PAGE_FILE, ModelCard
from nextlabel.backend.models.probe import CARD_FILE, LABELS_FILE, Probe
from nextlabel.backend.models.saving import (
    HEAD_FILE,
    LENGTH_FILE,
    PROMPT_FILE,
    TRAINING_FILE,
    save_head,
    write_inputs,
    write_pooling,
)
from nextlabel.connectors.content import Readable, text_of
from nextlabel.connectors.errors import LearningError

_OWN = {HEAD_FILE, LABELS_FILE, CARD_FILE, PAGE_FILE, LENGTH_FILE, PROMPT_FILE, TRAINING_FILE}


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
        reason = "the disk is full" if is_full(error) else str(error)
        raise LearningError(f"{out} can't be written: {reason}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_tokenizer(folder: ModelFolder, out: Path) -> None:
    """Write a tokenizer.json and its settings, so that transformers makes the tokens that we make.

    Texts are cut at ``folder.max_length`` tokens where truncation is asked for, and the model's prompt is prepended.
    """
    from tokenizers import Tokenizer, normalizers

    tokenizer = Tokenizer.from_file(str(folder.tokenizer))
    if folder.prompt:
        steps = [normalizers.Prepend(folder.prompt), *([tokenizer.normalizer] if tokenizer.normalizer else [])]
        tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.save(str(out / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # takes tokenizer.json as it is, in every version
        "model_max_length": folder.max_length,
        "model_input_names": ["input_ids", "attention_mask"],  # one segment per text: its type ids are all 0
        "truncation_side": "left" if folder.reading.left else "right",
        "padding_side": "right",
        "clean_up_tokenization_spaces": False,
        **_special_tokens(folder, tokenizer),
    }
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=1, ensure_ascii=False), encoding="utf-8")


def check_tokens(folder: ModelFolder, out: Path, sample: Sequence[Readable]) -> None:
    """Raises LearningError if the tokenizer in ``out`` makes other tokens of ``sample`` than ours."""
    from transformers import AutoTokenizer

    texts = [text for one in sample if (text := clean_text(text_of(one)))]  # no normaliser puts a prompt before nothing
    theirs = AutoTokenizer.from_pretrained(out, local_files_only=True)(texts, truncation=True)["input_ids"]
    for text, mine, their in zip(texts, Tokeniser(folder)(texts), theirs, strict=True):
        if mine != (their or [0]):
            raise LearningError(
                f"{folder.path} can't be exported: in a tokenizer.json its prompt or tokenizer makes other tokens of "
                f"{text[:40]!r}; take --format nextlabel"
            )


def _special_tokens(folder: ModelFolder, tokenizer: Any) -> dict[str, str]:
    """The names of padding and the like, from whichever file of the folder says them."""
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token", "bos_token", "eos_token")
    found: dict[str, str] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        try:
            said = json.loads((folder.body / file).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        for name in names:
            token = said.get(name)
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str) and tokenizer.token_to_id(token) is not None:
                found[name] = token
    if "pad_token" not in found:
        config = json.loads((folder.body / "config.json").read_text(encoding="utf-8"))
        found["pad_token"] = tokenizer.id_to_token(config.get("pad_token_id") or 0)
    return found


def lay_out(encoder: ModelFolder, head: Probe, card: ModelCard, folder: Path) -> None:
    """Fill the empty ``folder``: links to the encoder's files, and ``head``, labels and card of its own.

    ``card.labels`` are those of the head, in their order.

    The links are absolute; the folder is good for as long as the encoder stays where it is.
    """
    inner = encoder.body.relative_to(encoder.path)
    for place in dict.fromkeys((Path(), inner)):
        (folder / place).mkdir(exist_ok=True)
        for item in (encoder.path / place).iterdir():
            if item.name not in _OWN and item != encoder.body:
                (folder / place / item.name).symlink_to(item.resolve())
    if not (encoder.path / MODULES_FILE).is_file():
        write_pooling(folder, encoder.pooling, encoder.dimension)
    save_head(folder, head, card.labels)
    write_inputs(folder, encoder, inner)
    card.save(folder)
