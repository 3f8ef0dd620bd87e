"""The way to a platform's server, whichever it is: requests, retries, and every failure as an error of ours.

A platform's own client builds on :class:`PlatformClient`, and gives it the headers that carry the token and the words
for what goes wrong. What the doctor looks at on every platform is here too: does the server answer, is it new enough,
do the clocks agree.
"""

from __future__ import annotations

import email.utils
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import httpx
import stamina

from nextlabel.connectors import certificates
from nextlabel.connectors.base import Finding
from nextlabel.connectors.basics import Json, elapsed
from nextlabel.connectors.errors import (
    ConfigError,
    ConnectorError,
    LabelingMismatch,
    NotThePlatform,
    PlatformError,
    PlatformUnavailable,
    RecordsRejected,
    Unauthorized,
)
from nextlabel.connectors.hiding import shown
from nextlabel.connectors.in_between import Rest, elsewhere, proxy_hint
from nextlabel.connectors.records import Record

T = TypeVar("T")

NO_HEADERS: Mapping[str, str] = MappingProxyType({})

TIMEOUT = httpx.Timeout(60, connect=5)
IMPORT_TIMEOUT_S = 600
"""For requests that carry many rows."""
BUSY = (408, 425, 429)
SHORT = 400
"""Characters of an answer that an error quotes."""
CLOCK_SKEW = timedelta(seconds=5)


