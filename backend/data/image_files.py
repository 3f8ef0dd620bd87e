"""Images from paths, URLs, data: URLs and bytes, as small RGB pictures.

Whatever is wrong with one (missing, forbidden, cut off, no image at all, larger than memory) raises UnreadableImage,
never anything else. Phones' rotations are applied, transparency becomes white, an animation its first picture.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import ipaddress
import socket
import threading
import time
import warnings
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import httpx
import numpy as np

from nextlabel.connectors import certificates
from nextlabel.connectors.errors import MissingExtra
from nextlabel.connectors.in_between import Rests

from .image_rules import ANY_HOST, ImageRules, UnreadableImage, file_path

if TYPE_CHECKING:
    from PIL.Image import Image

READING = 2  # raised whenever the same file would become other pixels: part of every tower's fingerprint
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "MPO")
"""What is opened. Others of Pillow's formats run outside programs (EPS) or hold no pictures (PDF)."""
SMALLEST = 4  # pixels a side; tinier pictures are enlarged, for processors take 1 or 3 rows for colour channels
LONGEST = 100  # times the shorter side; longer strips are squashed to that, for a resize would blow them up
SHOWN_SHARE = 0.5  # of a JPEG that lacks its end: what is left of it has to show that much
_HEIC = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis")

_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_opening = threading.Lock()  # warnings' filters belong to the whole process


@dataclass(frozen=True, slots=True)
class ImageData:
    """The bytes of an image, and the address for messages."""

    address: str
    data: bytes

    @property
    def digest(self) -> str:
        """32 hex digits, equal for equal bytes."""
        return hashlib.blake2b(self.data, digest_size=16).hexdigest()


def data_url(data: bytes, kind: str = "image/png") -> str:
    """``data`` as an address."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def image_source(value: Any) -> str | bytes | None:
    """The address or the bytes in a cell, empty for no image. None if it holds neither.

    Data sets, and the Parquet files they are kept in, hold an image as ``{"bytes": ..., "path": ...}``.
    """
    if isinstance(value, Mapping) and {"bytes", "path"} >= value.keys():
        value = value.get("bytes") or value.get("path")
    if value is None or value != value:  # pandas' way to say that there is nothing
        return ""
    return value if isinstance(value, (str, bytes)) else None


def read_bytes(source: str | bytes, rules: ImageRules) -> ImageData:
    """The bytes at an address: a path, an http(s) URL or a data: URL. Bytes are taken as they are.

    Raises UnreadableImage.
    """
    if isinstance(source, bytes):
        return ImageData("bytes", _sized("bytes", source, rules))
    address = rules.rewrite(source)
    scheme = address.partition(":")[0].lower() if ":" in address else ""
    if scheme == "data":
        return ImageData(source, _from_data_url(source, address, rules))
    if scheme in ("http", "https"):
        if not rules.urls:
            raise UnreadableImage(source, "refused", "URLs are not read here")
        return ImageData(source, download(address, rules))
    path = file_path(address)
    if path is None:
        raise UnreadableImage(source, "refused", f"{scheme}:// is not read; give a path, an http(s) or a data: URL")
    return ImageData(source, _from_file(source, rules.find(path), rules))


def _from_file(source: str, path: Path, rules: ImageRules) -> bytes:
    try:
        with path.open("rb") as stream:
            return _sized(source, stream.read(rules.max_bytes + 1), rules)
    except OSError as error:
        raise UnreadableImage(source, "missing", error.strerror or str(error)) from None


def _from_data_url(source: str, address: str, rules: ImageRules) -> bytes:
    # No deadline: nothing is waited for, and decoding takes tenths of a second at most, for its size is bounded.
    head, comma, body = address.partition(",")
    if not comma:
        raise UnreadableImage(source, "broken", "a data: URL has a comma before its data")
    if len(body) > 3 * rules.max_bytes:  # %XX is the longest way to write a byte
        raise UnreadableImage(source, "too large", f"more than {rules.max_bytes:,} bytes")
    if not head.lower().endswith(";base64"):
        return _sized(source, unquote_to_bytes(body), rules)
    try:
        data = base64.b64decode(b"".join(unquote_to_bytes(body).split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnreadableImage(source, "broken", f"its base64 can't be read: {error}") from None
    return _sized(source, data, rules)


def _sized(source: str, data: bytes, rules: ImageRules) -> bytes:
    if len(data) > rules.max_bytes:
        raise UnreadableImage(source, "too large", f"more than {rules.max_bytes:,} bytes")
    if not data:
        raise UnreadableImage(source, "broken", "it is empty")
    return data


def decode(image: ImageData, edge: int | None, rules: ImageRules) -> Image:
    """An RGB picture whose shorter side is ``edge`` pixels, or what it has if that is less, or for None.

    A JPEG that is too large, or needed smaller, is made smaller while it is decoded, which costs little. One that lacks
    its end is what browsers show of it, if that is half of the picture at least. Raises UnreadableImage.
    """
    try:
        from PIL import Image as pillow
        from PIL import UnidentifiedImageError
    except ImportError:
        raise MissingExtra("pillow", "train") from None
    try:
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of size: judged below; of odd metadata: no matter
            opened = pillow.open(io.BytesIO(image.data), formats=_formats())
        with opened:
            if edge is not None or opened.width * opened.height > rules.max_pixels:
                opened.draft(None, _target(opened.size, edge or 1024))  # only JPEG can, others do nothing
            if opened.width * opened.height > rules.max_pixels:
                raise UnreadableImage(
                    image.address,
                    "too large",
                    f"{opened.width} x {opened.height} pixels; {rules.max_pixels:,} are read",
                )
            opened.load()
            picture = _rgb(_upright(opened))
            target = _target(picture.size, edge or min(picture.size))
            # A copy in any case: the file behind ``opened`` is closed at the end of the block.
            return picture.copy() if target == picture.size else picture.resize(target, reducing_gap=3.0)
    except UnreadableImage:
        raise
    except pillow.DecompressionBombError as error:
        raise UnreadableImage(image.address, "too large", str(error)) from None
    except UnidentifiedImageError:
        raise UnreadableImage(image.address, "broken", _strange(image.data)) from None
    except Exception as error:  # decoders raise all sorts on files that were cut off or made up
        if image.data.startswith(_JPEG) and not image.data.endswith(_JPEG_END):
            return _cut_off(image, edge, rules)
        raise UnreadableImage(image.address, "broken", f"{type(error).__name__}: {error}") from None


def _cut_off(image: ImageData, edge: int | None, rules: ImageRules) -> Image:
    """What shows of a JPEG that lacks its end. The decoder fills the rest with one colour."""
    picture = decode(ImageData(image.address, image.data + _JPEG_END), edge, rules)
    rows = np.asarray(picture).reshape(picture.height, -1, 3)
    shows = np.flatnonzero((rows != rows[-1, -1]).any(axis=(1, 2)))
    if not len(shows) or shows[-1] + 1 < SHOWN_SHARE * picture.height:
        raise UnreadableImage(image.address, "broken", "most of this JPEG is missing: the file ends too early")
    return picture


def _strange(data: bytes) -> str:
    """What is said of ``data`` that are no picture that can be opened."""
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC:
        return "this is HEIC, as phones take it, which is not read: convert it to JPEG"
    if b"<svg" in data[:1000].lower():
        return "this is SVG, a drawing in words, which is not read: convert it to PNG"
    return f"this is no image; it begins with {data[:16]!r}"


def read_image(source: str | bytes, edge: int | None, rules: ImageRules | None = None) -> Image:
    """``read_bytes`` and ``decode`` in one. Raises UnreadableImage."""
    rules = ImageRules() if rules is None else rules
    return decode(read_bytes(source, rules), edge, rules)


@cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow was built with."""
    from PIL import Image as pillow

    pillow.init()
    return tuple(name for name in FORMATS if name in pillow.OPEN)


