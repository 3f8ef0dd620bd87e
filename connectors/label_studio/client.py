"""The way to a Label Studio server, and to the projects on it: the SDK wherever it has the call, else httpx.

Both share one httpx client, so they share its connections, its timeouts and the token (which the SDK renews where it
is a personal access token).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

import httpx
import structlog
from typing_extensions import override

from nextlabel.connectors.base import NewProject
from nextlabel.connectors.basics import Json
from nextlabel.connectors.errors import ConnectorError, MissingExtra, ProjectNotFound, Unauthorized
from nextlabel.connectors.http import NO_HEADERS, PlatformClient, absent_is_fine
from nextlabel.connectors.label_studio.config import write_config
from nextlabel.connectors.project import Projects

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

T = TypeVar("T")

log = structlog.get_logger(__name__)

SAMPLING = "Uncertainty sampling"
"""The sampling that serves the tasks of the model version in force first, by their score."""
TITLE = "nextlabel"
"""The ML backend's title. Never a model version: where the two are equal, Label Studio asks for live predictions at
every step and the order of the queue turns random."""
OURS = "nl-"
"""Every version that we publish begins with this."""
PAGE = 100
"""Projects a page; Label Studio gives no more."""
SHORTEST_TITLE, LONGEST_TITLE = 3, 50
"""Others are refused."""
READ = "id,title,label_config,maximum_annotations,model_version,sampling"
"""What is read of a project."""


class Client(PlatformClient):
    """One server, one token. Thread-safe.

    Over plain http each request opens a connection of its own: Label Studio's development server answers a kept
    connection 43-75 ms later (Nagle's algorithm against delayed acknowledgements). Over https, where a reverse proxy
    stands in front and a handshake is dear, connections are kept.
    """

    platform = "Label Studio"
    header = "Authorization"
    example = "http://127.0.0.1:8080"
    token_name = "token"  # noqa: S105  a word for messages
    token_hint = "copy one from Account & Settings; legacy tokens must be switched on for the organisation"  # noqa: S105
    token_owner = "a member of the project"  # noqa: S105
    settings = ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY")
    headers_setting = "NEXTLABEL_LABEL_STUDIO_HEADERS"
    tried = (1, 20)

    def __init__(
        self,
        url: str,
        token: str,
        headers: Mapping[str, str] = NO_HEADERS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(url, token, keep=not url.startswith("http:"), headers=headers, transport=transport)
        self._sdk: LabelStudio | None = None

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
            # It looks for new access tokens at the root of the server, whatever path the server lies under.
            self._sdk._client_wrapper._tokens_client._base_url = f"{self.url}/"
        return self._sdk

    @override
    def call(self, function: Callable[[], T], *, again: bool = False) -> T:
        """See :meth:`PlatformClient.call`. An access token that is refused is renewed once.

        The SDK renews it when it has expired by our time of day: where our clock is behind, that is too late, and each
        request would be refused until we get there.
        """
        try:
            return super().call(function, again=again)
        except Unauthorized:
            if not self._forget_access_token():
                raise
        return super().call(function, again=again)

    def _forget_access_token(self) -> bool:
        """Have the next request get another access token; whether we had one, which legacy tokens know nothing of."""
        if self._sdk is None or self._sdk._client_wrapper._tokens_client._access_token is None:
            return False
        self._sdk._client_wrapper._tokens_client._access_token = None
        return True

    @override
    def authorization(self) -> Mapping[str, str]:
        """The SDK's header: it knows the token's kind, and renews one that expires."""
        return {self.header: self.sdk._client_wrapper.get_headers()[self.header]}

    @override
    def sdk_failure(self, error: Exception) -> ConnectorError | None:
        try:
            from label_studio_sdk.core.api_error import ApiError
        except ImportError:  # then it is no error of the SDK
            return None
        return self.failure(error.status_code or 0, error.body) if isinstance(error, ApiError) else None

    @override
    def forbids_token(self, status: int, said: str) -> bool:
        """A 403 may also be about an address of ours that Label Studio will not call."""
        return status == 401 or (status == 403 and "reserved network address" not in said)


class LabelStudioProjects(Projects[Client]):
    """The projects that one token may see.

    One request may make two. On SQLite, Label Studio repeats by itself a request during which its database was locked
    (``DatabaseIsLockedRetryMiddleware``), and it writes a project in several transactions: what the first try wrote
    stays.
    """

    @override
    def create(self, new: NewProject) -> Json:
        title, xml = titled(new.title), write_config(new.labeling)
        made = self.client.call(
            lambda: self.client.sdk.projects.create(
                title=title,
                description=_written(new.mark) if new.mark else "",
                label_config=xml,
                sampling=SAMPLING,
                maximum_annotations=new.overlap,
                show_collab_predictions=True,
            )
        )
        return self.find(str(made.id))

    @override
    def check(self, new: NewProject) -> None:
        """Everybody may make projects."""
        write_config(new.labeling)
        self.client.expect(self.client.get("/api/current-user/whoami"), "id")

    @override
    def find(self, project: str, workspace: str = "") -> Json:
        number = project if project.isdecimal() else self._titled(project)
        found: Json | None = self.client.find(f"/api/projects/{int(number)}", {"include": READ})
        if found is None:
            raise ProjectNotFound(f"{self.client.url} has no project {project} that this token may see")
        return self.client.expect(found, "label_config")

    def _titled(self, title: str) -> str:
        """The id of the only project with this title."""
        found = [str(one["id"]) for one in self._all() if one["title"] == title]
        if not found:
            raise ProjectNotFound(
                f"{self.client.url} has no project {title!r} that this token may see; its id is the number in the "
                "address bar"
            )
        if len(found) > 1:
            ids = ", ".join(sorted(found, key=int))
            raise ProjectNotFound(f"several projects are called {title!r}: name one by its id, {ids}")
        return found[0]

    @override
    def with_mark(self, mark: str) -> list[str]:
        """The newest first, which has all its parts."""
        found = [one for one in self._all() if _written(mark) in str(one["description"] or "")]
        return [str(number) for number in sorted((int(one["id"]) for one in found), reverse=True)]

    @override
    def is_empty(self, project: str) -> bool:
        found = self.client.find(f"/api/projects/{project}", {"include": "id,task_number"})
        return found is None or int(found["task_number"]) == 0

    @override
    def remove(self, project: str) -> None:
        with absent_is_fine():
            self.client.request("DELETE", f"/api/projects/{project}/", again=True)

    def _all(self) -> Iterator[Json]:
        """Every project that the token may see, the newest first, so that one made meanwhile hides none."""
        number = 1
        while True:
            params = {"include": "id,title,description", "page": number, "page_size": PAGE}
            page = self.client.expect(self.client.get("/api/projects/", params), "results")
            yield from page["results"]
            if not page["next"]:
                return
            number += 1


def titled(title: str) -> str:
    """``title`` as Label Studio takes it."""
    if len(title) > LONGEST_TITLE:
        log.warning("Label Studio's titles are shorter: the end is left out", title=title, longest=LONGEST_TITLE)
        return f"{title[: LONGEST_TITLE - 1].rstrip()}…"
    return title if len(title) >= SHORTEST_TITLE else f"{title} project"


def _written(mark: str) -> str:
    return f"Made by nextlabel (store {mark})."


def is_our_version(version: str) -> bool:
    """Whether a model version is one that we publish, or that our backend names."""
    return version == TITLE or version.startswith(OURS)
