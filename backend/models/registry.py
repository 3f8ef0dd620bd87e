"""The models trained for one project, each a folder: ``<home>/<project>/models/<version>/``.

A version is there whole or not at all: it is prepared beside the others under a name that starts with a dot, and comes
in, or goes, by one rename. What changes the folder holds a lock, so that two processes may do so at once; readers need
none. Nothing is ever executed: weights are safetensors, everything else is JSON and text.

Which model is in use the store keeps: the current model, which answers until the loop fits the next probe, and the
trained model in whose vectors that probe is to be fitted (empty: the recipe's own encoder). They are changed together
here, and what runs on the store follows.
"""

from __future__ import annotations

import difflib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from nextlabel.backend.files import exclusive, is_full, write_atomically
from nextlabel.backend.store import ModelRow, Store
from nextlabel.connectors.errors import LearningError

from .card import PAGE_FILE, JobKind, ModelCard
from .probe import CARD_FILE

RUNGS: tuple[JobKind, ...] = get_args(JobKind)
_VERSION = re.compile(rf"({'|'.join(RUNGS)})-([1-9][0-9]*)")
_NUMBERS, _LOCK = ".numbers.json", ".lock"
_COMING, _GOING = ".coming-", ".going-"
CHOSEN_SPACE = "space"
"""Where the store keeps the version of the trained model that was chosen; empty: the recipe's own encoder."""
SPACE_IN_USE = "space_in_use"
"""The same of the model that the loop works with: it follows once all records are encoded for the chosen one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One version. ``card`` is None if it can't be read, and ``problem`` says why."""

    version: str
    path: Path
    card: ModelCard | None
    problem: str = ""

    @property
    def number(self) -> int:
        """Its place among the versions of its rung."""
        return int(self.version.rpartition("-")[2])


class ModelStore:
    """The trained models under ``folder``. Other folders there, such as the probes', are left alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def entries(self) -> list[Entry]:
        """Every version, the newest first, damaged ones with what is wrong."""
        if not self.folder.is_dir():
            return []
        found = [self._entry(path) for path in self.folder.iterdir() if path.is_dir() and _VERSION.fullmatch(path.name)]
        # By the card's date, which no copying changes; a version without a card comes last.
        return sorted(found, key=lambda entry: (entry.card.created if entry.card else "", entry.number), reverse=True)

    def get(self, version: str, *, check: bool = True) -> Entry:
        """One version; with ``check`` every file is compared with the card's digest (a tenth of a second for 90 MB).

        Raises LearningError: unknown, with the nearest names; or files that are missing or changed.
        """
        path = self.folder / version
        if not _VERSION.fullmatch(version) or not path.is_dir():
            raise LearningError(unknown_version(version, [entry.version for entry in self.entries()]))
        card = ModelCard.load(path)
        if check:
            _compare(path, card.files)
        return Entry(version, path, card)

    def add(self, folder: Path, card: ModelCard) -> Entry:
        """Move the finished model in ``folder`` in, under the next number of its rung, and return it.

        ``card.version`` is given here unless it names a free version. Raises LearningError if the folder holds no
        model, the version is taken, or the disk is full; then ``folder`` is as it was, but for the card in it.
        """
        if card.rung not in RUNGS:
            raise LearningError(f"{card.rung!r} is not a rung whose models are kept; {' and '.join(RUNGS)} are")
        if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
            raise LearningError(f"{folder} holds no model: no config.json, or no safetensors")
        with self._changing():
            version = card.version or f"{card.rung}-{self._numbers().get(card.rung, 0) + 1}"
            target = self.folder / version
            if not _VERSION.fullmatch(version) or target.exists():
                raise LearningError(f"{target} is {'taken' if target.exists() else 'no name for a version'}")
            card = replace(card, version=version, files=digests(folder))
            card.save(folder)
            self._move_in(folder, target)
            write_atomically(self.folder / _NUMBERS, json.dumps(self._numbers()).encode())
        return Entry(version, target, card)

    def prune(self, keep: int, in_use: Collection[str]) -> list[str]:
        """Remove all but the ``keep`` newest versions; never one ``in_use``, nor what those were trained from.

        Returns what was removed.
        """
        if keep < 0:
            raise LearningError(f"{keep} models can't be kept")
        with self._changing():
            entries = self.entries()
            parents = {entry.card.parent for entry in entries if entry.card and entry.version in in_use}
            spared = {entry.version for entry in entries[:keep]} | set(in_use) | parents
            removed = [entry for entry in entries if entry.version not in spared]
            for entry in removed:
                going = self.folder / f"{_GOING}{entry.version}"
                shutil.rmtree(going, ignore_errors=True)
                entry.path.rename(going)
                shutil.rmtree(going, ignore_errors=True)
        return [entry.version for entry in removed]

    def _entry(self, path: Path) -> Entry:
        try:
            return Entry(path.name, path, ModelCard.load(path))
        except LearningError as error:
            return Entry(path.name, path, None, str(error))

    def _numbers(self) -> dict[str, int]:
        """The highest number of each rung that was ever given, to versions that were removed too."""
        try:
            noted = dict(json.loads((self.folder / _NUMBERS).read_text(encoding="ascii")))
        except (OSError, ValueError, TypeError):
            noted = {}  # the folders tell most of it
        for path in self.folder.iterdir():
            if match := _VERSION.fullmatch(path.name):
                noted[match[1]] = max(int(noted.get(match[1], 0)), int(match[2]))
        return noted

    def _move_in(self, folder: Path, target: Path) -> None:
        for file in folder.rglob("*"):  # the rename must not reach the disk before what it names
            _flush(file)
        _flush(folder)
        try:
            folder.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            coming = self.folder / f"{_COMING}{target.name}"
            shutil.copytree(folder, coming)  # to another file system
            for file in (*coming.rglob("*"), coming):
                _flush(file)
            coming.rename(target)
            shutil.rmtree(folder, ignore_errors=True)
        _flush(self.folder)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Be the only one who changes the folder. Removes what a process that was killed left behind."""
        try:
            with exclusive(self.folder / _LOCK):
                self._sweep()
                try:
                    yield
                except BaseException:
                    self._sweep()
                    raise
        except OSError as error:
            if is_full(error):
                raise LearningError(f"the disk under {self.folder} is full; free some space and try again") from error
            raise LearningError(f"{self.folder} can't be changed: {error}") from error

    def _sweep(self) -> None:
        for pattern in (_COMING, _GOING):
            for left in self.folder.glob(f"{pattern}*"):
                shutil.rmtree(left, ignore_errors=True)


