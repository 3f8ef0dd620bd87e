"""Pools in files: what was read is let go, so that memory stays bounded, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend import files
from nextlabel.backend.files import Reader, release

ROWS, WIDTH = 40_000, 384


def resident_file() -> int:
    """Bytes of mapped files that count as memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssFile"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "vectors.npy"
    np.save(path, np.arange(ROWS * WIDTH, dtype=np.float32).reshape(ROWS, WIDTH) % 1000)
    return path


def read_through(matrix: np.ndarray, reader: Reader) -> int:
    """Read everything in blocks; how much more memory that took at the most."""
    before, most = resident_file(), 0
    for start in range(0, ROWS, 1000):
        block = matrix[np.arange(start, start + 1000)]
        reader.read(matrix, len(block))
        assert block[1, 0] == ((start + 1) * WIDTH) % 1000
        most = max(most, resident_file() - before)
    return most


def test_a_pool_is_read_in_bounded_memory(file: Path) -> None:
    matrix = np.load(file, mmap_mode="r")
    assert read_through(matrix, Reader(limit=2**62)) > 50 * 2**20, "or the test shows nothing"
    assert release(matrix)
    assert read_through(matrix, Reader(limit=8 * 2**20)) < 16 * 2**20


def test_only_what_is_mapped_to_be_read_is_let_go(file: Path) -> None:
    assert not release(np.ones((3, 3)))
    changed = np.load(file, mmap_mode="c")
    changed[0] = 7
    assert not release(changed)
    assert (changed[0] == 7).all()


def test_the_limit_is_counted_over_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(files, "release", calls.append)
    reader, matrix = Reader(limit=1000), np.zeros((100, 10), np.float32)
    for _ in range(5):
        reader.read(matrix, 10)  # 400 bytes
    assert len(calls) == 1
