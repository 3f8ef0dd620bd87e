"""A command that is told to end does so in time, whatever it is doing."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

START = """
import hashlib, sys, threading, time
from nextlabel.backend.cli import ending
def show(line):
    print(line, flush=True)
ending.LIMITS = dict.fromkeys(ending.LIMITS, float(sys.argv[1]))
with ending.ends_in_time() as the_end:
    the_end.at_last = lambda: show("last")
"""
DEAF = """
    threading.Timer(0.5, show, ["ready"]).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # no handler runs before it is over
"""
STUBBORN = """
    threading.Timer(0.5, show, ["ready"]).start()
    while True:
        try:
            time.sleep(600)
        except BaseException:
            show("unwound")
"""
ORDERLY = """
    try:
        show("ready")
        time.sleep(600)
    finally:
        show(f"left {the_end.left_s():.1f}")
"""


UNREAD = """
import os, sys
from nextlabel.backend.cli import ending
from nextlabel.backend.cli.common import say
from nextlabel.backend.cli.terminal import forgive_stderr
from nextlabel.backend.logging import configure
if sys.argv[1] == "closed from the start":
    os.close(2)
    sys.stderr = None
forgive_stderr()
configure()
sys.stdin.readline()
import logging, time
with ending.ends_in_time():
    logging.getLogger().warning("a line")
    say("another")
    print("goes on", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("how", ["closed from the start", "closed by its reader"])
def test_a_closed_stderr_ends_nothing(how: str) -> None:
    command = [sys.executable, "-c", UNREAD, how]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stderr.close()
        process.stdin.write("go on\n")
        process.stdin.flush()
        assert process.stdout.readline() == "goes on\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@contextmanager
def running(work: str, limit_s: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", START + work, str(limit_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
@pytest.mark.parametrize("work", [DEAF, STUBBORN], ids=["deaf", "stubborn"])
def test_what_does_not_end_is_left(work: str, number: int, code: int) -> None:
    with running(work, 0.5) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out.splitlines()[-1]) == (code, "last")
        assert err == "\nending; what is not finished goes on at the next start\n"


def test_who_ends_in_order_knows_how_long_it_may_take() -> None:
    with running(ORDERLY, 500) as process:
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert 400 < float(out.split()[-1]) < 500


def test_what_is_put_in_order_is_not_interrupted_again() -> None:
    work = ORDERLY + "        time.sleep(0.3)\n        show('in order')\n"
    with running(work, 500) as process:
        assert process.stdout is not None
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline().startswith("left")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        assert out == "in order\n"


def test_a_child_that_is_forked_off_has_signals_of_its_own() -> None:
    work = """
    import os
    show("ready")
    child = os.fork()
    if not child:
        time.sleep(600)
    time.sleep(0.1)
    os.kill(child, 15)
    os.waitpid(child, 0)
    time.sleep(1)
    show("still here")
"""
    with running(work, 500) as process:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "still here\n", "")
