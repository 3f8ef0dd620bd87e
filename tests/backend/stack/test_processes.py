import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nextlabel.backend.stack.processes import RunFiles, free_port, start_group, started_at, stop_group, wait_until
from nextlabel.connectors.errors import PlatformUnavailable
from tests.waiting import wait_for

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, subprocess, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(600)",
]


def test_started_at_tells_a_process_from_none():
    assert started_at(os.getpid()) == started_at(os.getpid()) is not None
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert started_at(ended.pid) is None


def test_stop_kills_what_ignores_sigterm_and_its_children(tmp_path: Path):
    log = tmp_path / "log"
    leader = start_group(STUBBORN, os.environ, tmp_path, log)
    child = int(wait_for(lambda: log.exists() and log.read_text().strip()))
    stop_group(leader.pid, leader, grace_s=0.2)
    assert leader.returncode == -signal.SIGKILL
    wait_for(lambda: started_at(child) is None)


def test_stop_of_a_process_that_is_gone_is_quiet(tmp_path: Path):
    process = start_group(SLEEPER, os.environ, tmp_path, tmp_path / "log")
    stop_group(process.pid, process)
    stop_group(process.pid, process)
    assert process.returncode == -signal.SIGTERM


def test_wait_names_the_end_of_the_log_when_the_server_dies(tmp_path: Path):
    log = tmp_path / "log"
    process = start_group(
        [sys.executable, "-c", "print('no such database'); raise SystemExit(3)"], os.environ, tmp_path, log
    )
    with pytest.raises(PlatformUnavailable, match=r"(?s)status 3.*no such database"):
        wait_until(lambda: False, process, "the server", log, 30)


def test_wait_gives_up_after_its_limit(tmp_path: Path):
    process = start_group(SLEEPER, os.environ, tmp_path, tmp_path / "log")
    try:
        with pytest.raises(PlatformUnavailable, match="not ready after 0 s"):
            wait_until(lambda: False, process, "the server", tmp_path / "log", 0.1)
    finally:
        stop_group(process.pid, process)


def test_servers_of_a_killed_parent_are_reaped_with_their_scratch_folder(tmp_path: Path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    program = (
        "import os, sys, time\nfrom pathlib import Path\n"
        "from nextlabel.backend.stack.processes import RunFiles, start_group\n"
        f"server = start_group({SLEEPER!r}, os.environ, Path({str(tmp_path)!r}), Path({str(tmp_path / 'log')!r}))\n"
        f"RunFiles(Path({str(tmp_path / 'run')!r})).add(server.pid, Path({str(scratch)!r}))\n"
        "print(server.pid, flush=True)\n"
        "time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    server = int(parent.stdout.readline())
    runs = RunFiles(tmp_path / "run")
    assert runs.reap() == [], "the parent lives: its server is none of our business"
    assert started_at(server) is not None
    parent.kill()
    parent.communicate()
    assert runs.reap() == [server]
    assert started_at(server) is None
    assert not scratch.exists()
    assert list(runs.folder.iterdir()) == []


def test_a_process_that_got_the_id_of_a_dead_server_is_left_alone(tmp_path: Path):
    stranger = start_group(SLEEPER, os.environ, tmp_path, tmp_path / "log")
    try:
        runs = RunFiles(tmp_path / "run")
        path = runs.add(stranger.pid, None)
        note = json.loads(path.read_text())
        path.write_text(json.dumps(note | {"started": "long ago", "parent_started": "long ago"}))
        assert runs.reap() == []
        assert started_at(stranger.pid) is not None
        assert not path.exists()
    finally:
        stop_group(stranger.pid, stranger)


def test_half_written_run_files_are_skipped(tmp_path: Path):
    (tmp_path / "7.json").write_text('{"pid": 7')
    assert RunFiles(tmp_path).reap() == []


def test_free_port_can_be_bound():
    assert 1024 <= free_port() < 65536
