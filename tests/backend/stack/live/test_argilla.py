from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from nextlabel.backend.stack import ArgillaAnnotator, ArgillaServer, ArgillaStack
from nextlabel.backend.stack.argilla import VENV_VARIABLE
from nextlabel.backend.stack.processes import RunFiles, started_at
from nextlabel.backend.stack.supervisor import descendants
from nextlabel.connectors.errors import ConfigError, PlatformError, PlatformUnavailable
from tests.backend.stack.conftest import Dataset, call
from tests.waiting import wait_for


def whoami(server: ArgillaServer, key: str) -> httpx.Response:
    return httpx.get(f"{server.url}/api/v1/me", headers={"X-Argilla-Api-Key": key}, timeout=30)


def test_a_server_answers_on_loopback_only_and_knows_its_owner(argilla: ArgillaServer):
    assert argilla.url.startswith("http://127.0.0.1:")
    me = whoami(argilla, argilla.token).json()
    assert (me["username"], me["role"]) == (argilla.user, "owner")
    assert [space["name"] for space in call(argilla, "GET", "me/workspaces")["items"]] == [argilla.workspace]


def test_users_have_keys_of_their_own_and_can_log_in(argilla: ArgillaServer, visit: Callable[..., str]):
    key = visit("stack-user", password="a-long-password-1")
    assert whoami(argilla, key).json()["role"] == "annotator"
    form = {"username": "stack-user", "password": "a-long-password-1"}
    assert httpx.post(f"{argilla.url}/api/v1/token", data=form, timeout=30).status_code == 201
    members = {user["username"] for user in call(argilla, "GET", f"workspaces/{space_of(argilla)}/users")["items"]}
    assert {"stack-user", argilla.user} <= members
    with pytest.raises(PlatformError, match="POST /api/v1/users: 409"):
        argilla.add_user("stack-user")


def space_of(server: ArgillaServer) -> str:
    return str(call(server, "GET", "me/workspaces")["items"][0]["id"])


def test_no_secret_in_the_representation_or_in_the_list_of_processes(argilla: ArgillaServer):
    redis_password = argilla.redis_url.partition(":@")[0].split(":")[2].partition("@")[0]
    commands = b"".join(
        Path(f"/proc/{pid}/cmdline").read_bytes() for pid in [argilla.pid, *descendants(argilla.pid)]
    ).decode()
    for secret in (argilla.token, argilla.password, redis_password):
        assert len(secret) > 20
        assert secret not in repr(argilla)
        assert secret not in commands


def test_a_stopped_server_goes_on_where_it_was(tmp_path: Path, plain_dataset: Callable[..., Dataset]):
    folder = tmp_path / "data"
    with ArgillaStack().start(folder) as first:
        key = first.add_user("ann")
        dataset = plain_dataset(first, 12)
        with ArgillaAnnotator(first.url, key, dataset.id) as ann:
            ann.submit(dataset.ids["r0"], "sport")
        family = descendants(first.pid)
    assert started_at(first.pid) is None
    assert [pid for pid, started in family.items() if started_at(pid) == started] == []
    assert folder.stat().st_mode & 0o077 == 0
    for secret in ("login.json", "redis.conf"):
        assert (folder / secret).stat().st_mode & 0o077 == 0

    port = int(first.url.rpartition(":")[2])
    with ArgillaStack().start(folder, port) as second:
        assert (second.url, second.token) == (first.url, first.token)
        with ArgillaAnnotator(second.url, key, dataset.id) as ann:
            records, total = ann.pending(dataset.link)
            assert total == 11, "the search index must have been made again"
            assert records[0]["external_id"] == "r1"
    assert folder.exists()


def test_what_waits_to_be_delivered_survives_a_stop(tmp_path: Path, plain_dataset: Callable[..., Dataset]):
    seen: list[str] = []
    up = threading.Event()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append(f"{body['type']} {up.is_set()}")
            self.send_response(200 if up.is_set() else 503)
            self.end_headers()

        def log_message(self, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        try:
            with ArgillaStack().start(tmp_path / "data") as first:
                hook = {"url": f"http://127.0.0.1:{receiver.server_port}/", "events": ["response.created"]}
                call(first, "POST", "webhooks", {**hook, "description": "a test"})
                dataset = plain_dataset(first, 2)
                with ArgillaAnnotator(first.url, first.token, dataset.id) as owner:
                    owner.submit(dataset.ids["r0"], "sport")
                wait_for(lambda: seen)
            up.set()
            with ArgillaStack().start(tmp_path / "data"):
                wait_for(lambda: "response.created True" in seen)
        finally:
            receiver.shutdown()


def test_a_temporary_data_folder_goes_with_its_server_and_the_programs_with_each_other():
    server = ArgillaStack().start()
    assert server.run_file is not None
    assert server.run_file.exists()
    family = descendants(server.pid)
    programs = [pid for pid in family if b"redis-server" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(programs[0], signal.SIGKILL)
    wait_for(lambda: server.process.poll() is not None)
    assert "redis.conf'] ended with status -9" in server.log.read_text()
    wait_for(lambda: not [pid for pid, started in family.items() if started_at(pid) == started])
    server.stop()
    server.stop()
    assert not server.data_dir.exists()
    assert not server.run_file.exists()


def test_a_server_of_a_killed_parent_is_reaped(tmp_path: Path):
    program = (
        "import time\nfrom pathlib import Path\nfrom nextlabel.backend.stack import ArgillaStack\n"
        f"server = ArgillaStack().start(Path({str(tmp_path / 'data')!r}))\n"
        "print(server.pid, flush=True)\n"
        "time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    server = int(parent.stdout.readline())
    family = descendants(server)
    assert len(family) >= 4
    parent.kill()
    parent.communicate()
    assert server in RunFiles(ArgillaStack().home / "run").reap()
    assert [pid for pid, started in family.items() if started_at(pid) == started] == []


def test_a_port_taken_by_another_program_is_an_error_and_nothing_stays():
    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(401)
            self.end_headers()

        def log_message(self, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        try:
            stack = ArgillaStack()
            before = set((stack.home / "run").glob("*.json"))
            with pytest.raises(PlatformUnavailable, match="another program answers"):
                stack.start(port=stranger.server_port)
            assert set((stack.home / "run").glob("*.json")) == before
        finally:
            stranger.shutdown()


def test_a_wrong_environment_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv(VENV_VARIABLE, str(tmp_path))
    with pytest.raises(ConfigError, match=rf"has no bin/python; unset {VENV_VARIABLE}"):
        ArgillaStack(tmp_path).install()
