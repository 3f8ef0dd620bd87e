"""Label Studio: projects, tasks, the queue and webhooks, behind the one connector protocol.

What is named here is imported when it is first used: a command that only reads settings needs no HTTP client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nextlabel.connectors.label_studio.config import (
        UID_KEY,
        Form,
        form_of,
        labeling_from_config,
        read_config,
        write_config,
    )
    from nextlabel.connectors.label_studio.connector import LabelStudioConnector
    from nextlabel.connectors.label_studio.payloads import prediction_from, record_from_task
    from nextlabel.connectors.label_studio.webhooks import SECRET_HEADER

__all__ = [
    "SECRET_HEADER",
    "UID_KEY",
    "Form",
    "LabelStudioConnector",
    "form_of",
    "labeling_from_config",
    "prediction_from",
    "read_config",
    "record_from_task",
    "write_config",
]
_ELSEWHERE = {
    "SECRET_HEADER": "webhooks",
    "LabelStudioConnector": "connector",
    "prediction_from": "payloads",
    "record_from_task": "payloads",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'config')}"), name)
