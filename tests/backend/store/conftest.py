"""A store of one's own, and answers to put into it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.store import Store
from nextlabel.connectors.records import Annotation, AnnotationStatus, Record

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.live)])
def target(request: pytest.FixtureRequest, path: Path) -> str:
    """The address of a store that does not exist yet, in either kind of database."""
    return (
        str(path.parent / "new" / path.name) if request.param == "sqlite" else request.getfixturevalue("postgresql")()
    )


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path) as opened:
        yield opened


@pytest.fixture
def answer() -> Callable[..., Annotation]:
    """answer("7", "t1", at=3, value=("yes",)): annotation 7 on record t1, updated at second 3."""

    def build(id: str, remote_id: str = "t1", at: float = 0.0, value: Any = ("yes",), **more: Any) -> Annotation:
        status = more.pop("status", AnnotationStatus.SUBMITTED)
        annotator = more.pop("annotator", "1")
        return Annotation(id, remote_id, annotator, value, status, START + timedelta(seconds=at), **more)

    return build


@pytest.fixture
def make_records() -> Callable[..., list[Record]]:
    def build(count: int, start: int = 0) -> list[Record]:
        return [Record(f"u{i}", {"text": f"text {i}"}, {"i": i}) for i in range(start, start + count)]

    return build


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start Python programs, given as source, with arguments; they are killed with the test."""
    running: list[subprocess.Popen[str]] = []

    def start(source: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", source, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()
