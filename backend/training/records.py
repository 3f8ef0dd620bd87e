"""Records of words and pictures as two towers read them while they are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.encoders.base import HASHING, EncoderSpec, usable_cores
from nextlabel.backend.encoders.fusion import FusedEncoder, fused_on, is_fused, sides_of
from nextlabel.backend.encoders.image_models import ClipTowers
from nextlabel.backend.encoders.load import load
from nextlabel.backend.encoders.model_folder import ModelFolder, folder_of
from nextlabel.backend.encoders.multimodal import MultimodalEncoder
from nextlabel.connectors.content import Readable, content_of
from nextlabel.connectors.errors import LearningError

from .pictures import PictureFile
from .spec import Watch
from .texts import Rows, WindowedTexts, tokenised

PICTURE = "picture."  # begins the names of an image tower's inputs in a batch


@dataclass(frozen=True, slots=True)
class ClipTexts:
    """Texts for CLIP's own tokenizer, which are tokenised as they are used."""

    towers: ClipTowers
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def lengths(self) -> Rows:
        """Characters of every text, int64 [n]."""
        return np.fromiter(map(len, self.texts), np.int64, len(self.texts))

    def take(self, rows: npt.NDArray[np.int64]) -> ClipTexts:
        """Some of the texts, in the order given."""
        return ClipTexts(self.towers, tuple(self.texts[row] for row in rows.tolist()))

    def batch(self, rows: Sequence[int]) -> dict[str, Any]:
        """Tensors int64 [b, t] of the texts in ``rows``."""
        return self.towers.tokens([self.texts[row] for row in rows])


@dataclass(frozen=True, slots=True)
class Records:
    """n records as a tower network reads them.

    ``said`` float32 [n]: 1 where the words count, 0 where there are none, but a picture. ``pictures``: the rows in
    ``file`` of each record's pictures, all of which could be read.
    """

    words: WindowedTexts | ClipTexts
    said: npt.NDArray[np.float32]
    pictures: tuple[tuple[int, ...], ...]
    file: PictureFile
    encoder: MultimodalEncoder

    def __len__(self) -> int:
        return len(self.pictures)

    def lengths(self) -> Rows:
        """How long each record's words are, int64 [n]."""
        return self.words.lengths()

    def take(self, rows: npt.NDArray[np.int64]) -> Records:
        """Some of the records, in the order given."""
        pictures = tuple(self.pictures[row] for row in rows.tolist())
        return Records(self.words.take(rows), self.said[rows], pictures, self.file, self.encoder)

    def batch(self, rows: Sequence[int]) -> dict[str, Any]:
        """The tensors of the words; ``said`` [b]; and the tower's inputs of all pictures, if there are any.

        ``of`` int64 [p]: the place of a picture's record in the batch. ``row`` int64 [b]: ``rows`` themselves.
        """
        import torch

        its = [self.pictures[row] for row in rows]
        of = np.repeat(np.arange(len(its)), [len(one) for one in its])
        batch = self.words.batch(rows)
        batch |= {
            "said": torch.from_numpy(self.said[list(rows)]),
            "row": torch.tensor(rows),
            "of": torch.from_numpy(of),
        }
        if len(of):
            inputs = self.encoder.image.inputs(self.file.take([picture for one in its for picture in one]))
            batch |= {f"{PICTURE}{name}": tensor for name, tensor in inputs.items()}
        return batch


@dataclass(frozen=True, slots=True)
class Towers:
    """What a training starts from: an ``encoder`` and the pictures that it is trained on. See trainer.Start.

    ``spec`` names the encoder that it was before any training. ``text``: what reads the words; None for CLIP.
    """

    name: str
    spec: EncoderSpec
    encoder: MultimodalEncoder
    text: ModelFolder | None
    pictures: PictureFile

    def fingerprint(self, cache: Path, engine: str) -> str:
        """See trainer.Start."""
        words = self.encoder.text.fingerprint if self.text is None else self.text.fingerprint(cache, engine)
        return f"{words} {self.encoder.image.fingerprint}"

    def seen(self, texts: Sequence[Readable]) -> Rows:
        """The rows of ``texts`` all of whose pictures could be read."""
        known = self.pictures.row_of
        return np.flatnonzero([all(one in known for one in content_of(text).images) for text in texts])

    def records(self, texts: Sequence[Readable], watch: Watch) -> Records:
        """``texts``, all of which have been ``seen``."""
        contents = [content_of(text) for text in texts]
        words: WindowedTexts | ClipTexts
        if self.text is None:
            assert isinstance(self.encoder.text, ClipTowers)  # noqa: S101  # there is no other without a text's folder
            words = ClipTexts(self.encoder.text, tuple(one.text for one in contents))
        else:
            words = tokenised(self.text, [one.text for one in contents], watch)
        # As MultimodalEncoder.towers: where there is neither, the vector of no words stands in.
        said = np.array([bool(one.text.strip()) or not one.images for one in contents], np.float32)
        pictures = tuple(tuple(self.pictures.row_of[image] for image in one.images) for one in contents)
        return Records(words, said, pictures, self.pictures, self.encoder)


def open_towers(spec: EncoderSpec, texts: Sequence[Readable], scratch: Path, watch: Watch) -> Towers:
    """The encoder that ``spec`` names, with its own towers or on another's, and the pictures of ``texts``.

    Raises LearningError if there are no two towers that can be trained, and what loading raises.
    """
    encoder = load(spec, threads=max(1, usable_cores() - 1))
    if not isinstance(encoder, MultimodalEncoder):
        raise LearningError(f"{spec.name} encodes no images; its texts alone are trained by another rung")
    while isinstance(encoder, FusedEncoder):
        encoder = encoder.base
    sides, text = sides_of(spec.name), None
    if sides.text == HASHING:
        raise LearningError(f"{HASHING}, which reads the texts in {spec.name}, has nothing to train; name a model")
    if not sides.clip:
        text = folder_of(replace(spec, name=sides.text, images=None))
    addresses = list(dict.fromkeys(image for text in texts for image in content_of(text).images))
    pictures = PictureFile.make(addresses, encoder, scratch / "pictures", watch)
    first = spec
    while is_fused(Path(first.name)):
        first = replace(first, name=fused_on(Path(first.name)))
    return Towers(spec.name, first, encoder, text, pictures)
