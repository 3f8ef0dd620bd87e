"""Argilla 2.x: datasets, records, people's queues and webhooks, behind the one connector protocol."""

from nextlabel.connectors.argilla.config import Form
from nextlabel.connectors.argilla.connector import ArgillaConnector

__all__ = ["ArgillaConnector", "Form"]
