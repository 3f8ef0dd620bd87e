"""Hooking the service up, and signed deliveries: on a real Argilla with its worker."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn
from structlog.testing import capture_logs

from nextlabel.backend.app import create_app
from nextlabel.backend.credentials import Credentials
from nextlabel.backend.loop.intake import Intake
from nextlabel.backend.settings import Settings
from nextlabel.backend.stack import ArgillaAnnotator, ArgillaServer
from nextlabel.backend.store import Store
from nextlabel.connectors.argilla.connector import ArgillaConnector
from nextlabel.connectors.argilla.webhooks import DESCRIPTION, EVENTS, WEBHOOK
from nextlabel.connectors.base import BackendAddress, Severity
from nextlabel.connectors.records import Annotation, AnnotationStatus, Hint, QueueEntry, Suggestion
from tests.live.argilla_calls import (
    Json,
    Make,
    api,
    dataset,
    findings,
    hook,
    hooks,
    push,
    signed,
    wrong,
)
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("no_webhooks_left")


# -- the webhook -----------------------------------------------------------------------------------------------------


def test_connect_wires_everything_and_repeats_change_nothing(argilla: ArgillaServer, argilla_dataset: Make, service):
    connector = argilla_dataset()
    connector.connect(service.address())
    [made] = before = hooks(argilla)
    assert (made["url"], set(made["events"]), made["enabled"]) == (service.url + WEBHOOK, set(EVENTS), True)
    assert made["description"] == DESCRIPTION + connector.project.id
    written = dataset(argilla, connector)
    names = {argilla.user, *(f"annotator{number}" for number in range(4))}
    assert names <= connector.links().keys()
    for name in names:
        assert f"[{name}]({connector.links()[name]})" in written["guidelines"]
    connector.connect(service.address())
    assert hooks(argilla) == before
    assert dataset(argilla, connector) == written


def test_a_webhook_out_of_step_is_repaired_and_keeps_its_secret(argilla: ArgillaServer, argilla_dataset: Make, service):
    connector = argilla_dataset()
    connector.connect(service.address())
    [made] = hooks(argilla)
    for change in ({"enabled": False}, {"events": ["record.updated"]}, {"description": "somebody's"}):
        api(argilla, "PATCH", f"/webhooks/{made['id']}", json=change)
        connector.connect(service.address())
        [now] = hooks(argilla)
        assert {**now, "updated_at": "", "events": set(now["events"])} == {
            **made,
            "updated_at": "",
            "events": set(EVENTS),
        }


def test_strays_of_ours_go_and_those_of_others_stay(argilla: ArgillaServer, argilla_dataset: Make, service):
    connector, neighbour, gone = argilla_dataset(), argilla_dataset(), argilla_dataset()
    theirs = hook(argilla, "http://127.0.0.1:9/their/own", ("record.updated",))
    living = hook(argilla, "http://127.0.0.1:10/webhook/argilla", description=DESCRIPTION + neighbour.project.id)
    hook(argilla, "http://127.0.0.1:11/webhook/argilla", description=DESCRIPTION + gone.project.id)
    hook(argilla, "http://127.0.0.1:12/webhook/argilla", description=DESCRIPTION + connector.project.id)
    hook(argilla, service.url + WEBHOOK, description="by hand")
    hook(argilla, service.url + WEBHOOK, description="by hand, too")
    api(argilla, "DELETE", f"/datasets/{gone.project.id}")
    connector.connect(service.address())
    left = hooks(argilla)
    assert [one for one in left if one["url"] != service.url + WEBHOOK] == [theirs, living]
    [ours] = [one for one in left if one["url"] == service.url + WEBHOOK]
    assert ours["description"] == DESCRIPTION + connector.project.id


def test_with_an_admins_key_polling_goes_on(
    argilla: ArgillaServer, argilla_dataset: Make, service, visit: Callable[..., str]
):
    key = visit(f"admin-{time.monotonic_ns()}", role="admin")
    mine = argilla_dataset()
    with_admin = ArgillaConnector.attach(argilla.url, key, mine.project.id)
    with capture_logs() as logs:
        with_admin.connect(service.address())
    assert any("polling only" in line["event"] and "owner" in line["event"] for line in logs)
    assert hooks(argilla) == []
    assert with_admin.links().keys() >= {"annotator0"}
    assert "annotator0" in dataset(argilla, mine)["guidelines"]
    assert not with_admin.authentic({}, b"{}")
    assert wrong(with_admin, service.address()) == {"token": Severity.WARNING, "webhook": Severity.WARNING}
    with_admin.close()


def test_a_server_that_takes_no_more_webhooks_is_said(argilla: ArgillaServer, argilla_dataset: Make, service):
    connector = argilla_dataset()
    for number in range(10):
        hook(argilla, f"http://127.0.0.1:9/{number}")
    with capture_logs() as logs:
        connector.connect(service.address())
    assert any("polling only" in line["event"] and "10 webhooks" in line["reason"] for line in logs)
    assert "takes no more" in findings(connector, service.address())["webhook"].message


# -- deliveries ------------------------------------------------------------------------------------------------------


def test_what_annotators_do_arrives_signed_and_is_read(
    argilla: ArgillaServer, argilla_users: list[str], argilla_dataset: Make, service
):
    connector, other = argilla_dataset(), argilla_dataset()
    ids = push(connector)
    connector.connect(service.address())
    entries = [QueueEntry(one, rank, Suggestion(("sport",), 0.5, "m")) for rank, one in enumerate(ids)]
    connector.publish("nl-1", entries)  # changes records, which we don't want to hear of
    with ArgillaAnnotator(argilla.url, argilla_users[0], connector.project.id) as ann:
        given = ann.submit(ids[0], "sport")
        ann.update(given, "politics")
        ann.draft(ids[1], "sport")
        ann.discard(ids[2])
        ann.delete(given)
    elsewhere = push(other, 1)[0]
    with ArgillaAnnotator(argilla.url, argilla_users[0], other.project.id) as ann:
        ann.submit(elsewhere, "sport")
    calls = wait_for(lambda: service.calls if len(service.calls) >= 6 else None)
    assert {call.path for call in calls} == {WEBHOOK}
    assert [call.body["type"].partition(".")[0] for call in calls] == ["response"] * 6
    assert all(connector.authentic(call.headers, call.raw) for call in calls)
    read = [connector.parse_event(call.body).annotations for call in calls]
    assert [record for hint in read for record in hint.values()] == [ids[0], ids[0], ids[1], ids[2], ids[0]]
    found = connector.annotations({number: record for hint in read for number, record in hint.items()})
    assert found.pop(given.id) is None
    assert {(one.remote_id, one.status, one.value) for one in found.values() if isinstance(one, Annotation)} == {
        (ids[1], AnnotationStatus.DRAFT, ("sport",)),
        (ids[2], AnnotationStatus.SKIPPED, ()),
    }


def test_forged_deliveries_are_refused_and_do_not_make_us_ask_again_and_again(
    argilla: ArgillaServer, argilla_dataset: Make, service, monkeypatch: pytest.MonkeyPatch
):
    connector = argilla_dataset()
    connector.connect(service.address())
    [made] = hooks(argilla)
    asked = []
    look = connector._webhooks.hooks

    def noting(timeout: float | None = None) -> Any:
        asked.append(timeout)
        return look(timeout)

    monkeypatch.setattr(connector._webhooks, "hooks", noting)
    good = signed(made["secret"], b"{}")
    assert connector.authentic(good, b"{}")
    assert asked == [], "the secret is known"
    for _ in range(50):
        assert not connector.authentic(signed("Zm9yZ2Vk", b"{}"), b"{}")
    assert not connector.authentic(signed(made["secret"], b"{}", timedelta(minutes=6)), b"{}")
    assert not connector.authentic({}, b"{}")
    assert not connector.authentic(good, b'{"type": "ping"}')
    assert len(asked) == 1
    assert asked[0] is not None, "Argilla may be waiting for us: no answer must not take long"


def test_a_new_secret_is_found_out(argilla: ArgillaServer, argilla_dataset: Make, service):
    connector = argilla_dataset()
    connector.connect(service.address())
    [old] = hooks(argilla)
    api(argilla, "DELETE", f"/webhooks/{old['id']}")
    new = hook(argilla, service.url + WEBHOOK)
    assert new["secret"] != old["secret"]
    assert connector.authentic(signed(new["secret"], b"{}"), b"{}")
    assert not connector.authentic(signed(old["secret"], b"{}"), b"{}")


def test_a_stand_by_that_never_connected_knows_the_secret(argilla: ArgillaServer, argilla_dataset: Make, service):
    connector = argilla_dataset()
    connector.connect(service.address())
    [made] = hooks(argilla)
    standby = ArgillaConnector.attach(argilla.url, argilla.token, connector.project.id)
    assert standby.authentic(signed(made["secret"], b"{}"), b"{}")
    standby.close()


# -- the guidelines --------------------------------------------------------------------------------------------------


def test_guidelines_that_people_wrote_stay(argilla: ArgillaServer, argilla_dataset: Make, service):
    connector = argilla_dataset()
    path = f"/datasets/{connector.project.id}"
    api(argilla, "PATCH", path, json={"guidelines": "# Rules\n\nBe kind."})
    connector.connect(service.address())
    written = dataset(argilla, connector)["guidelines"]
    assert written.endswith("# Rules\n\nBe kind.")
    assert all(link in written for link in connector.links().values())
    connector._webhooks.guidelines({})
    assert dataset(argilla, connector)["guidelines"] == "# Rules\n\nBe kind."
    api(argilla, "PATCH", path, json={"guidelines": None})
    connector._webhooks.guidelines({"ann": "http://a"})
    connector._webhooks.guidelines({})
    assert dataset(argilla, connector)["guidelines"] is None


# -- all of it together ----------------------------------------------------------------------------------------------


class Heard:
    """As much of the service as the webhook's route needs: a connector, a log, and what leads from one to the other."""

    labeling: Any = None
    serving_version: str = "nl"

    def __init__(self, connector: ArgillaConnector, store: Store) -> None:
        self.connector, self.store = connector, store
        nothing: Any = lambda *_: None  # noqa: E731
        self.intake = Intake(store, connector, on_news=nothing, on_gone=nothing, wake=nothing)
        self.notify = self.intake.notify

    def authentic(self, headers: Any, body: bytes) -> bool:
        return self.connector.authentic(headers, body)

    def parse_event(self, body: Json) -> Hint:
        return self.connector.parse_event(body)

    def answers(self) -> list[Annotation]:
        self.intake.tick()
        return list(self.store.answers())

    def status(self) -> Any:
        return SimpleNamespace(project=self.connector.project)


