"""One way of logging for everything: structlog in front, the libraries' own lines through the same renderer.

Nothing secret reaches a log: values under telling names are masked, and so is every secret of this
installation, wherever in a line it stands.
"""

from __future__ import annotations

import logging
import math
import re
import sys
import time
from collections.abc import Iterable
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger
from typing_extensions import override

from nextlabel.connectors.hiding import MASK, Mask

_TELLING: Final = re.compile(r"pass(word|wd)?$|token|secret|api_?key|authorization|cookie|credential", re.IGNORECASE)

# What these say at level info is about every single request.
_CHATTY: Final = ("httpx", "httpcore", "urllib3", "alembic", "uvicorn.access")

# What these say, callers can have them say as often as they like.
_CAUSED: Final = (
    "asyncio",
    "nextlabel.backend.app",
    "nextlabel.backend.connections",
    "nextlabel.backend.routes.edge",
    "uvicorn.error",
)
SELDOM_S: Final = 60.0
LONGEST: Final = 2_000
"""Characters of one value in a line."""
LONGEST_TRACEBACK: Final = 20_000

Format = Literal["auto", "console", "json"]


class Redact:
    """Structlog processor that masks the values of telling keys, and every one of ``secrets`` inside any text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._mask = Mask(secrets)

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Mask ``event`` in place."""
        for key, value in event.items():
            event[key] = MASK if _TELLING.search(key) and value else self._clean(value)
        return event

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._mask(value)
        if isinstance(value, dict):
            return {k: MASK if isinstance(k, str) and _TELLING.search(k) else self._clean(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._clean(item) for item in value]
        if isinstance(value, BaseException):
            return self._clean(f"{type(value).__name__}: {value}")
        return value


class Seldom(logging.Filter):
    """Lets what callers cause through once in SELDOM_S; the next such line says how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[tuple[str, ...], tuple[float, int]] = {}

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if record.name not in _CAUSED:
            return True
        event = record.msg if isinstance(record.msg, dict) else {"event": record.msg}
        line = (record.name, *(str(event.get(part, ""))[:100] for part in ("event", "path", "status")))
        at, left_out = self._told.get(line, (-math.inf, 0))
        if time.monotonic() - at < SELDOM_S:
            self._told[line] = (at, left_out + 1)
            return False
        if len(self._told) > 1_000:
            self._told.clear()
        self._told[line] = (time.monotonic(), 0)
        if left_out and isinstance(record.msg, dict):
            record.msg = {**record.msg, "left_out": left_out}
        return True


def _short(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Cut what is long: nobody reads it, and callers choose some of it."""
    for key, value in event.items():
        limit = LONGEST_TRACEBACK if key == "exception" else LONGEST
        text = value if isinstance(value, str) else repr(value)
        if len(text) > limit:
            event[key] = f"{text[:limit]}... ({len(text):,} characters)"
    return event


def _without_copy(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Drop uvicorn's second copy of its message, which has codes for colours in it."""
    event.pop("color_message", None)
    return event


def configure(
    level: str = "info", format: Format = "auto", secrets: Iterable[str] = (), stream: TextIO | None = None
) -> None:
    """Set logging up for this process: lines go to ``stream`` (stderr), masked, as text for people or as JSON."""
    stream = stream or sys.stderr
    people = format == "console" or (format == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=not people),
        structlog.processors.format_exc_info,
        Redact(secrets),
        _short,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # or a logger that has said a line once follows no later configuration
    )
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty()) if people else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), _without_copy],
            processors=[*shared, structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(Seldom())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
