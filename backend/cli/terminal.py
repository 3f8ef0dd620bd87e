"""The terminal, as commands see it: no line that goes there shows a secret, and nobody who closes it ends anything."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO, cast

from nextlabel.connectors.hiding import TERMINAL


class Masked:
    """A stream on which secrets come out masked. All else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write ``text``, masked."""
        return self._stream.write(TERMINAL(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def masked_terminal() -> Iterator[None]:
    """While the block runs, stdout and stderr show no secret that it comes to know."""
    TERMINAL.clear()
    out, err = (cast("TextIO", Masked(stream)) for stream in (sys.stdout, sys.stderr))
    with redirect_stdout(out), redirect_stderr(err):
        yield


class Forgiving:
    """A stream that drops what can't be written: whoever read it has closed it, or the disk under it is full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write ``text`` if that can be done."""
        with suppress(OSError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is kept back if that can be done."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def forgive_stderr() -> None:
    """Have nobody in this process stopped by what becomes of standard error; it may be closed from the start."""
    stream = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for as long as we run
    sys.stderr = cast(TextIO, Forgiving(stream))
