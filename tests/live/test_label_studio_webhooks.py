"""Hooking the service up, and the doctor: on a real Label Studio."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nextlabel.backend.stack import Annotator, LabelStudioServer, LabelStudioStack
from nextlabel.connectors.base import BackendAddress, Finding, NewProject, Severity
from nextlabel.connectors.errors import PlatformError
from nextlabel.connectors.label_studio.client import SAMPLING, TITLE
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from nextlabel.connectors.label_studio.diagnose import token_expiry
from nextlabel.connectors.label_studio.webhooks import SECRET_HEADER
from nextlabel.connectors.records import Hint, Labeling, LabelKind, QueueEntry, Record, Suggestion
from tests.live.label_studio_calls import api

Make = Callable[..., LabelStudioConnector]


def project(server: LabelStudioServer, connector: LabelStudioConnector) -> dict[str, object]:
    found: dict[str, object] = api(server, "GET", f"/api/projects/{connector.project.id}").json()
    return found


def hooks(server: LabelStudioServer, connector: LabelStudioConnector) -> list[dict[str, object]]:
    found: list[dict[str, object]] = api(server, "GET", f"/api/webhooks/?project={connector.project.id}").json()
    return found


def backends(server: LabelStudioServer, connector: LabelStudioConnector) -> list[dict[str, object]]:
    found: list[dict[str, object]] = api(server, "GET", f"/api/ml?project={connector.project.id}").json()
    return found


def findings(connector: LabelStudioConnector, backend: BackendAddress | None = None) -> dict[str, Finding]:
    return {finding.code: finding for finding in connector.diagnose(backend)}


def publish(connector: LabelStudioConnector, version: str = "nl-wire-1") -> list[str]:
    ids = list(connector.push([Record(f"u{n}", {"text": f"text {n}"}) for n in range(6)]).values())
    entries = [QueueEntry(task, rank, Suggestion(("sport",), 0.5, "m")) for rank, task in enumerate(ids[:4])]
    connector.publish(version, entries)
    return ids


def test_connect_wires_everything_and_repeats_change_nothing(
    label_studio: LabelStudioServer, label_studio_project: Make, service
):
    connector = label_studio_project()
    api(label_studio, "PATCH", f"/api/projects/{connector.project.id}", json={"sampling": "Sequential sampling"})
    publish(connector)
    connector.connect(service.address())
    [backend] = backends(label_studio, connector)
    assert (backend["title"], backend["url"], backend["state"]) == (TITLE, service.url, "CO")
    setup = next(call for call in service.calls if call.path == "/setup")
    assert setup.headers["Authorization"].startswith("Basic ")
    assert project(label_studio, connector)["sampling"] == SAMPLING
    assert project(label_studio, connector)["model_version"] == "nl-wire-1"
    before = hooks(label_studio, connector)
    assert {(hook["send_payload"], hook["url"]) for hook in before} == {
        (True, f"{service.url}/webhook"),
        (False, f"{service.url}/webhook"),
    }
    assert all(hook["headers"] == {SECRET_HEADER: "a webhook secret"} for hook in before)
    assert not any(hook["send_for_all_actions"] for hook in before)
    connector.connect(service.address())
    assert hooks(label_studio, connector) == before
    assert len(backends(label_studio, connector)) == 1


def test_a_first_backend_does_not_become_the_model_version(
    label_studio: LabelStudioServer, label_studio_project: Make, service
):
    connector = label_studio_project()
    connector.connect(service.address())
    assert not project(label_studio, connector)["model_version"]


def test_another_secret_or_address_replaces_the_old_hooks(
    label_studio: LabelStudioServer, label_studio_project: Make, service
):
    connector = label_studio_project()
    publish(connector)
    connector.connect(service.address("old secret"))
    theirs = f"{service.url}/their/own"
    api(label_studio, "POST", "/api/webhooks/", json={"url": theirs, "project": int(connector.project.id)})
    moved = BackendAddress(service.url.replace("127.0.0.1", "localhost"), "nextlabel", "a password", "new secret")
    connector.connect(moved)
    assert {hook["url"] for hook in hooks(label_studio, connector)} == {f"{moved.url}/webhook", theirs}
    assert [backend["url"] for backend in backends(label_studio, connector)] == [moved.url]
    assert project(label_studio, connector)["model_version"] == "nl-wire-1", "deleting the old one had blanked it"
    secrets = [hook["headers"] for hook in hooks(label_studio, connector) if hook["url"] != theirs]
    assert secrets == [{SECRET_HEADER: "new secret"}] * 2


def test_events_arrive_with_the_secret_and_are_read(
    label_studio: LabelStudioServer, annotators: list[str], label_studio_project: Make, service
):
    connector = label_studio_project()
    ids = publish(connector)
    connector.connect(service.address())
    ann = Annotator(label_studio.url, annotators[0], connector.project.id)
    assert service.events() == []
    given = ann.submit(int(ids[0]), "sport")
    ann.update(given, "politics")
    ann.skip(int(ids[1]))
    ann.delete(given)
    connector.push([Record("late", {"text": "late"})])
    publish(connector, "nl-wire-2")  # a new generation causes no event
    api(label_studio, "DELETE", f"/api/tasks/{ids[5]}/")
    api(label_studio, "POST", f"/api/ml/{backends(label_studio, connector)[0]['id']}/train")
    calls = service.events()
    assert all(call.headers.get(SECRET_HEADER) == "a webhook secret" for call in calls[:-1])
    assert calls[-1].headers["Authorization"].startswith("Basic "), "START_TRAINING comes as the ML backend's call"
    read = [connector.parse_event(call.body) for call in calls]
    answered, changed, skipped, deleted, added, gone, train = read
    assert answered.annotations == changed.annotations == {str(given.id): ids[0]}
    assert answered.seen_versions == {str(given.id): "nl-wire-1"}
    assert list(skipped.annotations.values()) == [ids[1]]
    assert deleted == Hint(annotations={str(given.id): None})
    assert added == Hint(records_added=True)
    assert gone == Hint(records=frozenset({ids[5]}))
    assert train == Hint(train_requested=True)


def test_where_a_webhook_says_to_look_is_what_a_poll_tells_of(
    label_studio: LabelStudioServer, annotators: list[str], label_studio_project: Make, service
):
    connector = label_studio_project()
    ids = publish(connector)
    connector.connect(service.address())
    ann = Annotator(label_studio.url, annotators[1], connector.project.id)
    ann.submit(int(ids[0]), "sport")
    ann.skip(int(ids[1]))
    hints = [connector.parse_event(call.body).annotations for call in service.events()]
    looked_up = [one for hint in hints for one in connector.annotations(hint).values()]
    assert looked_up == list(connector.changes(None).annotations)


def test_a_service_that_does_not_run_is_named(label_studio_project: Make):
    connector = label_studio_project()
    with pytest.raises(PlatformError, match=r"did not accept http://127\.0\.0\.1:9"):
        connector.connect(BackendAddress("http://127.0.0.1:9", "nextlabel", "x", "x"))


# -- the doctor ------------------------------------------------------------------------------------------------------


def test_a_sound_project_has_no_findings(label_studio: LabelStudioServer, label_studio_project: Make, service):
    connector = label_studio_project()
    publish(connector)
    connector.connect(service.address())
    wrong = [one for one in connector.diagnose(service.address()) if one.severity is not Severity.OK]
    wrong = [one for one in wrong if one.code != "database"]  # other tests made many users
    assert wrong == []


def test_every_finding_that_is_wrong_says_the_fix(label_studio: LabelStudioServer, label_studio_project: Make, service):
    connector = label_studio_project(overlap=2)
    path = f"/api/projects/{connector.project.id}"
    stray = {"url": "http://127.0.0.1:9/webhook", "project": int(connector.project.id)}
    publish(connector)
    for _ in range(2):
        api(label_studio, "POST", "/api/webhooks/", json=stray)
    api(label_studio, "PATCH", path, json={"sampling": "Sequential sampling"})
    api(label_studio, "POST", "/api/ml", json={"url": service.url, "project": stray["project"], "title": TITLE})
    api(label_studio, "PATCH", path, json={"model_version": TITLE})
    found = findings(connector, service.address("another secret"))
    assert {code for code, one in found.items() if one.severity is Severity.ERROR} == {
        "sampling",
        "model-version",
        "webhook",
    }
    assert {"overlap", "webhook-stray", "webhook-doubled"} <= {
        code for code, one in found.items() if one.severity is Severity.WARNING
    }
    assert all(one.fix for one in found.values() if one.severity is not Severity.OK)
    connector.connect(service.address())
    after = findings(connector, service.address())
    assert {code for code, one in after.items() if one.severity is Severity.ERROR} == set()
    assert after["model-version"].severity is Severity.WARNING, "no generation of ours yet"


def test_a_generation_without_rows_is_an_error(label_studio: LabelStudioServer, label_studio_project: Make):
    connector = label_studio_project()
    ids = publish(connector)
    for task in ids[:4]:
        api(label_studio, "DELETE", f"/api/tasks/{task}/")
    found = findings(connector)["model-version"]
    assert (found.severity, "no predictions left" in found.message) == (Severity.ERROR, True)


def test_a_stopped_service_is_found(label_studio: LabelStudioServer, label_studio_project: Make, service):
    connector = label_studio_project()
    connector.connect(service.address())
    gone = BackendAddress("http://127.0.0.1:9", "nextlabel", "x", "x")
    assert findings(connector, gone)["ml-backend"].severity is Severity.ERROR
    assert findings(connector, gone)["webhook"].severity is Severity.ERROR


def test_a_wrong_token_ends_the_examination(label_studio: LabelStudioServer, label_studio_project: Make):
    connector = label_studio_project()
    connector._client.sdk._client_wrapper._tokens_client._api_key = "0" * 40
    last = list(connector.diagnose())[-1]
    assert (last.code, last.severity) == ("token", Severity.ERROR)


def test_a_platform_that_went_down_is_found():
    with LabelStudioStack(fast_import=False, local_addresses=False).start() as server:
        labeling = Labeling(LabelKind.SINGLE, ("sport", "politics"))
        connector = LabelStudioConnector.create(server.url, server.token, NewProject("guarded", labeling))
        address = BackendAddress("http://127.0.0.1:9", "nextlabel", "x", "x")
        with pytest.raises(PlatformError, match="ML_BLOCK_LOCAL_IP=false"):
            connector.connect(address)
        guarded = [one for one in connector.diagnose(address) if one.code == "ssrf"]
        assert [one.severity for one in guarded] == [Severity.ERROR] * 2
        assert {one.fix.split()[-1] for one in guarded} == {"ML_BLOCK_LOCAL_IP=false", "SSRF_PROTECTION_ENABLED=false"}
        assert findings(connector)["speed-flag"].severity is Severity.OK, "small projects don't feel it"
    last = list(connector.diagnose())[-1]
    assert (last.code, last.severity) == ("reachable", Severity.ERROR)
    connector.close()


def test_token_expiry():
    import jwt

    assert token_expiry("0" * 40) is None
    assert token_expiry("a.b.c") is None
    when = token_expiry(jwt.encode({"exp": 2_000_000_000}, "x" * 32))
    assert when is not None
    assert when.year == 2033
