"""The platform in memory keeps the contract of every connector."""

from __future__ import annotations

import pytest

from nextlabel.connectors.base import Connector
from nextlabel.connectors.records import AnnotationStatus
from nextlabel.connectors.testing import MemoryConnector
from tests.contract.connector_contract import *  # noqa: F403 - the tests
from tests.contract.connector_contract import LABELING, Platform


@pytest.fixture
def platform() -> Platform:
    def memory(connector: Connector) -> MemoryConnector:
        assert isinstance(connector, MemoryConnector)
        return connector

    def answer(connector: Connector, remote_id: str, label: str | None, user: int) -> str:
        status = AnnotationStatus.SKIPPED if label is None else AnnotationStatus.SUBMITTED
        return memory(connector).annotate(remote_id, label, f"user{user}", status).id

    return Platform(
        "memory",
        make=lambda labeling=LABELING: MemoryConnector(labeling),
        answer=answer,
        take_back=lambda connector, given, user: memory(connector).take_back(given),
        delete=lambda connector, remote_id: memory(connector).delete(remote_id),
        correct=lambda connector, remote_id, text: memory(connector).correct(remote_id, text=text),
        next=lambda connector, user: memory(connector).next(f"user{user}"),
        unknown={"event": "nobody knows this"},
        keeps_rows=True,
    )
