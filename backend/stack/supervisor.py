"""Runs several programs as one server: started in order, and if one of them ends, all of them do.

A script of its own that needs the standard library alone::

    python supervisor.py '[{"command": ["redis-server", "redis.conf"], "port": 6379}, {"command": ["worker"]}]' 10

The number, which may be left out, is how many seconds they may take together to end; one that is
``"expendable": true`` is not waited for. The next program starts when the one before it answers at its ``port``, where
it has one. The programs share the process group of this one, so that a signal to the group reaches them all; what they
started in sessions of their own (rq runs every job in one) is found by parentage and ended too.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

GRACE_S = 3.0
"""How long the programs may take together to end, if nothing else is said. With LAST_S less than :mod:`.processes`
gives the whole group."""
LAST_S = 1.0
"""How long what was killed may take to go."""
LEAST_S = 0.3
"""How long each program has at least, however long those before it took."""
POLL_S = 0.05


def supervise(programs: list[dict[str, Any]], grace_s: float = GRACE_S) -> int:
    """Run ``programs`` until one of them ends or SIGTERM comes; return the exit status."""
    children: list[subprocess.Popen[bytes]] = []
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        for program in programs:
            children.append(subprocess.Popen(program["command"], stdin=subprocess.DEVNULL))
            while all(child.poll() is None for child in children) and not listens(program.get("port")):
                time.sleep(POLL_S)
        while all(child.poll() is None for child in children):
            time.sleep(POLL_S)
        ended = next(child for child in children if child.returncode is not None)
        sys.stderr.write(f"{ended.args!r} ended with status {ended.returncode}\n")
        return 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        started = zip(children, programs, strict=False)  # perhaps not yet all of them
        end([child for child, program in started if not program.get("expendable")], grace_s)


def listens(port: int | None) -> bool:
    """Whether somebody answers on the loopback ``port``; None is no port to wait for."""
    if port is None:
        return True
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def end(children: list[subprocess.Popen[bytes]], grace_s: float) -> None:
    """End ``children``, the last first since it may need those before it, and then all that we started at once."""
    family = descendants(os.getpid())
    deadline = time.monotonic() + grace_s
    for child in reversed(children):
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(max(LEAST_S, deadline - time.monotonic()))
    family |= descendants(os.getpid())
    for pid, started in family.items():
        if stat(pid).get("started") == started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    wait_ended(family, LAST_S)


def descendants(ancestor: int) -> dict[int, str]:
    """Children, grandchildren and so on of a process: id -> start time. Empty where there is no /proc."""
    table = {int(entry.name): stat(int(entry.name)) for entry in Path("/proc").glob("[0-9]*")}
    found: dict[int, str] = {}
    fresh = {ancestor}
    while fresh:
        fresh = {pid for pid, seen in table.items() if seen and int(seen["parent"]) in fresh and pid not in found}
        found |= {pid: table[pid]["started"] for pid in fresh}
    return found


def wait_ended(family: dict[int, str], limit_s: float) -> None:
    """Wait until these processes (id -> start time) have ended, ``limit_s`` in all at most. A zombie has."""
    deadline = time.monotonic() + limit_s
    for pid, started in family.items():
        with contextlib.suppress(OSError):  # gone, or a kernel without pidfd_open
            ended = os.pidfd_open(pid)
            try:
                if stat(pid).get("started") == started:
                    event = select.poll()
                    event.register(ended, select.POLLIN)
                    event.poll(1000 * max(0.0, deadline - time.monotonic()))
            finally:
                os.close(ended)


def stat(pid: int) -> dict[str, str]:
    """Parent and start time of a process; empty if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return {}
    return {"parent": fields[1], "started": fields[19]}


if __name__ == "__main__":
    sys.exit(supervise(json.loads(sys.argv[1]), *map(float, sys.argv[2:])))
