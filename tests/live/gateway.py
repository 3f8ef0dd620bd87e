"""A gateway as companies have them before a platform: https with a certificate of its own, a path, an IPv6 address."""

from __future__ import annotations

import http.client
import http.server
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


def certificate(folder: Path) -> Path:
    """A certificate for this machine, signed by itself; the key lies beside it."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=company"
    command += f" -addext subjectAltName=IP:127.0.0.1,IP:::1 -keyout {folder}/key.pem -out {folder}/company.pem"
    subprocess.run(command.split(), check=True, capture_output=True)
    return folder / "company.pem"


@contextmanager
def gateway(target: str, folder: Path, path: str = "/label-studio", host: str = "::1") -> Iterator[str]:
    """The address under which ``target`` is reached through a gateway; anything outside ``path`` is a 404."""
    origin = urlsplit(target).netloc

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if not self.path.startswith(f"{path}/"):
                self.answer(404, [], b"no such path on the gateway")
                return
            there = http.client.HTTPConnection(origin, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            there.request(self.command, self.path.removeprefix(path), body, headers | {"Host": origin})
            reply = there.getresponse()
            self.answer(reply.status, reply.getheaders(), reply.read())
            there.close()

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

        def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None: ...

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "company.pem", folder / "key.pem")
    with Server((host, 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"https://{f'[{host}]' if ':' in host else host}:{server.server_port}{path}"
        server.shutdown()
        thread.join()
