"""Downloads: once, whole, and with a way out where there is no network."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nextlabel.connectors.errors import DataError
from nextlabel.recipes import formats
from nextlabel.recipes.formats import fetched


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """An address that serves ``data``, and nothing else; and the paths that were asked for."""
    monkeypatch.setenv("NEXTLABEL_CACHE", str(tmp_path / "cache"))
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if self.path == "/data" else 404)
            self.end_headers()
            self.wfile.write(b"the data")

        def log_message(self, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_a_file_is_fetched_once(site: tuple[str, list[str]], tmp_path: Path) -> None:
    address, asked = site
    path = fetched(f"{address}/data", "data.csv")
    assert path == tmp_path / "cache" / "data" / "data.csv"
    assert path.read_bytes() == b"the data"
    assert fetched(f"{address}/data", "data.csv") == path
    assert asked == ["/data"]


def test_what_fails_leaves_nothing_and_says_what_to_do(
    site: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, _ = site
    with pytest.raises(DataError, match=r"404.*give the file with --data"):
        fetched(f"{address}/other", "other.csv")
    monkeypatch.setattr(formats, "MAX_BYTES", 7)
    with pytest.raises(DataError, match="more than 7 bytes"):
        fetched(f"{address}/data", "large.csv")
    with pytest.raises(DataError, match="can't be downloaded"):
        fetched("http://127.0.0.1:1/data", "none.csv")
    assert list((tmp_path / "cache" / "data").iterdir()) == []
