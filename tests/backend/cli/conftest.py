"""A folder to run commands in, with a home of its own, a small data file and its recipe."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from nextlabel.backend.cli import main


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Commands set logging up for their process: put it back, or later tests write to a stream that is gone."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "reviews.csv").write_text("number,review\n1,good\n2,bad\n3,good\n4,\n")
    (tmp_path / "reviews.yaml").write_text(
        "data: reviews.csv\nfields: review\nid: number\nlabels: [positive, negative]\nencoder: hashing\n"
    )
    return tmp_path


@pytest.fixture
def nextlabel(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run the command in this process, in the folder."""

    def run(*arguments: str) -> Done:
        capsys.readouterr()
        code = main(list(arguments))
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return run
