"""Logs: one renderer for all, and no secret in any line."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from nextlabel.backend.logging import configure
from nextlabel.connectors.hiding import MASK


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging is global: put it back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_our_lines_and_those_of_libraries_come_out_alike() -> None:
    stream = io.StringIO()
    configure("info", "json", stream=stream)
    structlog.get_logger("ours").info("taken in", rows=3)
    logging.getLogger("library").warning("slow: %s", "disk", extra={"rows": 4, "color_message": "\u001b[36mslow"})
    ours, theirs = lines(stream)
    assert ours.pop("timestamp") <= theirs.pop("timestamp")
    assert ours == {"event": "taken in", "rows": 3, "level": "info", "logger": "ours"}
    assert theirs == {"event": "slow: disk", "rows": 4, "level": "warning", "logger": "library"}


def test_levels_are_kept_and_chatty_libraries_are_not_heard() -> None:
    stream = io.StringIO()
    configure("warning", "json", stream=stream)
    structlog.get_logger("ours").info("no")
    logging.getLogger("httpx").info("no")
    configure("info", "json", stream=stream)
    logging.getLogger("httpx").info("no")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("format", ["json", "console"])
def test_secrets_are_masked_wherever_they_stand(format: str) -> None:
    stream = io.StringIO()
    configure("info", format, secrets=["s3cret-value", ""], stream=stream)  # type: ignore[arg-type]
    log = structlog.get_logger("x")
    log.info("sent s3cret-value to the platform", url="http://x/?key=s3cret-value")
    log.info("setup", access_token="abc-token-abc", body={"token": "def", "deep": [{"password": "ghi-pass"}]})
    log.warning("failed", error=ValueError("s3cret-value refused"))
    try:
        raise RuntimeError("with s3cret-value inside")
    except RuntimeError:
        log.exception("defect")
        logging.getLogger("library").exception("theirs: %s", "s3cret-value")
    text = stream.getvalue()
    for secret in ("s3cret-value", "abc-token-abc", 'def"', "ghi-pass"):
        assert secret not in text
    assert MASK in text
    assert "RuntimeError" in text
    assert "refused" in text


def test_a_traceback_shows_no_local_variables() -> None:
    stream = io.StringIO()
    configure("info", "console", stream=stream)

    def inner(code: str) -> None:
        raise RuntimeError("broken")

    try:
        inner("a-local-value")
    except RuntimeError:
        structlog.get_logger("x").exception("defect")
    assert "broken" in stream.getvalue()
    assert "'a-local-value'" not in stream.getvalue().replace('inner("a-local-value")', "")


def test_what_callers_cause_is_told_once_and_short() -> None:
    stream = io.StringIO()
    configure("info", "json", stream=stream)
    ours, others = structlog.get_logger("nextlabel.backend.app"), structlog.get_logger("nextlabel.backend.loop.sync")
    for _ in range(100):
        ours.info("refused", path="/webhook", status=413, reason="x" * 1_000_000)
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    ours.info("refused", path="/webhook", status=422)
    for _ in range(3):
        others.info("the same again")
    told = lines(stream)
    assert [line["event"] for line in told].count("refused") == 2
    assert [line["event"] for line in told].count("Invalid HTTP request received.") == 1
    assert [line["event"] for line in told].count("the same again") == 3
    assert len(stream.getvalue()) < 10_000
    assert "(1,000,000 characters)" in told[0]["reason"]
