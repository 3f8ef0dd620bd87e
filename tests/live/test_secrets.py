"""What is secret of an address is used, and shown to nobody on the platform."""

from __future__ import annotations

import json

from nextlabel.backend.stack import ArgillaServer
from nextlabel.connectors.argilla.connector import ArgillaConnector
from nextlabel.connectors.base import NewProject
from nextlabel.connectors.records import Labeling, LabelKind, Record
from tests.live.argilla_calls import Api


def test_a_password_in_argillas_address_is_in_no_link(argilla: ArgillaServer, api: Api) -> None:
    address = argilla.url.replace("http://", "http://proxy:S3cretWord@")
    labeling = Labeling(LabelKind.SINGLE, ("sport", "politics"))
    connector = ArgillaConnector.create(address, argilla.token, NewProject("behind a proxy", labeling))
    try:
        connector.push([Record("one", {"text": "a text"})])
        connector._queue.look_after(connector.form)
        connector._webhooks.guidelines(connector.links())
        seen = json.dumps(api("GET", f"/datasets/{connector.project.id}"))
        shown = [connector.project.url, connector.project.link, *connector.links().values(), seen]
        assert "annotation-mode" in seen
        assert not any("S3cret" in text for text in shown)
    finally:
        connector.close()
        api("DELETE", f"/datasets/{connector.project.id}")
