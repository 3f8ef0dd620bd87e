"""Work that needs torch, done by a module of ours in a process of its own: this one need not load it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

from .base import BESIDE_OTHERS

REFUSED = 3  # exit status of the process, where the last line of stderr says why


@dataclass(frozen=True, slots=True)
class Ended:
    """How the process ended: ``failed`` or not, and if so whether it ``refused``, for the ``reason`` that it gave.

    ``reason``: the last line that it wrote, or its exit status.
    """

    failed: bool
    refused: bool
    reason: str


def run_elsewhere(module: str, *arguments: str, seconds: float) -> Ended:
    """Run ``module`` with the interpreter of this process. Raises subprocess.TimeoutExpired after ``seconds``."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=os.environ | BESIDE_OTHERS,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return Ended(failed=done.returncode != 0, refused=done.returncode == REFUSED, reason=lines[-1])


def refuse(error: Exception) -> int:
    """In the process: say why, in one line. The exit status to end with."""
    sys.stderr.write(" ".join(str(error).split()) + "\n")
    return REFUSED
