"""Values as a file with one of them a line, in JSON: the texts of a job for a process of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nextlabel.backend.learning.atomic import atomic_path


def write_lines(file: Path, values: Iterable[Any]) -> int:
    """Write ``values`` to ``file``, all or none of them; return how many there are."""
    count = 0
    with atomic_path(file) as temporary, temporary.open("w", encoding="ascii") as stream:
        for value in values:
            stream.write(json.dumps(value) + "\n")
            count += 1
    return count


def read_lines(file: Path) -> Iterator[Any]:
    """What ``write_lines`` wrote, read as it is used."""
    with file.open(encoding="ascii") as stream:
        for line in stream:
            yield json.loads(line)
