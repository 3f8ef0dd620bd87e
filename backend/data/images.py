"""Images of a data file as annotators are shown them: addresses stay, files and bytes become small data: URLs.

A browser loads neither a path of this machine nor the bytes in a Parquet file, and nothing here serves them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

from nextlabel.connectors.batches import batched
from nextlabel.connectors.records import Record

from .image_files import ImageData, data_url, read_image
from .image_rules import ImageRules, UnreadableImage
from .tables import Row

Known = Callable[[Sequence[str]], Mapping[str, Record]]
"""Those records of these uids that were read at an earlier start, by uid."""

EDGE: Final = 384
"""Pixels of the shorter side of what is shown: the words on a meme can be read, and it has some 40 kB."""

_QUALITY: Final = 85
_READERS: Final = 4  # most of the work is done outside of Python's lock
_BATCH: Final = 64
_OF_THE_PLATFORM: Final = "/data/"  # Label Studio serves such paths; on this machine it may be a folder too


def no_records(uids: Sequence[str]) -> Mapping[str, Record]:
    """What is :data:`Known` at a first start."""
    return {}


def image_source(value: Any) -> str | bytes | None:
    """The address or the bytes in a cell, empty for no image. None if it holds neither.

    Data sets, and the Parquet files they are kept in, hold an image as ``{"bytes": ..., "path": ...}``.
    """
    if isinstance(value, Mapping) and {"bytes", "path"} >= value.keys():
        value = value.get("bytes") or value.get("path")
    if value is None or value != value:  # pandas' way to say that there is nothing
        return ""
    return value if isinstance(value, (str, bytes)) else None


def known_by(source: str | bytes) -> str:
    """What stands for an image when its record is told from others: not what it is shown as, which Pillow decides."""
    return source if isinstance(source, str) else f"bytes:{ImageData('bytes', source).digest}"


def shown(source: str | bytes, rules: ImageRules, before: str = "") -> str:
    """An address that a browser loads: ``source`` itself, or the file or bytes as a data: URL, made smaller.

    A file or bytes that were shown as ``before`` are not read again: that takes 9 ms. Raises UnreadableImage.
    """
    if isinstance(source, str):
        source = source.strip()
        if not source or "://" in source or source[:5].lower() == "data:":
            return source  # what the platform can't show, its connector refuses
    if before:
        return before
    try:
        picture = read_image(source, EDGE, rules)
    except UnreadableImage:
        if isinstance(source, str) and source.startswith(_OF_THE_PLATFORM):
            return source
        raise
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=_QUALITY)
    return data_url(written.getvalue(), "image/jpeg")


def with_images(
    rows: Iterable[tuple[Row, Record]],
    columns: Mapping[str, str],
    rules: ImageRules,
    unreadable: Callable[[Row, UnreadableImage], None],
    known: Known,
) -> Iterator[tuple[Row, Record]]:
    """The rows, in their order, with what is ``shown`` in the fields of ``columns``, field name -> column.

    What is ``known`` is shown as it was. A record whose image can't be read is left out, as nobody could judge it, and
    told to ``unreadable``.
    """

    def read(row: Row, record: Record, before: Mapping[str, str]) -> Record | UnreadableImage:
        try:
            images = {
                name: shown(image_source(row.values.get(key)) or "", rules, before.get(name, ""))
                for name, key in columns.items()
            }
        except UnreadableImage as error:
            return error
        return replace(record, fields={**record.fields, **images})

    with ThreadPoolExecutor(_READERS, thread_name_prefix="images") as readers:
        for batch in batched(rows, _BATCH):
            earlier = known([record.uid for _, record in batch])
            before = (earlier[record.uid].fields if record.uid in earlier else {} for _, record in batch)
            for (row, _), found in zip(batch, readers.map(read, *zip(*batch, strict=True), before), strict=True):
                if isinstance(found, UnreadableImage):
                    unreadable(row, found)
                else:
                    yield row, found
