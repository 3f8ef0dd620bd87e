"""Data files, and a cache of a test's own."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folds, curves and embeddings that are kept are those of this test alone."""
    path = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("NEXTLABEL_CACHE", str(path))
    return path


def written(path: Path, made: list[dict[str, Any]]) -> str:
    """Write the rows as CSV; return the file's name."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(made[0]))
        writer.writeheader()
        writer.writerows(made)
    return path.name
