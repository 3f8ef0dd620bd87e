"""Copies of a project's images at signed addresses, which take the place of data: URLs in the platform's records.

A copy is a file in the project's folder, called by the digest of its bytes and a signature of that. Who has the name
may see the picture: annotators' browsers have no token, and nobody guesses a signature. So a web server that knows
nothing of signatures may serve the folder, too. It holds nothing that the store lacks: what is missing is written anew.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import structlog

from nextlabel.backend.credentials import image_key
from nextlabel.backend.data.image_files import data_url
from nextlabel.backend.files import readable_errors, size_of
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.settings import Settings
from nextlabel.backend.store import Store
from nextlabel.connectors.image_addresses import INSIDE

log = structlog.get_logger(__name__)

FOLDER: Final = "images"
PATH: Final = "/images/"
"""What follows the public address, before the name of a copy."""
KINDS: Final = {
    "jpg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "bmp": "image/bmp",
    "avif": "image/avif",
}
"""Ending -> what browsers are told that it is. Pictures of dots only: an SVG may hold scripts, and stays inside."""
_ENDINGS: Final = {kind: ending for ending, kind in KINDS.items()}
_HEAD: Final = re.compile(r"data:(image/[a-z]+);base64,")
_NAME: Final = re.compile(rf"([0-9a-f]{{32}})-([0-9a-f]{{32}})\.({'|'.join(KINDS)})")
LOOK_EVERY_S: Final = 60.0
"""Seconds between two searches of the store for a copy that is missing."""


@dataclass(frozen=True, slots=True)
class ImageCopy:
    """A picture as it is served: its bytes, what they are, and what it is called."""

    data: bytes
    kind: str
    name: str


class ImageCopies:
    """The copies of one project. ``url``: under which browsers find them; without one, images stay in the records.

    Fulfils :class:`nextlabel.connectors.image_addresses.ImageAddresses`. May be used from any thread.
    """

    def __init__(
        self, folder: Path, project: str, key: Callable[[], str], url: str = "", store: Store | None = None
    ) -> None:
        self.folder, self.url = folder, url
        self._project, self._secret, self._store = project, key, store
        self._lock = threading.Lock()
        self._looked: float | None = None

    # -- addresses ---------------------------------------------------------------------------------------------------

    def shown(self, image: str) -> str:
        """The address of a copy of ``image``, which is kept from now on. Raises StoreError if it can't be."""
        if not self.url or (copy := self._copy(image)) is None:
            return image
        self._keep(copy)
        return self.address(copy.name)

    def address(self, name: str) -> str:
        """Where browsers find the copy called ``name``."""
        return f"{self.url}{PATH}{name}"

    def any_name(self) -> str:
        """What one of the copies is called; empty without any."""
        return next(iter(self._names()), "")

    def known(self, address: str) -> str:
        """The image at an address of this project, wherever that was served when it was made."""
        if not address.startswith(("http://", "https://")) or PATH not in address:
            return address
        copy = self.find(self.name_in(address))
        return address if copy is None else data_url(copy.data, copy.kind)

    def name_in(self, address: str) -> str:
        """What a copy is called, if ``address`` is that of one; empty if not."""
        try:
            parts = urlsplit(address)
        except ValueError:
            return ""
        before, _, name = parts.path.rpartition("/")
        return name if f"{before}/".endswith(PATH) and self._is_ours(name) else ""

    def find(self, name: str) -> ImageCopy | None:
        """The copy called ``name``; None for what is not signed with the key of this project, or is not there."""
        if not self._is_ours(name):
            return None
        data = self._read(name)
        if data is None and self._looks_again():
            self.fill()
            data = self._read(name)
        return None if data is None else ImageCopy(data, KINDS[name.rpartition(".")[2]], name)

    def inside(self) -> ImageCopies:
        """The same, with images in the records from now on."""
        return ImageCopies(self.folder, self._project, self._secret, "", self._store)

    # -- the folder --------------------------------------------------------------------------------------------------

    @property
    def used(self) -> bool:
        """Whether records on the platform may have addresses of ours."""
        return bool(self.url) or bool(self._names())

    def _names(self) -> set[str]:
        """What is in the folder."""
        try:
            return {path.name for path in self.folder.iterdir() if _NAME.fullmatch(path.name)}
        except OSError:
            return set()

    def fill(self) -> int:
        """Write what the store has and the folder lacks, and remove what the store has no longer; how many went.

        Raises StoreError.
        """
        if self._store is None:
            return 0
        before = self._names()  # as it was before the store is read: what comes meanwhile stays
        wanted: set[str] = set()
        for item in self._store.records():
            for text in item.record.fields.values():
                if (copy := self._copy(text)) is not None:
                    wanted.add(copy.name)
                    self._keep(copy)
        for name in (gone := before - wanted):
            (self.folder / name).unlink(missing_ok=True)
        return len(gone)

    def clear(self) -> None:
        """Remove all: no record has an address of ours any more."""
        for name in self._names():
            (self.folder / name).unlink(missing_ok=True)

    def _copy(self, image: str) -> ImageCopy | None:
        """``image`` as a copy; None unless it is a data: URL that is written just so again."""
        if not image.startswith(INSIDE) or not (head := _HEAD.match(image)) or head[1] not in _ENDINGS:
            return None
        try:
            data = base64.b64decode(image[head.end() :], validate=True)
        except (binascii.Error, ValueError):
            return None
        if not data or data_url(data, head[1]) != image:
            return None
        digest, ending = _digest(data), _ENDINGS[head[1]]
        return ImageCopy(data, head[1], f"{digest}-{self._signature(f'{digest}.{ending}')}.{ending}")

    def _keep(self, copy: ImageCopy) -> None:
        path = self.folder / copy.name
        if size_of(path) == len(copy.data):
            return
        # Whole or not there, but not waited for until it is on the disk: 10,000 of that take a minute, and what a
        # power cut spoils is told by its digest.
        part = self.folder / f".{copy.name}.{secrets.token_hex(4)}"
        with readable_errors(f"no room for {path}: make some", f"{self.folder} can't be written"):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                part.write_bytes(copy.data)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)

    def _read(self, name: str) -> bytes | None:
        try:
            data = (self.folder / name).read_bytes()
        except OSError:
            return None
        return data if name.startswith(_digest(data)) else None

    def _looks_again(self) -> bool:
        """Whether it is time to look into the store for what is missing."""
        with self._lock:
            now = time.monotonic()
            if self._store is None or (self._looked is not None and now - self._looked < LOOK_EVERY_S):
                return False
            self._looked = now
            return True

    def _is_ours(self, name: str) -> bool:
        found = _NAME.fullmatch(name)
        return found is not None and hmac.compare_digest(found[2], self._signature(f"{found[1]}.{found[3]}"))

    @cached_property
    def _key(self) -> bytes:
        return self._secret().encode()

    def _signature(self, stem: str) -> str:
        signed = hmac.new(self._key, f"{self._project}/{stem}".encode(), hashlib.sha256)
        return signed.hexdigest()[:32]


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def image_copies(recipe: Recipe, settings: Settings, store: Store | None = None) -> ImageCopies:
    """Those of the recipe's project. The key is made when it is first wanted."""
    folder = settings.home.expanduser().absolute() / recipe.name / FOLDER
    return ImageCopies(folder, recipe.name, partial(image_key, settings), settings.image_url, store)