def _target(size: tuple[int, int], edge: int) -> tuple[int, int]:
    """``size`` with the shorter side from SMALLEST to ``edge``, and the longer one LONGEST times that at most."""
    short, long = min(size), max(size)
    kept = max(min(short, edge), SMALLEST)
    stretched = min(max(round(long * kept / short), kept), kept * LONGEST)
    return (kept, stretched) if size[0] == short else (stretched, kept)


def _upright(image: Image) -> Image:
    """Turned as its EXIF data say; as it is where they can't be read."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # made-up metadata raise all sorts; the pixels are fine
        return image


def _rgb(image: Image) -> Image:
    """Eight bits of red, green and blue; transparent parts on white, as browsers show them."""
    from PIL import Image as pillow

    if image.mode.startswith(("I", "F")):  # grey of 16 bits and more, which convert() would cut off at 255
        grey = np.asarray(image, np.float32)
        top = 65535.0 if image.mode.startswith("I") else max(float(np.nanmax(grey)), 1e-9)
        return pillow.fromarray(np.nan_to_num(grey / top * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layered = image.convert("RGBA")
        ground = pillow.new("RGBA", layered.size, "white")
        return pillow.alpha_composite(ground, layered).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


# -- Over http(s) ------------------------------------------------------------------------------------------------------

# A name is looked up once, all its addresses are judged, and the connection goes to one of those judged: a name that
# changes its address between the two (DNS rebinding) gains nothing. Redirects are followed by hand, each judged anew.
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
REDIRECTS = 4
TRIES = 2  # the second for what may pass: a broken connection, a server that is busy
PAUSE_S = 0.3
STEP_S = 5.0  # most seconds between two signs of life
PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_rests = Rests()


def download(url: str, rules: ImageRules) -> bytes:
    """The body at ``url``; it has come after ``rules.timeout_s``, whatever the server does. Raises UnreadableImage."""
    # Names are looked up, and heads read, by libraries that know no deadline for the whole. So a thread does it.
    found: Future[bytes] = Future()
    limit_s = min(STEP_S, rules.timeout_s)
    # Proxies of the environment are left out: they would look names up themselves, unjudged.
    with httpx.Client(timeout=limit_s, trust_env=False, verify=certificates.trusted()) as client:

        def fetch() -> None:
            try:
                found.set_result(_fetched(client, url, rules))
            except BaseException as error:
                found.set_exception(error)

        threading.Thread(target=fetch, name="download", daemon=True).start()
        try:
            return found.result(rules.timeout_s)
        except TimeoutError:  # the client is closed at the end of the block, which ends the thread
            reason = f"not there after {rules.timeout_s:g} seconds"
            raise UnreadableImage(url, "unreachable", reason, away=True) from None


def _fetched(client: httpx.Client, url: str, rules: ImageRules) -> bytes:
    deadline = time.monotonic() + rules.timeout_s
    for left in reversed(range(TRIES)):
        try:
            return _follow(client, url, rules, deadline)
        except _MayPass as error:
            reason, pause_s = str(error), max(PAUSE_S, error.rest_s)
        if not left or time.monotonic() + pause_s > deadline:
            break
        time.sleep(pause_s)
    raise UnreadableImage(url, "unreachable", reason, away=True)


class _MayPass(Exception):
    """A failure that the next try may not meet, once ``rest_s`` seconds have passed."""

    def __init__(self, reason: str, rest_s: float = 0.0) -> None:
        super().__init__(reason)
        self.rest_s = rest_s


def _follow(client: httpx.Client, url: str, rules: ImageRules, deadline: float) -> bytes:
    here = url
    for _ in range(REDIRECTS + 1):
        there = _get(client, url, here, rules, deadline)
        if isinstance(there, bytes):
            return there
        here = urljoin(here, there)
    raise UnreadableImage(url, "unreachable", f"more than {REDIRECTS} redirects")


def _get(client: httpx.Client, url: str, here: str, rules: ImageRules, deadline: float) -> bytes | str:
    """The body at ``here``, or where it says to look. ``url`` is what messages name."""
    host, pinned = _pin(url, here, rules)
    _leave_alone(host)
    key = rules.served.headers() if rules.served.holds(here) else {}
    request = client.build_request(
        "GET",
        pinned,
        headers={"Host": host, "Accept": "image/*, text/*;q=0.9, */*;q=0.8", "Accept-Encoding": "identity", **key},
        extensions={"sni_hostname": urlsplit(here).hostname or ""},  # which the certificate is checked against
    )
    try:
        response = client.send(request, stream=True)
        try:
            _rests.hear(host, response)
            _leave_alone(host)
            if response.has_redirect_location:
                return response.headers["Location"]
            if response.status_code in (408, 425, 429) or response.status_code >= 500:
                raise _MayPass(f"HTTP {response.status_code}")
            if response.status_code != 200:
                raise UnreadableImage(url, "unreachable", f"HTTP {response.status_code}")
            return _body(response, url, rules, deadline)
        finally:
            response.close()
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        raise _MayPass(f"{type(error).__name__}: {error}") from None


def _leave_alone(host: str) -> None:
    """Raise _MayPass where a server has said when it may be asked again, and that is later."""
    if left := _rests.left_s(host):  # the words are the same however much is left: what is told changes only with news
        raise _MayPass("its server wants to be left alone for a while (Retry-After)", left)


def _body(response: httpx.Response, url: str, rules: ImageRules, deadline: float) -> bytes:
    body = bytearray()
    for chunk in response.iter_raw():  # as it comes, so that the clock is looked at, and never unpacked
        body += chunk
        if len(body) > rules.max_bytes:
            raise UnreadableImage(url, "too large", f"more than {rules.max_bytes:,} bytes")
        if time.monotonic() > deadline:
            raise UnreadableImage(url, "unreachable", f"not there after {rules.timeout_s:g} seconds", away=True)
    return bytes(body)


def _pin(url: str, here: str, rules: ImageRules) -> tuple[str, str]:
    """The Host header, and ``here`` with the host's judged address in place of its name."""
    try:
        parts = urlsplit(here)
        port, name = parts.port, parts.hostname
    except ValueError as error:
        raise UnreadableImage(url, "refused", f"this is no address: {error}") from None
    if parts.scheme not in PORTS or not name:
        raise UnreadableImage(url, "refused", f"{parts.scheme or 'it'} is not http(s)://host/path")
    try:
        found = socket.getaddrinfo(name, port or PORTS[parts.scheme], type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _MayPass(f"{name} is not known: {error}") from None
    addresses = [ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in found]
    allowed = {ANY_HOST, name, f"{name}:{port or PORTS[parts.scheme]}"} & rules.hosts
    if not allowed and not rules.served.holds(here):
        for address in addresses:
            if not is_public(address):
                raise UnreadableImage(
                    url,
                    "refused",
                    f"{name} is {address}, which is internal",
                    fix=f"name {name} in NEXTLABEL_IMAGE_HOSTS, if it is meant to be read",
                )
    shown = f"[{name}]" if ":" in name else name
    chosen = f"[{addresses[0]}]" if addresses[0].version == 6 else str(addresses[0])
    suffix = f":{port}" if port else ""
    return shown + suffix, parts._replace(netloc=chosen + suffix, fragment="").geturl()


def is_public(address: Address) -> bool:
    """Whether ``address`` is on the public internet, and does not merely wrap one that isn't."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast
