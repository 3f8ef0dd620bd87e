"""The way to a Label Studio server: the SDK wherever it has the call, httpx where it lacks it.

Both share one httpx client, so they share its connections, its timeouts and the token (which the SDK renews where it
is a personal access token). Every failure comes out as an error of :mod:`nextlabel.connectors.errors`.
"""

from __future__ import annotations

import email.utils
import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import stamina

from nextlabel.connectors.errors import (
    ConfigError,
    ConnectorError,
    MissingExtra,
    PlatformError,
    PlatformUnavailable,
    Unauthorized,
)

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

T = TypeVar("T")

TIMEOUT = httpx.Timeout(60, connect=5)
IMPORT_TIMEOUT_S = 600
BUSY = (408, 425, 429)
SHORT = 400
"""Characters of an answer that an error quotes."""


class Client:
    """One server, one token. Thread-safe.

    Over plain http each request opens a connection of its own: Label Studio's development server answers a kept
    connection 43-75 ms later (Nagle's algorithm against delayed acknowledgements). Over https, where a reverse proxy
    stands in front and a handshake is dear, connections are kept.
    """

    def __init__(self, url: str, token: str, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        parts = httpx.URL(self.url)
        if parts.scheme not in ("http", "https") or not parts.host:
            raise ConfigError(f"{url!r} is no address of a Label Studio: it should look like http://127.0.0.1:8080")
        if not token.strip():
            raise ConfigError("the Label Studio token is empty; copy one from Account & Settings")
        limits = httpx.Limits(max_keepalive_connections=0 if parts.scheme == "http" else 20)
        self._http = httpx.Client(timeout=TIMEOUT, limits=limits, transport=transport, follow_redirects=False)
        self._token = token.strip()
        self._sdk: LabelStudio | None = None

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    @property
    def sdk(self) -> LabelStudio:
        """The SDK's client, without its retries: those repeat POSTs, which doubles imports."""
        if self._sdk is None:
            try:
                from label_studio_sdk import LabelStudio
            except ImportError:
                raise MissingExtra("label-studio-sdk", "label-studio") from None
            self._sdk = self.call(
                lambda: LabelStudio(
                    base_url=self.url, api_key=self._token, httpx_client=self._http, timeout=60, max_retries=0
                )
            )
        return self._sdk

    def call(self, function: Callable[[], T], *, again: bool = False) -> T:
        """Call the SDK; ``again`` retries while the platform is unavailable, for calls that may be repeated.

        Raises what :func:`translated` makes of the failure.
        """
        if not again:
            return _translated(function)
        for attempt in stamina.retry_context(on=PlatformUnavailable, attempts=4, wait_initial=0.1, wait_max=2.0):
            with attempt:
                return _translated(function)
        raise AssertionError("unreachable: stamina raises when its attempts are used up")

    def request(
        self,
        method: str,
        path: str,
        *,
        again: bool = False,
        params: dict[str, Any] | None = None,
        body: Any = None,
        timeout: float | None = None,
    ) -> Any:
        """One raw request; the answer's JSON, or None if it has no body. Errors and ``again`` as in :meth:`call`."""
        return _body(self.respond(method, path, again=again, params=params, body=body, timeout=timeout))

    def respond(
        self,
        method: str,
        path: str,
        *,
        again: bool = False,
        params: dict[str, Any] | None = None,
        body: Any = None,
        timeout: float | None = None,
    ) -> httpx.Response:
        """One raw request; the whole answer."""
        content = None if body is None else dump(body)
        sdk = self.sdk

        def send() -> httpx.Response:
            headers = {"Authorization": sdk._client_wrapper.get_headers()["Authorization"]}
            if content is not None:
                headers["Content-Type"] = "application/json"
            answer = self._http.request(
                method, self.url + path, params=params, content=content, headers=headers, timeout=timeout or TIMEOUT
            )
            check(answer)
            return answer

        return self.call(send, again=again)

    def close(self) -> None:
        """Release connections."""
        self._http.close()


def dump(body: Any) -> bytes:
    """JSON in UTF-8. Raises UnicodeEncodeError on lone surrogates, which no platform could store."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def check(answer: httpx.Response) -> None:
    """Raise the error that stands for the status of ``answer``, if it is not a success."""
    if not answer.is_success:
        raise failure(answer.status_code, answer.text, f"{answer.request.method} {answer.request.url.path}")


def failure(status: int, body: object, where: str = "Label Studio") -> ConnectorError:
    """The error that stands for an HTTP status. ``body`` is the answer, text or JSON."""
    said = reason(body)
    if status == 401 or (status == 403 and "reserved network address" not in said):
        return Unauthorized(
            f"{where}: Label Studio refused the token ({status}: {said}). Copy a new one from Account & Settings; "
            "legacy tokens must be switched on for the organisation"
        )
    if status >= 500 or status in BUSY:
        return PlatformUnavailable(f"{where}: Label Studio answered {status}: {said}")
    return PlatformError(f"{where}: Label Studio answered {status}: {said}", status=status, body=said)


def reason(body: object) -> str:
    """The telling part of an error's body, shortened."""
    if isinstance(body, (bytes, str)):
        try:
            body = json.loads(body)
        except ValueError:
            text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
            title = re.search(r"<title>(.*?)</title>", text, re.DOTALL)
            return (title.group(1) if title else text).strip()[:SHORT]
    if isinstance(body, dict):
        body = body.get("validation_errors") or body.get("detail") or body
    return (body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=str))[:SHORT]


def server_time(answer: httpx.Response) -> datetime | None:
    """What the server's clock says, to the second."""
    try:
        return email.utils.parsedate_to_datetime(answer.headers["date"])
    except (KeyError, ValueError):
        return None


def _body(answer: httpx.Response) -> Any:
    if not answer.content:
        return None
    try:
        return answer.json()
    except ValueError:
        raise PlatformError(
            f"{answer.request.url.path} did not answer with JSON: is this the address of a Label Studio?",
            status=answer.status_code,
            body=reason(answer.text),
        ) from None


def _translated(function: Callable[[], T]) -> T:
    """Call ``function``; errors of httpx and of the SDK come out as ours."""
    from label_studio_sdk.core.api_error import ApiError

    try:
        return function()
    except ApiError as error:
        raise failure(error.status_code or 0, error.body) from None
    except httpx.TimeoutException as error:
        raise PlatformUnavailable(f"Label Studio did not answer in time ({type(error).__name__})") from None
    except httpx.TransportError as error:
        raise PlatformUnavailable(f"Label Studio can't be reached: {error or type(error).__name__}") from None
    except (httpx.InvalidURL, httpx.DecodingError, json.JSONDecodeError) as error:
        raise PlatformError(f"no sense in Label Studio's answer: {error}", status=0) from None
