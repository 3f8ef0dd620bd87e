"""Where images may be read from. Addresses come with the data, so they are not to be trusted.

Without rules, a task that somebody adds on the platform, or a request to the service, could have the server open
any file, or call machines that only the server can reach (server-side request forgery).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from nextlabel.connectors.errors import DataError
from nextlabel.connectors.hiding import shown
from nextlabel.connectors.served import NOTHING_SERVED, Served

Kind: TypeAlias = Literal["missing", "refused", "unreachable", "too large", "broken"]

SHOWN = 120  # characters of an address in messages; a data: URL has millions
ANY_HOST = "*"
REQUEST_TIMEOUT_S = 4.0  # somebody waits for the answer


@dataclass(frozen=True, slots=True)
class ImageProblem:
    """Why an image could not be read: its address (shortened), the kind of problem, and the details.

    ``away``: its server gave no answer, or said that it can't just now, and may well do so later. ``fix``: what
    somebody may do about it.
    """

    address: str
    kind: Kind
    reason: str
    away: bool = False
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.address}: {self.reason}"


class UnreadableImage(DataError):
    """An image can't be read. ``problem`` says why; the encoder goes on without it."""

    def __init__(self, address: str, kind: Kind, reason: str, *, away: bool = False, fix: str = "") -> None:
        self.problem = ImageProblem(shorten(address), kind, reason, away, fix or _FIXES[kind])
        super().__init__(str(self.problem))


_FIXES: dict[Kind, str] = {
    "missing": "put the file where its address says",
    "refused": "give an address that may be read",
    "unreachable": "have its server answer to this machine",
    "too large": "make it smaller",
    "broken": "put a picture that can be opened in its place",
}


def shorten(address: str) -> str:
    """``address`` as messages show it: what is secret of it is not."""
    address = shown(address) if address.lower().startswith(("http://", "https://")) else address
    return address if len(address) <= SHOWN else f"{address[:SHOWN]}..."


def file_path(address: str) -> str | None:
    """The path that ``address`` is, or names as ``file://``; None if it is the address of something else."""
    if "://" not in address:
        return address
    parts = urlsplit(address)
    here = parts.scheme.lower() == "file" and parts.netloc in ("", "localhost")
    return unquote(parts.path) if here else None


@dataclass(frozen=True, slots=True)
class ImageRules:
    """What may be read, and how much of it.

    ``roots``: files are read below these folders only; a relative path is looked for in each of them. ``hosts``:
    names or addresses, with or without ``:port``, that may be internal (loopback, private networks, link-local);
    ``*`` allows all; the public internet needs no entry. ``prefixes``: how addresses begin -> what stands in place
    of that beginning, a folder or a URL; for addresses that only the platform's pages understand, such as
    ``/data/local-files/?d=``. A folder named there may be read from, like one of ``roots``.
    ``served``: what the annotation platform serves itself, with its key and wherever it is.
    ``max_bytes`` of a file, a response or a data: URL; ``max_pixels`` of a picture once opened; ``timeout_s`` for
    all of a download, redirects and the second try included. ``files`` and ``urls`` turn whole sources off.
    """

    roots: tuple[Path, ...] = (Path(),)
    hosts: frozenset[str] = frozenset()
    prefixes: Mapping[str, str] = field(default_factory=dict)
    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    timeout_s: float = 15.0
    files: bool = True
    urls: bool = True
    served: Served = NOTHING_SERVED

    @classmethod
    def of(cls, roots: Iterable[Path], folders: str, hosts: str, served: Served = NOTHING_SERVED) -> ImageRules:
        """Rules with the ``folders`` and internal ``hosts`` of the settings, separated by commas, beside ``roots``."""
        named = [Path(name.strip()) for name in folders.split(",") if name.strip()]
        allowed = frozenset(name.strip() for name in hosts.split(",") if name.strip())
        return cls(roots=(*roots, *named), hosts=allowed, served=served)

    def for_requests(self) -> ImageRules:
        """The same for addresses that callers of the service send: no files of this machine, and little patience.

        They have shown a token, so the internal hosts that are allowed are read for them too. Prefixes stay: what they
        lead to is on show on the platform.
        """
        return replace(self, roots=(), timeout_s=min(self.timeout_s, REQUEST_TIMEOUT_S))

    def told(self) -> dict[str, Any]:
        """The rules as JSON for another process, whatever folder that runs in; pydantic reads it.

        No key goes along: what the platform serves has been encoded by then, and is known by its address.
        """
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        roots = [str(root.expanduser().absolute()) for root in self.roots]
        parts = {
            "prefixes": dict(self.prefixes),
            "served": {"address": self.served.address, "buckets": self.served.buckets},
        }
        return values | {"roots": roots, "hosts": sorted(self.hosts)} | parts

    def is_web(self, address: str) -> bool:
        """Whether ``address`` is downloaded."""
        return self.rewrite(address)[:8].lower().startswith(("http://", "https://"))

    def rewrite(self, address: str) -> str:
        """``address`` with the longest prefix that fits replaced; what follows a folder is unquoted (``%20``)."""
        for prefix in sorted(self.prefixes, key=len, reverse=True):
            if address.startswith(prefix):
                place, rest = self.prefixes[prefix], address[len(prefix) :]
                return place + rest if "://" in place else f"{place.rstrip('/')}/{unquote(rest)}"
        return self.served.find(address)

    def pinned(self, address: str) -> str:
        """The ``address`` of a file as it is now: absolute, and with its size and time, which no other file has.

        What is remembered by it is never taken for another data set's file of the same name, nor for an older one.
        What is no file, or is not there, keeps its address.
        """
        if self.is_web(address) or address[:5].lower() == "data:" or (path := file_path(self.rewrite(address))) is None:
            return address
        try:
            found = self.find(path)
            is_now = found.stat()
        except (UnreadableImage, OSError):
            return address
        return f"{found.as_uri()}#{is_now.st_mtime_ns}-{is_now.st_size}"

    def find(self, address: str) -> Path:
        """The file that the path ``address`` names, symbolic links resolved. Raises UnreadableImage."""
        if not self.files:
            raise UnreadableImage(address, "refused", "files are not read here")
        mapped = [Path(folder) for folder in self.prefixes.values() if "://" not in folder]
        roots = [root.expanduser().resolve() for root in (*self.roots, *mapped)]
        try:
            # An absolute path stays as it is when joined. On Windows parts are written apart by back-slashes.
            named = [address, address.replace("\\", "/")] if "\\" in address else [address]
            places = [(root / Path(name).expanduser()).resolve() for name in named for root in roots]
            inside = [place for place in places if any(place.is_relative_to(root) for root in roots)]
            found = next((place for place in inside if place.is_file()), None)
        except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, a loop of links
            raise UnreadableImage(address, "missing", f"this is no path: {error}") from None
        if found is not None:
            return found
        if address[1:3] in (":\\", ":/"):
            raise UnreadableImage(address, "missing", "this is a path of a Windows machine: give one that is there")
        if not roots or len(inside) < len(places):
            allowed = ", ".join(map(str, roots)) or "none"
            raise UnreadableImage(
                address,
                "refused",
                f"it is outside the folders that images are read from ({allowed})",
                fix="name its folder in NEXTLABEL_IMAGE_FOLDERS, if it is meant to be read",
            )
        raise UnreadableImage(address, "missing", f"there is no such file in {', '.join(map(str, roots))}")
