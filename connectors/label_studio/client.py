"""The way to a Label Studio server: the SDK wherever it has the call, httpx where it lacks it.

Both share one httpx client, so they share its connections, its timeouts and the token (which the SDK renews where it
is a personal access token).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import httpx

from nextlabel.connectors.errors import ConnectorError, MissingExtra, Unauthorized
from nextlabel.connectors.http import PlatformClient

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

T = TypeVar("T")


class Client(PlatformClient):
    """One server, one token. Thread-safe.

    Over plain http each request opens a connection of its own: Label Studio's development server answers a kept
    connection 43-75 ms later (Nagle's algorithm against delayed acknowledgements). Over https, where a reverse proxy
    stands in front and a handshake is dear, connections are kept.
    """

    platform = "Label Studio"
    example = "http://127.0.0.1:8080"
    token_name = "token"  # noqa: S105  a word for messages
    token_hint = "copy one from Account & Settings; legacy tokens must be switched on for the organisation"  # noqa: S105

    def __init__(self, url: str, token: str, transport: httpx.BaseTransport | None = None) -> None:
        super().__init__(url, token, keep=not url.startswith("http:"), transport=transport)
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
        return self._sdk

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

    def authorization(self) -> Mapping[str, str]:
        """The SDK's header: it knows the token's kind, and renews one that expires."""
        return {"Authorization": self.sdk._client_wrapper.get_headers()["Authorization"]}

    def sdk_failure(self, error: Exception) -> ConnectorError | None:
        """What an error of the SDK stands for."""
        try:
            from label_studio_sdk.core.api_error import ApiError
        except ImportError:  # then it is no error of the SDK
            return None
        return self.failure(error.status_code or 0, error.body) if isinstance(error, ApiError) else None

    def forbids_token(self, status: int, said: str) -> bool:
        """A 403 may also be about an address of ours that Label Studio will not call."""
        return status == 401 or (status == 403 and "reserved network address" not in said)
