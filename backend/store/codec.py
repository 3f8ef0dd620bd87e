"""How values become columns, and back: JSON text, and time as integer microseconds since 1970 in UTC."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from nextlabel.connectors.records import Span, Value

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ENCODER = json.JSONEncoder(separators=(",", ":"), default=str)


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970. A moment without a time zone is taken as UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The moment in UTC; the inverse of ``to_micros``, exact."""
    return _EPOCH + micros * _MICROSECOND


def now_micros() -> int:
    """The present."""
    return to_micros(datetime.now(UTC))


def dump(value: Mapping[str, Any]) -> str:
    """A mapping as ASCII JSON, so that lone surrogates and NUL characters survive every database."""
    return _ENCODER.encode(dict(value))


def dump_value(value: Value) -> str:
    """An answer as JSON: labels as strings, spans as [start, end, label]."""
    parts = [[part.start, part.end, part.label] if isinstance(part, Span) else part for part in value]
    return _ENCODER.encode(parts)


def load_value(text: str) -> Value:
    """The inverse of ``dump_value``."""
    parts = json.loads(text)
    if parts and isinstance(parts[0], list):
        return tuple(Span(start, end, label) for start, end, label in parts)
    return tuple(parts)


def lot(seed: str, uid: str) -> float:
    """A number in [0, 1), uniform over uids, fixed by ``seed`` and ``uid``: 53 bits of a keyed hash."""
    digest = hashlib.blake2b(uid.encode("utf-8", "surrogatepass"), digest_size=8, key=_key(seed)).digest()
    return (int.from_bytes(digest, "little") >> 11) / (1 << 53)


@cache
def _key(seed: str) -> bytes:
    return hashlib.blake2b(seed.encode(), digest_size=16).digest()
