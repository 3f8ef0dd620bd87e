"""A plot in a page or a file, with its caption."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nextlabel.backend.files import write_atomically

from . import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing with its file name (no suffix), title, a line below it, and the text that stands for it."""

    name: str
    title: str
    says: str
    alt: str
    figure: Figure


def save(album: list[Picture], folder: Path) -> list[Path]:
    """Write each picture to ``folder`` as NAME.png, over what may be there; the folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{picture.name}.png" for picture in album]
    for path, picture in zip(paths, album, strict=True):
        write_atomically(path, plots.png(picture.figure))
    return paths
