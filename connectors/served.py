"""What a platform serves itself: files that were uploaded there, and those of storages that are connected to it."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PATHS = ("/data/upload/", "/data/local-files/")
"""How addresses on the platform begin, behind its own."""
BUCKETS = ("s3://", "gs://", "azure-blob://")
"""How addresses begin that the platform looks up in a storage."""
HERE = ("localhost", "127.0.0.1", "0.0.0.0")  # noqa: S104  nothing listens: what a server calls itself
"""What a server calls itself that was not told its address."""


def no_headers() -> Mapping[str, str]:
    """Nothing to send."""
    return {}


@dataclass(frozen=True, slots=True)
class Served:
    """Where a platform serves files, and what it wants to see of whoever asks.

    ``address`` is the platform's, empty without one. ``buckets``: the address, less a bucket's own in base64, at which
    it resolves those. ``headers`` makes what is sent along; it stays in this process.
    """

    address: str = ""
    buckets: str = ""
    headers: Callable[[], Mapping[str, str]] = field(default=no_headers, compare=False)

    def find(self, address: str) -> str:
        """``address`` as it can be asked for, if it is the platform's; others stay as they are."""
        if self.buckets and address.startswith(BUCKETS):
            return self.buckets + urlsafe_b64encode(address.encode("utf-8", "surrogatepass")).decode("ascii")
        if not self.address:
            return address
        try:
            parts = urlsplit(address)
            host = parts.hostname
        except ValueError:
            return address
        if not parts.path.startswith(PATHS) or host not in (None, *HERE, urlsplit(self.address).hostname):
            return address
        return self.address + parts._replace(scheme="", netloc="").geturl()

    def holds(self, address: str) -> bool:
        """Whether ``address``, as :meth:`find` gives it, is one of these files: it may be asked for with the key."""
        begins = [self.address + path for path in PATHS] if self.address else []
        return address.startswith((*begins, self.buckets) if self.buckets else tuple(begins))


NOTHING_SERVED = Served()
