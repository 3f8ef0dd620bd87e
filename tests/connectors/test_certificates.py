"""Whom we believe, and who stands between us and a platform."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest

from nextlabel.connectors import certificates
from nextlabel.connectors.argilla.client import Client
from nextlabel.connectors.errors import ConfigError


@pytest.fixture
def company(tmp_path: Path) -> Path:
    """A folder with one certificate, as OpenSSL names them."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=company"
    command += f" -keyout {tmp_path}/key.pem -out {tmp_path}/company.pem"
    subprocess.run(command.split(), check=True, capture_output=True)
    return tmp_path


def names(context: ssl.SSLContext) -> list[str]:
    return [str(one["subject"]) for one in context.get_ca_certs()]


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_file_that_is_named_is_believed_besides(
    variable: str, company: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = names(certificates.trusted())
    monkeypatch.setenv(variable, str(company / "company.pem"))
    after = names(certificates.trusted())
    assert [name for name in after if "company" in name] == ["((('commonName', 'company'),),)"]
    assert len(after) == len(before) + 1


@pytest.mark.parametrize("place", ["/no/such/file", __file__])
def test_what_holds_no_certificates_is_named(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", place)
    with pytest.raises(ConfigError, match=r"REQUESTS_CA_BUNDLE is .* can't be read as certificates"):
        certificates.trusted()


def test_a_proxy_is_asked_but_for_those_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("HTTP_PROXY", here)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for url in ("http://argilla.example.org/labels", here):
            with closing(Client(url, "key")) as client:
                client.request("GET", "/api/v1/status")
        server.shutdown()
    assert asked == ["http://argilla.example.org/labels/api/v1/status", "/api/v1/status"]
