"""Pictures of one colour on a web server that counts who asks, and an image encoder that sees colours."""

from __future__ import annotations

import http.server
import io
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.encoders.hashing import HashingEncoder
from nextlabel.backend.encoders.image_models import ImageTower
from nextlabel.backend.encoders.multimodal import MultimodalEncoder
from nextlabel.backend.numeric import unit_rows

COLOURS = ("red", "blue")
LOCAL = ImageRules(hosts=frozenset({"127.0.0.1"}))


def png(colour: str) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (24, 24), colour).save(written, "PNG")
    return written.getvalue()


class PictureServer:
    """``url(7)`` is a picture, red for even numbers and blue for odd ones, or rubbish for those that are ``broken``.

    While it is ``away`` it answers 503. ``asked``: how often, by number.
    """

    def __init__(self) -> None:
        self.away, self.broken, self.asked = False, set[int](), Counter[int]()
        outer, pictures = self, [png(colour) for colour in COLOURS]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                number = int(self.path.strip("/"))
                outer.asked[number] += 1
                body = b"no picture" if number in outer.broken else pictures[number % 2]
                self.send_response(503 if outer.away else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def url(self, number: int) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{number}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Colours(ImageTower):
    """The mean colour of a picture."""

    name = fingerprint = "colours"
    dimension, device = 3, "cpu"

    def prepare(self, image: Image.Image) -> Any:
        return image

    def features_of(self, inputs: Any) -> Any:
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def encode(self, images: Sequence[Any]) -> np.ndarray[Any, Any]:
        return unit_rows(np.array([np.asarray(one, np.float32).mean(axis=(0, 1)) + 1 for one in images]))


def colours(folder: Path, rules: ImageRules = LOCAL, text: Any = None) -> MultimodalEncoder:
    """An encoder of words and colours that keeps what it makes in ``folder``."""
    return MultimodalEncoder("colours", text or HashingEncoder(), Colours(), rules, folder / "towers", shared=False)
