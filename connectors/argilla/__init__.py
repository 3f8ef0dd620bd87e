"""Argilla 2.x: datasets, records, people's queues and webhooks, behind the one connector protocol."""

from .config import Form
from .connector import ArgillaConnector

__all__ = ["ArgillaConnector", "Form"]
