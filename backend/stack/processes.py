"""Servers as child processes: installed, in a process group of their own, found again after a crash of their parent.

A platform can't share an environment with nextlabel (each pins what others need newer), and its first start runs
hundreds of migrations. Both are done once and kept in the cache folder.

Every server leaves a small *run file*. Whoever starts the next server reads these files and stops the groups
whose parent is gone, so that a killed test run or demo leaves nothing behind for long. A process is known by its
id and its start time together, since ids are used again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nextlabel.backend.files import exclusive
from nextlabel.connectors.errors import PlatformUnavailable

from .supervisor import descendants, wait_ended

CACHE_VARIABLE = "NEXTLABEL_CACHE"
"""Where installed servers, templates and run files are kept; else the user's cache folder."""

FOREIGN = ("PYTHON", "VIRTUAL_ENV", "NEXTLABEL_")
"""Variables that would change another Python program, or that are none of its business."""

Say = Callable[[str], None]

GRACE_S = 5.0
"""How long a server may take to end after SIGTERM before its group gets SIGKILL."""
LAST_S = 2.0
"""How long what was killed may take to go: a busy machine frees the memory of a server in its own time."""


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on now. Another program may take it before you do: check after starting."""
    return free_ports(1, host)[0]


def free_ports(count: int, host: str = "127.0.0.1", taken: int | None = None) -> list[int]:
    """Different ports as :func:`free_port` gives them, none of them the one that is ``taken``."""
    found: list[int] = []
    with contextlib.ExitStack() as probes:  # all stay bound until the last is found
        while len(found) < count:
            probe = probes.enter_context(socket.socket())
            probe.bind((host, 0))
            if probe.getsockname()[1] != taken:
                found.append(probe.getsockname()[1])
    return found


def started_at(pid: int) -> str | None:
    """When process ``pid`` was started, as an opaque string; None if there is no such process, or only a zombie."""
    with contextlib.suppress(OSError, IndexError):
        # Linux. Fields after the command name, which may hold spaces and brackets: state is first, start time the 20th.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    if Path("/proc/self/stat").exists() or shutil.which("ps") is None:
        return None
    shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, start = shown.stdout.strip().partition(" ")
    return None if not start or state.startswith("Z") else start.strip()


def start_group(command: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start ``command`` as the leader of a session and process group of its own, both outputs appended to ``log``."""
    with log.open("ab") as out:
        return subprocess.Popen(
            list(command),
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stop_group(pid: int, process: subprocess.Popen[bytes] | None = None, grace_s: float = GRACE_S) -> None:
    """End the process group ``pid``: SIGTERM, then SIGKILL after ``grace_s``. Quiet if it is gone already."""
    family = descendants(pid)
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, sign)
        if _gone_within(grace_s if sign == signal.SIGTERM else LAST_S, pid, process):
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # children that outlived their leader
    wait_ended(family, LAST_S)


def _gone_within(limit_s: float, pid: int, process: subprocess.Popen[bytes] | None) -> bool:
    if process is not None:  # ours: collect the exit status, so that no zombie is left
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(limit_s)
        return process.returncode is not None
    deadline = time.monotonic() + limit_s
    while started_at(pid) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], what: str, log: Path, limit_s: float
) -> None:
    """Poll ``ready`` until it is true.

    Raises PlatformUnavailable with the end of ``log`` if ``process`` ends first or ``limit_s`` seconds pass.
    """
    deadline = time.monotonic() + limit_s
    while True:
        asked = time.monotonic()
        if ready():
            return
        if process.poll() is not None:
            raise PlatformUnavailable(
                f"{what} ended with status {process.returncode} at start; its log {log}:\n{tail(log)}"
            )
        if time.monotonic() > deadline:
            raise PlatformUnavailable(f"{what} was not ready after {limit_s:.0f} s; its log {log}:\n{tail(log)}")
        rest(asked, 0.05, 3.0)


def rest(asked: float, least_s: float, most_s: float) -> None:
    """Sleep before asking again what was asked at ``asked``, by time.monotonic(): thrice as long as the answer took.

    Who asks must not be what makes it late.
    """
    time.sleep(min(max(least_s, 3 * (time.monotonic() - asked)), most_s))


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log file."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"


class RunFiles:
    """The folder of run files, one a server that was started and not yet stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, pid: int, scratch: Path | None) -> Path:
        """Note that this process started the group ``pid``; ``scratch`` is a folder to remove together with it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        note = {
            "pid": pid,
            "started": started_at(pid),
            "parent": os.getpid(),
            "parent_started": started_at(os.getpid()),
            "scratch": str(scratch) if scratch else None,
        }
        path = self.folder / f"{pid}.json"
        path.write_text(json.dumps(note))
        return path

    def reap(self) -> list[int]:
        """Stop the servers whose parent is gone, remove their scratch folders, and return their process ids."""
        stopped = []
        for path in self.folder.glob("*.json"):
            try:
                note = json.loads(path.read_text())
            except (OSError, ValueError):  # being written, or half-written when the machine went down
                continue
            if started_at(note["parent"]) == note["parent_started"]:
                continue
            if note["started"] is not None and started_at(note["pid"]) == note["started"]:
                stop_group(note["pid"])
                stopped.append(note["pid"])
            if note["scratch"]:
                shutil.rmtree(note["scratch"], ignore_errors=True)
            path.unlink(missing_ok=True)
        return stopped


# -- installing -----------------------------------------------------------------------------------------------------


def silent(message: str) -> None:
    """The default for progress messages: says nothing."""


def cache_home() -> Path:
    """The folder under which servers are installed."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "nextlabel"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nextlabel"


def clean_environment(*prefixes: str) -> dict[str, str]:
    """Our environment without what starts with one of ``prefixes`` or would change a server behind our back."""
    return {name: value for name, value in os.environ.items() if not name.startswith((*FOREIGN, *prefixes))}


def install_venv(place: Path, packages: Sequence[str], what: str, say: Say) -> Path:
    """The virtual environment ``place`` with ``packages`` in it, made if need be; ``what`` says so to the user.

    Safe beside other processes, and after one that was cut off. Raises PlatformUnavailable if pip fails.
    """
    done = place / "installed"
    with exclusive(place.parent / "install.lock"):
        if done.exists():
            return place
        say(f"installing {what} into {place} (once)")
        shutil.rmtree(place, ignore_errors=True)  # half an install is no install
        log = place.parent / "install.log"
        run([sys.executable, "-m", "venv", str(place)], log)
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run([*pip, *packages], log)
        done.touch()
    return place


def make_template(place: Path, fill: Callable[[Path], None]) -> Path:
    """The folder ``place``, made whole or not at all: by ``fill``, which gets an empty folder, if it is not there."""
    with exclusive(place.parent / "template.lock"):
        if place.exists():
            return place
        unfinished = place.with_name(f"{place.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        fill(unfinished)
        unfinished.rename(place)
    return place


def use_write_ahead_log(database: Path) -> None:
    """Switch an SQLite file to WAL, for good: then annotators who read no longer block those who write."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def run(command: list[str], log: Path, env: dict[str, str] | None = None) -> None:
    """Run ``command`` to its end, output to ``log``. Raises PlatformUnavailable with the end of the log if it fails."""
    with log.open("wb") as out:
        ended = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, env=env, check=False)
    if ended.returncode:
        raise PlatformUnavailable(f"{' '.join(command[:4])} ... failed; its log {log}:\n{tail(log)}")
