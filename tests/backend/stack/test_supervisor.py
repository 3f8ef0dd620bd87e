from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from nextlabel.backend.stack import supervisor
from nextlabel.backend.stack.processes import free_port, start_group, started_at, stop_group
from tests.waiting import wait_for

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


def supervise(folder: Path, *programs: dict, grace_s: float = 3) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", supervisor.__file__, json.dumps(programs), str(grace_s)]
    return start_group(command, os.environ, folder, folder / "log")


def test_when_one_program_ends_all_do(tmp_path: Path):
    group = supervise(tmp_path, {"command": SLEEPER}, {"command": [sys.executable, "-c", "raise SystemExit(3)"]})
    assert group.wait(20) == 1
    assert "ended with status 3" in (tmp_path / "log").read_text()
    assert supervisor.descendants(group.pid) == {}


def test_a_program_starts_when_the_one_before_it_answers(tmp_path: Path):
    port, mark = free_port(), tmp_path / "mark"
    late = (
        "import pathlib, socket, time\n"
        f"mark = pathlib.Path({str(mark)!r})\n"
        "time.sleep(0.5)\nassert not mark.exists()\n"
        f"listener = socket.create_server(('127.0.0.1', {port}))\ntime.sleep(600)"
    )
    then = f"import pathlib, time; pathlib.Path({str(mark)!r}).touch(); time.sleep(600)"
    group = supervise(
        tmp_path,
        {"command": [sys.executable, "-c", late], "port": port},
        {"command": [sys.executable, "-c", then]},
    )
    try:
        wait_for(mark.exists)
        assert group.poll() is None
    finally:
        stop_group(group.pid, group)


def test_the_last_program_ends_before_the_one_it_needs(tmp_path: Path):
    # Each word in one write, which a print need not be: both programs have the same log.
    told = (
        "import os, signal, sys, time\n"
        "say = lambda word: os.write(1, f'{word}\\n'.encode())\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: (say(sys.argv[1]), sys.exit(0)))\n"
        "say('ready')\ntime.sleep(600)"
    )
    log = tmp_path / "log"
    group = supervise(tmp_path, *({"command": [sys.executable, "-c", told, name]} for name in ("first", "second")))
    wait_for(lambda: log.exists() and log.read_text().count("ready") == 2)
    group.terminate()
    assert group.wait(20) == 0
    assert log.read_text().split() == ["ready", "ready", "second", "first"]


def test_what_is_expendable_is_not_waited_for(tmp_path: Path):
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\nsignal.pause()"
    log = tmp_path / "log"
    group = supervise(
        tmp_path,
        {"command": [sys.executable, "-c", deaf], "expendable": True},
        {"command": SLEEPER},
        grace_s=300,
    )
    wait_for(lambda: log.exists() and "ready" in log.read_text() and len(supervisor.descendants(group.pid)) == 2)
    family = supervisor.descendants(group.pid)
    group.terminate()
    assert group.wait(20) == 0
    assert [pid for pid, started in family.items() if started_at(pid) == started] == []


def test_what_a_program_started_in_a_session_of_its_own_ends_too(tmp_path: Path):
    parent = (
        "import signal, subprocess, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"child = subprocess.Popen({SLEEPER!r}, start_new_session=True)\n"
        "print(child.pid, flush=True)\ntime.sleep(600)"
    )
    log = tmp_path / "log"
    group = supervise(tmp_path, {"command": [sys.executable, "-c", parent]})
    wait_for(lambda: log.exists() and log.read_text().strip())
    child = int(log.read_text())
    assert os.getsid(child) != group.pid
    group.send_signal(signal.SIGTERM)
    group.wait(20)
    wait_for(lambda: started_at(child) is None)
