"""Argilla 2.x: datasets, records, people's queues and webhooks, behind the one connector protocol.

What is named here is imported when it is first used: a command that only reads settings needs no HTTP client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nextlabel.connectors.argilla.config import Form
    from nextlabel.connectors.argilla.connector import ArgillaConnector

__all__ = ["ArgillaConnector", "Form"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'connector' if name == 'ArgillaConnector' else 'config'}"), name)
