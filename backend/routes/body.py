"""Reading JSON from strangers: whatever arrives becomes plain, bounded values, or a 4xx that says why.

Values that would go off later are defused here: NaN and infinities become null, integers that fit no
database column become text, lone surrogates (which can't be encoded) become U+FFFD, nesting has a limit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from fastapi import Body, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

MAX_DEPTH: Final = 100  # Label Studio's deepest payload has about 12 levels
_LARGEST_INT: Final = 2**63 - 1
_ESCAPED_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class JsonRoute(APIRoute):
    """A route whose body, where it has one, is read by :func:`read_json`, and refused in words."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own, around a request that reads JSON as we do."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            if self.body_field is not None:
                request = _Read(request, await read_json(request), await request.body())
            try:
                return await handler(request)
            except RequestValidationError as error:
                raise HTTPException(422, _complaint(error.errors())) from None

        return handle


class _Read(Request):
    """A request whose JSON is known."""

    def __init__(self, request: Request, value: dict[str, Any], raw: bytes) -> None:
        super().__init__(request.scope, request.receive)
        self._body, self._value = raw, value

    async def json(self) -> dict[str, Any]:
        """What was read."""
        return self._value


def examples(**named: Any) -> Any:
    """A body with examples for the API page, by their names."""
    return Body(openapi_examples={name.replace("_", " "): {"value": value} for name, value in named.items()})


async def read_json(request: Request) -> dict[str, Any]:
    """The JSON object in the body. Raises HTTPException 400 (not JSON, not an object) or 415 (not sent as JSON)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise HTTPException(415, "send JSON, with the header Content-Type: application/json")
    value = parse(await request.body())
    if not isinstance(value, dict):
        raise HTTPException(400, "the body must be a JSON object")
    return value


def parse(raw: bytes) -> Any:
    """The defused value of a JSON text. Raises HTTPException 400."""
    try:
        value = _DECODER.decode(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise HTTPException(400, "the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from None
    except RecursionError:
        raise HTTPException(400, f"the body is nested deeper than {MAX_DEPTH} levels") from None
    _check_depth(value)
    return _without_surrogates(value) if _ESCAPED_SURROGATE.search(raw) else value


def _parse_int(digits: str) -> int | str:
    if len(digits) > 20:
        return digits  # a 5,000-digit number would even fail to convert
    number = int(digits)
    return number if -_LARGEST_INT <= number <= _LARGEST_INT else digits


def _parse_float(digits: str) -> float | None:
    number = float(digits)
    return number if number - number == 0 else None  # 1e999 is inf


_DECODER: Final = json.JSONDecoder(
    parse_int=_parse_int, parse_float=_parse_float, parse_constant=lambda name: None, strict=False
)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return
    raise HTTPException(400, f"the body is nested deeper than {MAX_DEPTH} levels")


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


def _complaint(errors: Sequence[Any]) -> str:
    """Which part is wrong, without echoing it."""
    return "; ".join(f"{'.'.join(map(str, item['loc'][1:]))}: {item['msg']}" for item in errors)
