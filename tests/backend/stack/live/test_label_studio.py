import http.server
import threading
from pathlib import Path

import httpx
import pytest

from nextlabel.backend.stack import LabelStudioServer, LabelStudioStack
from nextlabel.backend.stack.label_studio import BINARY_VARIABLE
from nextlabel.backend.stack.processes import cache_home, started_at
from nextlabel.connectors.errors import ConfigError, PlatformError, PlatformUnavailable


def whoami(server: LabelStudioServer, token: str) -> httpx.Response:
    return httpx.get(f"{server.url}/api/current-user/whoami", headers={"Authorization": f"Token {token}"}, timeout=30)


def test_a_server_answers_on_loopback_only_and_knows_its_admin(label_studio: LabelStudioServer):
    assert label_studio.url.startswith("http://127.0.0.1:")
    assert whoami(label_studio, label_studio.token).json()["email"] == label_studio.user


def test_users_have_tokens_of_their_own(label_studio: LabelStudioServer):
    token = label_studio.add_user("stack-user@example.com", password="a-long-password-1")
    assert token != label_studio.token
    assert whoami(label_studio, token).json()["email"] == "stack-user@example.com"
    with pytest.raises(PlatformError, match=r"stack-user@example\.com"):
        label_studio.add_user("stack-user@example.com")


def test_no_secret_in_the_representation(label_studio: LabelStudioServer):
    assert label_studio.token not in repr(label_studio)
    assert label_studio.password not in repr(label_studio)


def test_sign_up_needs_the_invitation(label_studio: LabelStudioServer):
    assert (
        httpx.post(f"{label_studio.url}/user/signup/", data={"email": "x@example.com"}, timeout=30).status_code == 403
    )


def test_a_data_folder_is_used_again_and_left_behind(tmp_path: Path):
    folder = tmp_path / "data"
    with LabelStudioStack().start(folder) as first:
        token = first.add_user("ann@example.com")
    assert started_at(first.pid) is None
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "login.json").stat().st_mode & 0o077 == 0
    with LabelStudioStack().start(folder) as second:
        assert second.token == first.token
        assert whoami(second, token).json()["email"] == "ann@example.com"
    assert folder.exists()


def test_a_temporary_data_folder_goes_with_its_server():
    stack = LabelStudioStack()
    server = stack.start()
    run_file = server.run_file
    assert run_file is not None
    assert run_file.exists()
    assert server.data_dir.exists()
    server.stop()
    server.stop()
    assert started_at(server.pid) is None
    assert not server.data_dir.exists()
    assert not run_file.exists()


def test_a_port_taken_by_another_program_is_an_error_and_nothing_stays():
    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(401)
            self.end_headers()

        def log_message(self, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        try:
            stack = LabelStudioStack()
            before = set((stack.home / "run").glob("*.json"))
            with pytest.raises(PlatformUnavailable, match="another program answers"):
                stack.start(port=stranger.server_port)
            assert set((stack.home / "run").glob("*.json")) == before
        finally:
            stranger.shutdown()


def test_a_wrong_binary_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv(BINARY_VARIABLE, str(tmp_path / "label-studio"))
    with pytest.raises(ConfigError, match=BINARY_VARIABLE):
        LabelStudioStack(tmp_path).install()


def test_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("NEXTLABEL_CACHE", str(tmp_path))
    assert cache_home() == tmp_path
