"""Readers of the formats that published data sets come in; and those that are public, fetched once and kept."""

from __future__ import annotations

from pathlib import Path

import httpx

from nextlabel.backend.encoders.base import default_cache_dir
from nextlabel.backend.files import atomic_path
from nextlabel.connectors.certificates import trusted
from nextlabel.connectors.errors import DataError

TIMEOUT_S = 30.0
MAX_BYTES = 200_000_000


def fetched(address: str, name: str) -> Path:
    """The file at ``address``, kept as ``name`` in the user's cache folder; downloaded unless it is there.

    Raises DataError, which says how to go on without a network. What is downloaded by half is not kept.
    """
    target = default_cache_dir() / "data" / name
    if target.is_file():
        return target
    try:
        with (
            atomic_path(target) as path,
            path.open("wb") as file,
            httpx.stream("GET", address, follow_redirects=True, timeout=TIMEOUT_S, verify=trusted()) as reply,
        ):
            reply.raise_for_status()
            for chunk in reply.iter_bytes():
                file.write(chunk)
                if file.tell() > MAX_BYTES:
                    raise DataError(f"{address}: more than {MAX_BYTES:,} bytes; this can't be the data")
    except (httpx.HTTPError, OSError) as error:
        raise DataError(
            f"{address} can't be downloaded ({type(error).__name__}: {error}); download it elsewhere, and give the "
            "file with --data"
        ) from None
    return target
