"""MAMI's memes as a table of records whose images any platform can show."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

from nextlabel.backend.data_rows import Row, Table
from nextlabel.backend.learning.multimodal.images import data_url, read_image
from nextlabel.backend.learning.multimodal.rules import ImageRules, UnreadableImage
from nextlabel.connectors.errors import DataError

from .mami import MISOGYNOUS, NOT, TABLES, Meme, read_mami, uid

ADDRESS = "https://forms.gle/AGWMiGicBHiQx4q98"
EDGE = 384
"""Pixels of the shorter side of what is shown: the words on a meme can be read, and it has some 40 kB."""

COLUMNS = ("id", "text", "image", "label")
QUALITY = 85

log = logging.getLogger(__name__)


def open_mami(source: str = "") -> Table:
    """The memes as a table with the columns COLUMNS; ``image`` is a data: URL, so that nothing need serve the files.

    Images that are missing or can't be read are counted and named, and their memes left out: nobody could judge them.
    Raises DataError that names the file, the line and the fix; without ``source``, it says how to get the data.
    """
    if not source:
        raise DataError(
            f"MAMI's memes are given on request only: ask at {ADDRESS}, unpack them, and give the folder that holds "
            f"{TABLES[0]} and the images with --data"
        )
    mami = read_mami(source)
    missing = f"{len(mami.missing):,} images are not there, first {mami.missing[0]}" if mami.missing else ""
    return Table(str(source), "row", COLUMNS, _rows(mami.memes), missing)


def _rows(memes: tuple[Meme, ...]) -> Iterator[Row]:
    broken = []
    for number, meme in enumerate(memes, start=1):
        if not meme.image.is_file():
            continue
        try:
            image = _shown(meme)
        except UnreadableImage as error:
            broken.append(str(error))
            continue
        label = None if meme.misogynous is None else MISOGYNOUS if meme.misogynous else NOT
        yield Row(number, {"id": uid(meme.file_name), "text": meme.text, "image": image, "label": label})
    if broken:
        log.warning("%d images can't be read, their memes are left out; first %s", len(broken), broken[0])


def _shown(meme: Meme) -> str:
    """The picture as a data: URL, made smaller. Raises UnreadableImage."""
    picture = read_image(str(meme.image), EDGE, ImageRules(roots=(meme.image.parent,), urls=False))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    return data_url(file.getvalue(), "image/jpeg")
