"""What a platform answered to somebody who works there, or the error that it is."""

from __future__ import annotations

from typing import Any

import httpx

from nextlabel.connectors.errors import PlatformError


def checked(answer: httpx.Response) -> httpx.Response:
    """``answer``, unless it says no. Raises PlatformError with what was asked and how the refusal begins."""
    if answer.is_error:
        asked = f"{answer.request.method} {answer.request.url.path}"
        raise PlatformError(f"{asked}: {answer.status_code}", status=answer.status_code, body=answer.text[:500])
    return answer


def json_of(answer: httpx.Response) -> dict[str, Any]:
    """The object that was answered. Raises PlatformError as :func:`checked` does."""
    body: dict[str, Any] = checked(answer).json()
    return body
