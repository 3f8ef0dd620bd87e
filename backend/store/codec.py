"""How values become columns, and back: JSON text, and time as integer microseconds since 1970 in UTC."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from typing_extensions import override

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


def now() -> datetime:
    """The present, as columns keep it."""
    return from_micros(now_micros())


class Moment(sa.TypeDecorator[datetime]):
    """A column of moments, kept as ``to_micros`` makes them."""

    impl = sa.BigInteger
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        return None if value is None else to_micros(value)

    @override
    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else from_micros(value)


class Json(sa.TypeDecorator[Mapping[str, Any]]):
    """A column of mappings as ASCII JSON, so that lone surrogates and NUL characters survive every database."""

    impl = sa.Text
    cache_ok = True

    @override
    def process_bind_param(self, value: Mapping[str, Any] | None, dialect: sa.Dialect) -> str:
        return _ENCODER.encode(dict(value or {}))

    @override
    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Mapping[str, Any]:
        found: dict[str, Any] = json.loads(value or "{}")
        return found


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
