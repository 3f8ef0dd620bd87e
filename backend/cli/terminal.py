"""The terminal, as commands see it: no line that goes there shows a secret."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
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
