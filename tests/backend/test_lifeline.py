"""A process ends with the one that started it, though that was killed and could tell nobody."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHILD = """
import os, sys, time
from nextlabel.backend import lifeline
lifeline.LOOK_S = 0.05
lifeline.end_with(int(sys.argv[1]))
print(os.getpid(), flush=True)
time.sleep(600)
"""
PARENT = """
import os, subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1], str(os.getpid())], start_new_session=sys.argv[2] == "leads")
"""


@pytest.mark.parametrize("group", ["leads", "belongs to one"])
def test_who_lost_its_parent_ends(group: str) -> None:
    command = [sys.executable, "-c", PARENT, CHILD, group]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait(60)
        deadline = time.monotonic() + 60
        while is_running(child):
            assert time.monotonic() < deadline, "it goes on for nobody"
            time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it has not ended yet: nobody may be there to bury it."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
