"""How models read texts: found out once for the content of a folder, and kept for engines without torch.

A process that has torch inspects a new folder itself; for any other, ``python -m nextlabel.backend.encoders.reading``
does.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from nextlabel.backend.files import write_atomically
from nextlabel.backend.lifeline import end_with
from nextlabel.connectors.errors import LearningError

from .base import need, torch_is_loaded
from .elsewhere import refuse, run_elsewhere
from .inspection import Reading, read
from .library import read_json

VERSION = 2  # of what a reading says
SECONDS = 900  # a model that takes longer to load hangs
OURS = ("head.safetensors", "labels.json", "training.json", "card.json", "tokens.json")
"""Files of ours beside a model, which say nothing about its vectors."""
SUFFIXES = (".json", ".txt", ".model", ".jinja", ".safetensors")


def content_of(path: Path, cache: Path) -> str:
    """32 hex digits of all files that any library reads in ``path``."""
    found = (file for file in (*path.glob("*"), *path.glob("*/*")) if file.suffix in SUFFIXES and file.is_file())
    return digest_of(sorted(file for file in found if file.name not in OURS), path, cache, size=16)


def digest_of(files: Sequence[Path], path: Path, cache: Path, *, size: int) -> str:
    """``size`` bytes in hex digits of ``files`` in ``path``, names and content.

    Hashing 90 MB takes a tenth of a second, so the result is kept in ``cache`` by path, size and times.
    """
    stats = [file.stat() for file in files]
    stamp = [[str(f), s.st_size, s.st_mtime_ns, s.st_ctime_ns] for f, s in zip(files, stats, strict=True)]
    note = cache / "digests" / hashlib.blake2b(json.dumps([size, stamp]).encode(), digest_size=16).hexdigest()
    try:
        return note.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        pass
    total = hashlib.blake2b(digest_size=size)
    for file in files:
        with file.open("rb") as stream:
            total.update(str(file.relative_to(path)).encode() + hashlib.file_digest(stream, hashlib.blake2b).digest())
    write_atomically(note, total.hexdigest().encode())
    return total.hexdigest()


def reading_of(path: Path, cache: Path) -> tuple[Reading, Path]:
    """How the model in ``path`` reads texts, and its tokenizer as a tokenizer.json, both kept in ``cache``.

    Raises LearningError if it can't be used, and MissingExtra without the libraries (needed the first time only).
    """
    note, kept = _kept(path, cache)
    if not (note.is_file() and kept.is_file()):
        need("torch", "transformers", "sentence_transformers", "tokenizers")
        (keep if torch_is_loaded() else _ask)(path, note, kept)
    said = read_json(note)
    return Reading(**{**said, "types": tuple(said["types"])}), kept


def is_known(path: Path, cache: Path) -> bool:
    """Whether ``reading_of`` has the answer at hand."""
    return all(file.is_file() for file in _kept(path, cache))


def make_known(path: Path, cache: Path, reading: Reading, tokenizer: Path) -> None:
    """Have ``reading_of`` answer so for the model in ``path``: for one that was made of parts that are known."""
    note, kept = _kept(path, cache)
    write_atomically(kept, tokenizer.read_bytes())
    write_atomically(note, _noted(reading))


def _kept(path: Path, cache: Path) -> tuple[Path, Path]:
    """Where the reading of the model in ``path`` and its tokenizer are kept."""
    libraries = "-".join(version(name) for name in ("transformers", "sentence-transformers") if _installed(name))
    name = f"{content_of(path, cache)}-{VERSION}-{libraries}"
    return cache / "readings" / f"{name}.json", cache / "tokenizers" / f"{name}.json"


def _noted(reading: Reading) -> bytes:
    return json.dumps(asdict(reading), indent=1).encode()


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _ask(path: Path, note: Path, tokenizer: Path) -> None:
    """Have another process do ``keep``."""
    files = map(str, (path, note, tokenizer, os.getpid()))
    done = run_elsewhere("nextlabel.backend.encoders.reading", *files, seconds=SECONDS)
    if done.failed or not note.is_file():
        raise LearningError(done.reason if done.refused else f"{path} can't be read: {done.reason}")


def keep(path: Path, note: Path, tokenizer: Path) -> None:
    """Read the model in ``path``, and write what was found to two files. Raises LearningError."""
    reading, made = read(path)
    write_atomically(tokenizer, made.encode())
    write_atomically(note, _noted(reading))


def main(arguments: list[str]) -> int:
    """``PATH NOTE TOKENIZER PARENT``: see keep(). It ends with the process PARENT."""
    *files, parent = arguments
    end_with(int(parent))
    import torch

    torch.set_num_threads(1)  # some short texts: more would wait for each other
    try:
        keep(*map(Path, files))
    except LearningError as error:
        return refuse(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
