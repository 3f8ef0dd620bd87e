"""Addresses of services in settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def _address(value: str) -> str:
    value = value.strip().rstrip("/")
    if value and not value.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    return value


Address = Annotated[str, AfterValidator(_address)]
"""An http(s) address without a slash at its end; may be empty."""