def digests(folder: Path) -> dict[str, str]:
    """Digest of every file of a model, by its path within ``folder``; the card itself is left out."""
    found = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.relative_to(folder).as_posix() not in (CARD_FILE, PAGE_FILE):
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16))
            found[file.relative_to(folder).as_posix()] = digest.hexdigest()
    return found


def is_trained(version: str) -> bool:
    """Whether this is the name of a trained model, not of a probe."""
    return _VERSION.fullmatch(version) is not None


def _compare(folder: Path, expected: Mapping[str, str]) -> None:
    found = digests(folder)
    missing = sorted(set(expected) - set(found))
    changed = sorted(name for name in set(expected) & set(found) if expected[name] != found[name])
    if missing or changed:
        wrong = [f"{name} is missing" for name in missing] + [f"{name} has changed" for name in changed]
        raise LearningError(f"{folder} is damaged: {', '.join(wrong)}; restore it from a copy, or use another version")


def unknown_version(version: str, known: Sequence[str]) -> str:
    """What to say about a version that is not among ``known``."""
    if not known:
        return f"there is no model {version!r}: none was trained yet"
    near = difflib.get_close_matches(version, known, n=3, cutoff=0.5)
    shown = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known[:5])}"
    return f"there is no model {version!r}; {shown}"


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def line_of(row: ModelRow) -> str:
    """The trained model whose vectors ``row`` reads, itself if it is one; empty for the recipe's own encoder."""
    return row.version if is_trained(row.version) else row.base


def choose_version(store: Store, models: ModelStore, version: str) -> ModelRow:
    """Put ``version`` into use, once its weights are known to be there and whole.

    Raises LearningError if the project has no such model, or its files are gone or damaged. Nothing changes then.
    """
    rows = {row.version: row for row in store.models()}
    if version not in rows:
        raise LearningError(unknown_version(version, list(rows)))
    row = rows[version]
    if line_of(row):
        models.get(line_of(row))
    if not Path(row.path).exists():
        raise LearningError(f"the weights of {version} are no longer there ({row.path}); choose another version")
    store.set_meta(CHOSEN_SPACE, line_of(row))
    store.set_current(version)
    return row


def roll_back(store: Store, models: ModelStore) -> str:
    """Go back to what was in use before the trained model that is in use now.

    Returns the version, or nothing if it is the recipe's own encoder: no probe of it is left, and the loop fits one at
    its next start or label. Raises LearningError if nothing was in use before, or none of it is left.
    """
    current = store.current_model()
    if current is None:
        raise LearningError("no model is in use yet, so there is none to go back to")
    line, rows = store.get_meta(CHOSEN_SPACE) or "", store.models()
    stood_on = {row.base for row in rows} | {line}  # a trained model without probes on it was kept, but never used
    used = [row for row in rows if not is_trained(row.version) or row.version in stood_on]
    start = line or current.version
    older = used[next((at + 1 for at, row in enumerate(used) if row.version == start), 0) :]
    for before in dict.fromkeys(line_of(row) for row in older if line_of(row) != line):
        for row in older:
            if line_of(row) == before:
                try:
                    return choose_version(store, models, row.version).version
                except LearningError:
                    continue  # its files are gone; an older one's may not be
        if not before:
            store.set_meta(CHOSEN_SPACE, before)
            return before
    raise LearningError(f"nothing that was in use before {start} is left; choose with: nextlabel models promote")
