"""Talking to the running service, with the token that it made."""

from __future__ import annotations

from typing import Any

from nextlabel.connectors.errors import ConfigError, Overloaded, PlatformUnavailable, Unauthorized

TIMEOUT_S = 600
"""Seconds to wait: the platform may take a tenth of a second per record."""


def call(url: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """What the service at ``url`` answers, JSON.

    Raises PlatformUnavailable if nobody answers, Unauthorized, or with the service's reason ConfigError for a refusal
    and Overloaded for what it can't do now.
    """
    import httpx

    from nextlabel.backend.credentials import credentials
    from nextlabel.backend.settings import Settings

    token = credentials(Settings.load(), create=False).api_token
    try:
        reply = httpx.request(
            method,
            url.rstrip("/") + path,
            json=body,
            headers={"Authorization": f"Bearer {token}"},
            timeout=10 if method == "GET" else TIMEOUT_S,
            trust_env=False,
        )
        if reply.status_code == 401:
            raise Unauthorized(
                f"{url} refuses our token; set NEXTLABEL_HOME or NEXTLABEL_API_TOKEN as the service has it"
            )
        if reply.status_code in (409, 422):
            raise ConfigError(str(reply.json()["detail"]))
        if reply.status_code == 503:
            raise Overloaded(str(reply.json()["detail"]))
        answer: dict[str, Any] = reply.raise_for_status().json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError) as error:
        reason = str(error) or type(error).__name__
        raise PlatformUnavailable(f"no service answers at {url} ({reason}); start one: nextlabel run RECIPE") from None
    return answer
