"""What a start shows: bars on a terminal, a line per stage where there is none, and what to do at the end."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from typing import Any

import pytest

from nextlabel.backend.cli.progress import FirstQueue, StartProgress
from nextlabel.backend.service.ports import Status

IDLE = Status(None, True, "idle", 40, 40, 0, 0, 0, "m", "", 0, None, None, True)


def status_of(**more: Any) -> Status:
    return replace(IDLE, **more)


def test_without_a_terminal_each_stage_is_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    with StartProgress() as progress:
        for done in range(3):
            progress.show("reading the data", done)
        progress.show("pushing the records", 0, 2000)
        progress.show("pushing the records", 1000, 2000)
    assert capfd.readouterr().err.splitlines() == ["reading the data", "pushing the records: 2,000"]


def test_on_a_terminal_there_are_bars_and_log_lines_beside_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    handler = logging.StreamHandler(sys.stderr)
    before = handler.stream
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    with StartProgress() as progress:
        progress.show("pushing the records", 1000, 2000)
        logging.getLogger("x").warning("a line of the log")
        with progress.paused():
            print("a question?", file=sys.stderr)
        progress.show("pushing the records", 2000, 2000)
    assert handler.stream is before
    shown = capsys.readouterr().err
    assert "1000/2000" in shown
    assert "2000/2000" in shown
    assert "a line of the log" in shown


def test_it_ends_with_the_first_queue_and_says_what_to_do(capfd: pytest.CaptureFixture[str]) -> None:
    asked = iter(
        (
            status_of(state="starting"),
            status_of(state="embedding", done=10, total=40),
            status_of(state="idle"),
            status_of(state="learning"),
            status_of(state="idle", generation="nl-1"),
        )
    )
    ready = list[Status]()
    first = FirstQueue(lambda: next(asked), StartProgress(), ready.append)
    first.start()
    first.join(30)
    assert [one.generation for one in ready] == ["nl-1"]
    assert capfd.readouterr().err.splitlines() == [
        "encoding the records: 40",
        "fitting the first model, and ranking",
    ]


def test_one_that_stands_by_waits_for_nothing() -> None:
    ready = list[Status]()
    first = FirstQueue(lambda: status_of(state="standing by", leader=False), StartProgress(), ready.append)
    first.start()
    first.join(30)
    assert ready == []


def test_it_leaves_off_when_it_is_told_to() -> None:
    first = FirstQueue(lambda: status_of(state="embedding"), StartProgress(), list[Status]().append)
    first.start()
    first.stop()
    assert not first.is_alive()
