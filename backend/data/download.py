"""Images over http(s), from hosts that the rules allow.

A name is looked up once, all its addresses are judged, and the connection goes to one of those judged: a name that
changes its address between the two (DNS rebinding) gains nothing. Redirects are followed by hand, each judged anew.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from typing import TypeAlias
from urllib.parse import urljoin, urlsplit

import httpx

from .image_rules import ANY_HOST, ImageRules, UnreadableImage

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

REDIRECTS = 4
TRIES = 2  # the second for what may pass: a broken connection, a server that is busy
PAUSE_S = 0.3
STEP_S = 5.0  # most seconds between two signs of life
PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def download(url: str, rules: ImageRules) -> bytes:
    """The body at ``url``. Raises UnreadableImage."""
    deadline = time.monotonic() + rules.timeout_s
    # Proxies of the environment are left out: they would look names up themselves, unjudged.
    with httpx.Client(timeout=min(STEP_S, rules.timeout_s), trust_env=False) as client:
        for left in reversed(range(TRIES)):
            try:
                return _follow(client, url, rules, deadline)
            except _MayPass as error:
                reason = str(error)
            if not left or time.monotonic() + PAUSE_S > deadline:
                break
            time.sleep(PAUSE_S)
    raise UnreadableImage(url, "unreachable", reason)


class _MayPass(Exception):
    """A failure that the next try may not meet."""


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
    request = client.build_request(
        "GET",
        pinned,
        headers={"Host": host, "Accept": "image/*", "Accept-Encoding": "identity"},
        extensions={"sni_hostname": urlsplit(here).hostname or ""},  # which the certificate is checked against
    )
    try:
        response = client.send(request, stream=True)
        try:
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


def _body(response: httpx.Response, url: str, rules: ImageRules, deadline: float) -> bytes:
    body = bytearray()
    for chunk in response.iter_raw():  # as it comes, so that the clock is looked at, and never unpacked
        body += chunk
        if len(body) > rules.max_bytes:
            raise UnreadableImage(url, "too large", f"more than {rules.max_bytes:,} bytes")
        if time.monotonic() > deadline:
            raise UnreadableImage(url, "unreachable", f"not there after {rules.timeout_s:g} seconds")
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
    if not {ANY_HOST, name, f"{name}:{port or PORTS[parts.scheme]}"} & rules.hosts:
        for address in addresses:
            if not is_public(address):
                raise UnreadableImage(
                    url, "refused", f"{name} is {address}, which is internal; allow the host if it is meant to be read"
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
