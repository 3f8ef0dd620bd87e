"""Where the bytes of a data file come from: a file, packed or not, a web address, standard input."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, cast
from urllib.parse import urlsplit

from nextlabel.connectors import certificates
from nextlabel.connectors.errors import DataError, MissingExtra
from nextlabel.connectors.hiding import TERMINAL, secrets_in, shown

from .rows import first_few

FILE_SUFFIXES: Final = frozenset(
    {".csv", ".tsv", ".tab", ".txt", ".jsonl", ".ndjson", ".json", ".parquet", ".xlsx", ".xls", ".xlsb", ".ods"}
)
STDIN: Final = "-"

_PACKED: Final = frozenset({".gz", ".bz2", ".xz", ".zst", ".zip"})
UNREADABLE: Final = (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, NotImplementedError)
"""What reading raises for a file that is gone, locked, cut off or packed wrongly."""


@dataclass(frozen=True, slots=True)
class Source:
    """Bytes that can be read more than once. ``suffix`` says what they are, in small letters: ``.csv``.

    ``path`` is the file that has them as they are, None if they have to be unpacked.
    """

    name: str
    suffix: str
    opened: Callable[[], IO[bytes]]
    path: Path | None = None


def is_file_name(given: str) -> bool:
    """Whether ``given`` means a file by its looks, there or not, and not a folder or a data set of the hub."""
    path = PurePosixPath(given)
    inner = path.with_suffix("") if path.suffix.lower() in _PACKED else path
    return is_address(given) or given == STDIN or inner != path or inner.suffix.lower() in FILE_SUFFIXES


def is_address(given: str) -> bool:
    """Whether ``given`` is the address of a file on the web."""
    return given.startswith(("http://", "https://"))


def beside(folder: Path, given: str) -> str:
    """``given`` as a recipe in ``folder`` means it: files and folders are looked for there."""
    if given == STDIN or is_address(given):
        return given
    path = folder / Path(given).expanduser()
    return str(path) if is_file_name(given) or path.exists() else given


def find_source(given: str) -> Source | None:
    """The file that ``given`` means: a path, an http(s) address, or ``-`` for standard input. None: it is no file.

    Raises DataError if there is no such file, or it can't be had.
    """
    if given == STDIN:
        return _kept(given, "", lambda into: shutil.copyfileobj(sys.stdin.buffer, into))
    if is_address(given):
        TERMINAL.add(secrets_in(given))
        return _kept(given, urlsplit(given).path, lambda into: _download(given, into))
    path = Path(given).expanduser()
    if path.is_file():
        return _unpacked(given, path, path.name)
    if is_file_name(given) and not path.is_dir():
        raise DataError(f"{given}: there is no such file (looked in {path.absolute().parent})")
    return None


def _kept(name: str, path: str, fill: Callable[[IO[bytes]], None]) -> Source:
    """What ``fill`` writes, in a file that goes when nobody reads it any more."""
    kept = tempfile.NamedTemporaryFile(prefix="nextlabel-")  # noqa: SIM115
    fill(kept)
    kept.flush()
    source = _unpacked(name, Path(kept.name), path)

    def opened(keep: Any = kept) -> IO[bytes]:
        return source.opened()

    return Source(name, source.suffix, opened)


def _download(address: str, into: IO[bytes]) -> None:
    import httpx

    try:
        with httpx.stream("GET", address, follow_redirects=True, timeout=30, verify=certificates.trusted()) as answer:
            answer.raise_for_status()
            for part in answer.iter_bytes():
                into.write(part)
    except httpx.HTTPStatusError as error:  # whose words hold the whole address
        raise DataError(f"{shown(address)}: can't be downloaded: HTTP {error.response.status_code}") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DataError(f"{shown(address)}: can't be downloaded: {error}{certificates.hint(error)}") from None


def _unpacked(name: str, path: Path, called: str) -> Source:
    """The bytes in ``path``, unpacked as the ending of ``called`` asks for."""
    inner = PurePosixPath(called)
    packing = inner.suffix.lower()
    with path.open("rb") as file:
        start = file.read(8)
    if packing not in _PACKED and start.startswith(b"\x1f\x8b"):  # some tools unpack the name and not the file
        return Source(name, packing, lambda: cast(IO[bytes], gzip.open(path, "rb")))
    if packing not in _PACKED:
        return Source(name, packing, lambda: path.open("rb"), path)
    suffix = inner.with_suffix("").suffix.lower()
    if packing == ".zip":
        member = _only_member(name, path)
        return Source(name, PurePosixPath(member).suffix.lower(), lambda: zipfile.ZipFile(path).open(member))
    if packing == ".zst":
        return Source(name, suffix, lambda: _zstandard(path))
    module = {".gz": gzip, ".bz2": bz2, ".xz": lzma}[packing]
    return Source(name, suffix, lambda: cast(IO[bytes], module.open(path, "rb")))


def _only_member(name: str, path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.namelist() if not one.endswith("/") and not one.startswith("__MACOSX/")]
    except UNREADABLE as error:
        raise DataError(f"{name}: can't be unpacked: {error}") from None
    if len(members) != 1:
        raise DataError(
            f"{name}: holds {len(members)} files ({first_few(members)}); unpack it, and name the one to read"
        )
    return members[0]


def _zstandard(path: Path) -> IO[bytes]:
    try:
        import pyarrow  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtra("pyarrow", "train") from None
    return io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd"))
