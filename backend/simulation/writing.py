"""The folder of a simulation: a page, pictures, and all figures as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from nextlabel.backend.learning.atomic import write_atomically
from nextlabel.backend.learning.evaluation.album import save
from nextlabel.connectors.errors import ConfigError

from .album import drawn
from .page import page
from .request import Simulation

PAGE = "index.html"
FIGURES = "simulation.json"


def write(found: Simulation, folder: Path) -> Path:
    """Write index.html, simulation.json and a PNG a picture to ``folder``, over what may be there; return the page.

    Raises MissingExtra (matplotlib), ConfigError if the folder can't be written.
    """
    album = drawn(found.summary, found.request.plan.metric, found.request.target)
    try:
        save(album, folder)
        write_atomically(folder / FIGURES, (json.dumps(found.to_json(), ensure_ascii=False, indent=1) + "\n").encode())
        write_atomically(folder / PAGE, page(found, album).encode())
    except OSError as error:
        raise ConfigError(f"{folder}: can't be written: {error.strerror or error}; choose another --out") from None
    return folder / PAGE
