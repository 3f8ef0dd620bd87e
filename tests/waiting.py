"""What a test waits for, it waits for until it happens; how long that may take says nothing about the product."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from nextlabel.backend.stack.processes import rest

LIMIT_S: Final = 120
"""Many times what anything here takes on a busy machine with two cores."""


def wait_for(condition: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
    """What ``condition`` returns, once it is true."""
    deadline = time.monotonic() + limit_s
    while True:
        asked = time.monotonic()
        if found := condition():
            return found
        assert time.monotonic() < deadline, f"it did not happen in {limit_s:g} s"
        rest(asked, 0.02, 0.5)