class PlatformClient(ABC):
    """One server, one token. Thread-safe.

    ``keep`` is whether connections are kept between requests.
    """

    platform: ClassVar[str]
    """The platform's name, as people write it."""
    example: ClassVar[str]
    """An address as it should look."""
    token_name: ClassVar[str]
    header: ClassVar[str]
    """The header that carries it."""
    token_hint: ClassVar[str]
    """Where people find a token; a sentence without its full stop."""
    token_owner: ClassVar[str]
    """Whose token it should be."""
    settings: ClassVar[tuple[str, str]]
    """The settings that hold address and token, for the doctor's fixes."""
    headers_setting: ClassVar[str]
    """The setting that holds more headers."""
    tried: ClassVar[tuple[int, int]]
    """The oldest release that this was tried with."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        keep: bool,
        headers: Mapping[str, str] = NO_HEADERS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = shown(url).rstrip("/")  # goes into links and messages
        parts = httpx.URL(url)
        if parts.scheme not in ("http", "https") or not parts.host or parts.query:
            raise ConfigError(
                f"{self.url!r} is no address of a server of {self.platform}: it should look like {self.example}"
            )
        if parts.userinfo and self.header.lower() == "authorization":
            raise ConfigError(
                f"{self.settings[0]} has a user and a password, which go where the {self.token_name} goes; have what "
                f"stands in front of {self.platform} ask for another header, and give that in {self.headers_setting}"
            )
        if not token.strip():
            raise ConfigError(f"the {self.platform} {self.token_name} is empty; {self.token_hint}")
        if self.header.lower() in (name.lower() for name in headers):
            raise ConfigError(f"{self.header} carries the {self.platform} {self.token_name}; send no other with it")
        limits = httpx.Limits(max_keepalive_connections=20 if keep else 0)
        self._http = httpx.Client(
            auth=(parts.username, parts.password) if parts.userinfo else None,
            timeout=TIMEOUT,
            limits=limits,
            headers=dict(headers),
            transport=transport,
            verify=True if transport else certificates.trusted(),
            follow_redirects=False,
            event_hooks={"request": [self._leave_alone], "response": [self._hear]},
        )
        self._rest = Rest()
        self._ahead: float | None = None  # the server's time less our elapsed seconds, at its last answer
        self._token = token.strip()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @abstractmethod
    def authorization(self) -> Mapping[str, str]:
        """The headers that carry the token."""

    def sdk_failure(self, error: Exception) -> ConnectorError | None:
        """What an exception of the platform's SDK stands for; None if it is none of its own."""
        return None

    def forbids_token(self, status: int, said: str) -> bool:
        """Whether an answer refuses the token, and not what was asked with it."""
        return status in (401, 403)

    def call(self, function: Callable[[], T], *, again: bool = False) -> T:
        """Call the SDK; ``again`` retries while the platform is unavailable, for calls that may be repeated.

        Raises PlatformUnavailable, Unauthorized or PlatformError.
        """
        if not again:
            return self._translated(function)
        for attempt in stamina.retry_context(on=self._may_help, attempts=4, wait_initial=0.1, wait_max=2.0):
            with attempt:
                return self._translated(function)
        raise AssertionError("unreachable: stamina raises when its attempts are used up")

    def _may_help(self, error: Exception) -> bool:
        """Whether asking again in a moment may."""
        return (
            isinstance(error, PlatformUnavailable) and not isinstance(error, NotThePlatform) and not self._rest.left_s
        )

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
        return self._json(self.respond(method, path, again=again, params=params, body=body, timeout=timeout))

    def get(self, path: str, params: dict[str, Any] | None = None) -> Any:
        """What is at ``path``: asked for again while the platform is unavailable."""
        return self.request("GET", path, again=True, params=params)

    def find(self, path: str, params: dict[str, Any] | None = None, *, again: bool = True) -> Any:
        """What is at ``path``; None where the platform says that there is no such thing."""
        try:
            return self.request("GET", path, again=again, params=params)
        except PlatformError as error:
            if error.status == 404:
                return None
            raise

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
        """One raw request; the whole answer. ``timeout`` in seconds, a minute if not given."""
        content = None if body is None else dump(body)

        def send() -> httpx.Response:
            headers = dict(self.authorization())
            if content is not None:
                headers["Content-Type"] = "application/json"
            answer = self._http.request(
                method, self.url + path, params=params, content=content, headers=headers, timeout=timeout or TIMEOUT
            )
            if not answer.is_success:
                raise self.failure(answer.status_code, answer.text, f"{method} {answer.request.url.path}")
            return answer

        return self.call(send, again=again)

    def now(self) -> datetime:
        """The server's time, as of its last answer and by what has passed since: nobody who sets a clock here moves it.

        Ours, before the first answer that tells.
        """
        return datetime.now(UTC) if self._ahead is None else datetime.fromtimestamp(self._ahead + elapsed(), UTC)

    def _leave_alone(self, request: httpx.Request) -> None:
        """Send nothing to a server that wants to be left alone, whoever of us it told so."""
        if left := self._rest.left_s:
            until = datetime.now().astimezone() + timedelta(seconds=left)
            raise PlatformUnavailable(f"{self.platform} at {self.url} wants to be left alone until {until:%H:%M:%S}")

    def _hear(self, answer: httpx.Response) -> None:
        self._rest.hear(answer)
        if why := elsewhere(answer):
            raise self._not_ours(why, answer.status_code, f"{answer.request.method} {answer.request.url.path}")
        there = server_time(answer)
        if there is not None:
            self._ahead = there.timestamp() - elapsed()

    def failure(self, status: int, body: object, where: str = "") -> ConnectorError:
        """The error that stands for an HTTP status. ``body`` is the answer, text or JSON."""
        said = reason(body)
        where = where or self.platform
        if status in (401, 403, 404) and _is_page(body):
            return self._not_ours(f"a web page answered ({said})", status, where)
        if self.forbids_token(status, said):
            return Unauthorized(
                f"{where}: {self.platform} refused the {self.token_name} ({status}: {said}). {self.token_hint}"
            )
        if status >= 500 or status in BUSY:
            hint = proxy_hint(self.url) if _is_page(body) else ""
            return PlatformUnavailable(f"{where}: {self.platform} answered {status}: {said}{hint}", status=status)
        return PlatformError(f"{where}: {self.platform} answered {status}: {said}", status=status, body=said)

    def _not_ours(self, why: str, status: int, where: str) -> NotThePlatform:
        return NotThePlatform(
            f"{where}: not {self.platform} answered at {self.url} ({status}), but something else: {why}. Is that its "
            f"address? If what is in front of it asks for a header, give it in {self.headers_setting}"
            f"{proxy_hint(self.url)}",
            status=status,
        )

    def expect(self, found: Any, key: str) -> Json:
        """``found``, which has ``key`` if it comes from this platform. Raises PlatformError if it has not."""
        if not isinstance(found, dict) or key not in found:
            raise PlatformError(f"{self.url} does not answer like {self.platform} {self.tried[0]}", status=200)
        return found

    def examine(self, findings: Iterator[Finding]) -> Iterator[Finding]:
        """``findings``, and what ends them early: a platform that is down, refuses the token, or answers nonsense."""
        url, key = self.settings
        try:
            yield from findings
        except Unauthorized as error:
            yield Finding.error("token", str(error), f"set {key} to the {self.token_name} of {self.token_owner}")
        except PlatformUnavailable as error:
            yield Finding.error("reachable", str(error), f"start {self.platform}, or correct {url}")
        except ConnectorError as error:
            fix = f"check that {url} is the address of {self.platform}, and that the project exists"
            yield Finding.error("answers", str(error), fix)

    def server_findings(self, release: str, answer: httpx.Response) -> Iterator[Finding]:
        """That the server gave ``answer``, whether its ``release`` is as new as what was tried, and its clock."""
        yield Finding.ok("reachable", f"{self.platform} {release} at {self.url}")
        numbers = tuple(int(part) for part in release.split(".")[:2] if part.isdigit())
        if numbers < self.tried:
            older = f"{self.platform} {release} is older than what this was tried with"
            yield Finding.warning("release", older, "upgrade it")
        clock = server_time(answer)
        skew = timedelta(0) if clock is None else abs(clock - datetime.now(UTC))
        if skew > CLOCK_SKEW:
            apart = f"the clocks of this machine and of {self.platform} are {skew.total_seconds():.0f} s apart"
            yield Finding.warning("clock", f"{apart}: times are off", "synchronise both with NTP")
        else:
            yield Finding.ok("clock", "the clocks agree")

    def close(self) -> None:
        """Release connections."""
        self._http.close()

    def _json(self, answer: httpx.Response) -> Any:
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError:
            raise PlatformError(
                f"{answer.request.url.path} did not answer with JSON: is this the address of {self.platform}?",
                status=answer.status_code,
                body=reason(answer.text),
            ) from None

    def _translated(self, function: Callable[[], T]) -> T:
        """Call ``function``; errors of httpx and of the SDK come out as ours."""
        try:
            return function()
        except httpx.TimeoutException as error:
            raise PlatformUnavailable(
                f"{self.platform} did not answer in time at {self.url} ({type(error).__name__}){proxy_hint(self.url)}"
            ) from None
        except httpx.TransportError as error:
            said = f"{error or type(error).__name__}{certificates.hint(error)}{proxy_hint(self.url)}"
            raise PlatformUnavailable(f"{self.platform} can't be reached at {self.url}: {said}") from None
        except (httpx.InvalidURL, httpx.DecodingError, json.JSONDecodeError) as error:
            raise PlatformError(f"no sense in the answer of {self.platform}: {error}", status=0) from None
        except Exception as error:
            if (known := self.sdk_failure(error)) is not None:
                raise known from None
            raise


