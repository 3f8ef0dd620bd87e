"""Label Studio: projects, tasks, the queue and webhooks, behind the one connector protocol."""

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