@pytest.fixture
def running(argilla_dataset: Make, tmp_path: Path) -> Iterator[tuple[Heard, BackendAddress]]:
    """The real app behind uvicorn, for a new dataset."""
    with Store.open(tmp_path / "store.sqlite") as store:
        service = Heard(argilla_dataset(), store)
        app = create_app(service, Settings(home=tmp_path), secrets=Credentials("u", "p", "t", "s"))  # type: ignore[arg-type]
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait_for(lambda: server.started)
        yield service, BackendAddress(f"http://127.0.0.1:{listener.getsockname()[1]}", "u", "p", "s")
        server.should_exit = True
        thread.join(20)
        listener.close()


def test_answers_reach_the_log_through_the_real_route(
    argilla: ArgillaServer, argilla_users: list[str], running: tuple[Heard, BackendAddress]
):
    service, address = running
    ids = push(service.connector)
    service.connector.connect(address)
    with ArgillaAnnotator(argilla.url, argilla_users[1], service.connector.project.id) as ann:
        ann.submit(ids[0], "sport")
        ann.submit(ids[1], "politics")
    answers = wait_for(lambda: found if len(found := service.answers()) == 2 else None)
    assert {(one.remote_id, one.value) for one in answers} == {(ids[0], ("sport",)), (ids[1], ("politics",))}
    head = service.store.head()
    body = b'{"type": "response.deleted"}'
    for headers in ({}, signed("Zm9yZ2Vk", body)):
        forged = httpx.post(
            address.url + WEBHOOK, content=body, headers={**headers, "content-type": "application/json"}
        )
        assert forged.status_code == 401
    service.intake.tick()
    assert service.store.head() == head