@contextmanager
def absent_is_fine() -> Iterator[None]:
    """Lets pass that something is not there (404): nobody who deletes it wants more."""
    try:
        yield
    except PlatformError as error:
        if error.status != 404:
            raise


def prepared(records: Sequence[Record], write: Callable[[Record], Json]) -> tuple[dict[str, Json], dict[str, str]]:
    """uid -> what to send for each of ``records``; and uid -> the reason, for those that can't be sent.

    Raises RecordsRejected if one uid stands for two different records.
    """
    wanted: dict[str, Json] = {}
    refused: dict[str, str] = {}
    seen: dict[str, Record] = {}
    for record in records:
        if not record.uid or seen.setdefault(record.uid, record) != record:
            raise RecordsRejected(
                f"the uid {record.uid!r} is empty or stands for two different records; nothing was pushed",
                sent=len(records),
                stored=0,
            )
        try:
            item = write(record)
            dump(item)
        except LabelingMismatch as error:
            refused[record.uid] = str(error)
        except (UnicodeEncodeError, TypeError, ValueError) as error:
            refused[record.uid] = f"record {record.uid!r} can't be sent as JSON: {error}"
        else:
            wanted[record.uid] = item
    return wanted, refused


def dump(body: Any) -> bytes:
    """JSON in UTF-8. Raises UnicodeEncodeError on lone surrogates, which no platform could store."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


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


def _is_page(body: object) -> bool:
    return isinstance(body, str) and re.match(r"\s*<(!doctype|html)", body, re.IGNORECASE) is not None


def server_time(answer: httpx.Response) -> datetime | None:
    """What the server's clock says, to the second; None if it doesn't say.

    A proxy may add the time of its own clock: then the earlier one counts, so that nothing is taken for past too soon.
    """
    try:
        found = [email.utils.parsedate_to_datetime(date) for date in answer.headers.get_list("date")]
    except ValueError:
        return None
    return min((one if one.tzinfo else one.replace(tzinfo=UTC) for one in found), default=None)
