"""Hooking the service up, signed deliveries, and the doctor: on a real Argilla with its worker."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn
from structlog.testing import capture_logs

from nextlabel.backend.app import create_app
from nextlabel.backend.cli import main
from nextlabel.backend.credentials import Credentials, credentials
from nextlabel.backend.settings import Settings
from nextlabel.backend.stack import ArgillaAnnotator, ArgillaServer, ArgillaStack
from nextlabel.backend.store import Store
from nextlabel.connectors.argilla import ArgillaConnector, diagnose_hooks
from nextlabel.connectors.argilla.jobs import diagnose_jobs
from nextlabel.connectors.argilla.wiring import DESCRIPTION, EVENTS, WEBHOOK
from nextlabel.connectors.base import BackendAddress, Finding, Severity
from nextlabel.connectors.records import AnnotationStatus, Changes, QueueEntry, Record, Suggestion

pytestmark = pytest.mark.live

Make = Callable[..., ArgillaConnector]
Json = dict[str, Any]


def api(server: ArgillaServer, method: str, path: str, **options: Any) -> Any:
    """A call of the owner. After an error of its own the server drops the connection: each call has a new one."""
    headers = {"X-Argilla-Api-Key": server.token}
    answer = httpx.request(method, f"{server.url}/api/v1{path}", headers=headers, timeout=60, **options)
    return answer.raise_for_status().json() if answer.content else None


def hooks(server: ArgillaServer) -> list[Json]:
    found: list[Json] = api(server, "GET", "/webhooks")["items"]
    return found


def hook(server: ArgillaServer, url: str, events: tuple[str, ...] = EVENTS, description: str = "theirs") -> Json:
    made: Json = api(server, "POST", "/webhooks", json={"url": url, "events": list(events), "description": description})
    return made


def dataset(server: ArgillaServer, connector: ArgillaConnector) -> Json:
    found: Json = api(server, "GET", f"/datasets/{connector.project.id}")
    return found


def findings(connector: ArgillaConnector, backend: BackendAddress | None = None) -> dict[str, Finding]:
    return {finding.code: finding for finding in connector.diagnose(backend)}


def wrong(connector: ArgillaConnector, backend: BackendAddress | None = None) -> dict[str, Severity]:
    return {code: one.severity for code, one in findings(connector, backend).items() if one.severity is not Severity.OK}


def until(condition: Callable[[], Any], seconds: float = 40) -> Any:
    """What ``condition`` returns, once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "nothing happened in time"
        threading.Event().wait(0.05)
    return found


def push(connector: ArgillaConnector, count: int = 4) -> list[str]:
    return list(connector.push([Record(f"u{n}", {"text": f"text {n}"}) for n in range(count)]).values())


@pytest.fixture(autouse=True)
def no_webhooks_left(argilla: ArgillaServer) -> Iterator[None]:
    """A server takes ten webhooks, and each hears of every test's datasets."""
    yield
    for one in hooks(argilla):
        api(argilla, "DELETE", f"/webhooks/{one['id']}")


# -- the webhook -----------------------------------------------------------------------------------------------------


def test_connect_wires_everything_and_repeats_change_nothing(argilla: ArgillaServer, argilla_dataset: Make, service):
    connector = argilla_dataset()
    connector.connect(service.address())
    [made] = before = hooks(argilla)
    assert (made["url"], set(made["events"]), made["enabled"]) == (service.url + WEBHOOK, set(EVENTS), True)
    assert made["description"] == DESCRIPTION + connector.project.id
    written = dataset(argilla, connector)
    assert len(connector.links()) == 5, "four annotators and the owner"
    for name, link in connector.links().items():
        assert f"[{name}]({link})" in written["guidelines"]
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


def test_with_an_admins_key_polling_goes_on(argilla: ArgillaServer, argilla_dataset: Make, service):
    key = argilla.add_user(f"admin-{time.monotonic_ns()}", role="admin")
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
    calls = until(lambda: service.calls if len(service.calls) >= 6 else None)
    assert {call.path for call in calls} == {WEBHOOK}
    assert [call.body["type"].partition(".")[0] for call in calls] == ["response"] * 6
    assert all(connector.authentic(call.headers, call.raw) for call in calls)
    read = [connector.parse_event(call.body) for call in calls]
    answers = [(one.remote_id, one.status, one.value) for found in read for one in found.annotations]
    assert answers == [
        (ids[0], AnnotationStatus.SUBMITTED, ("sport",)),
        (ids[0], AnnotationStatus.SUBMITTED, ("politics",)),
        (ids[1], AnnotationStatus.DRAFT, ("sport",)),
        (ids[2], AnnotationStatus.SKIPPED, ()),
    ]
    assert [found.deleted_annotations for found in read if found.deleted_annotations] == [(given.id,)]


def signed(secret: str, body: bytes, age: timedelta = timedelta(0)) -> dict[str, str]:
    from standardwebhooks import Webhook

    when = datetime.now(UTC) - age
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(when.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", when, body.decode()),
    }


def test_forged_deliveries_are_refused_and_do_not_make_us_ask_again_and_again(
    argilla: ArgillaServer, argilla_dataset: Make, service, monkeypatch: pytest.MonkeyPatch
):
    connector = argilla_dataset()
    connector.connect(service.address())
    [made] = hooks(argilla)
    asked = []
    look = connector._wiring.webhooks
    monkeypatch.setattr(connector._wiring, "webhooks", lambda timeout=None: asked.append(timeout) or look(timeout))
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
    connector._wiring.guidelines({})
    assert dataset(argilla, connector)["guidelines"] == "# Rules\n\nBe kind."
    api(argilla, "PATCH", path, json={"guidelines": None})
    connector._wiring.guidelines({"ann": "http://a"})
    connector._wiring.guidelines({})
    assert dataset(argilla, connector)["guidelines"] is None


# -- the doctor ------------------------------------------------------------------------------------------------------


def test_a_sound_dataset_has_no_findings(argilla: ArgillaServer, argilla_dataset: Make, service):
    connector = argilla_dataset()
    push(connector)
    connector.connect(service.address())
    service.calls.clear()
    before = dataset(argilla, connector), hooks(argilla)
    assert wrong(connector, service.address()) == {}
    assert (dataset(argilla, connector), hooks(argilla)) == before, "the doctor changes nothing"
    mine, pinged = service.calls
    assert (mine.body["type"], pinged.body["type"]) == ("ping", "ping")
    assert connector.authentic(mine.headers, mine.raw)
    assert connector.authentic(pinged.headers, pinged.raw)
    assert connector.parse_event(pinged.body).annotations == ()


def test_every_webhook_gone_wrong_is_found_with_its_fix(argilla: ArgillaServer, argilla_dataset: Make, service):
    connector, gone = argilla_dataset(), argilla_dataset()
    connector.connect(service.address())
    [made] = hooks(argilla)
    api(argilla, "PATCH", f"/webhooks/{made['id']}", json={"enabled": False})
    hook(argilla, "http://127.0.0.1:11/webhook/argilla", description=DESCRIPTION + gone.project.id)
    hook(argilla, "http://127.0.0.1:12/webhook/argilla", description=DESCRIPTION + connector.project.id)
    api(argilla, "DELETE", f"/datasets/{gone.project.id}")
    hook(argilla, "http://127.0.0.1:9/storm", ("record.updated", "response.created"))
    found = findings(connector, service.address())
    assert (found["webhook"].severity, "is disabled" in found["webhook"].message) == (Severity.ERROR, True)
    assert "http://127.0.0.1:9/storm" in found["webhook-storm"].message
    assert all(port in found["webhook-stray"].message for port in (":11/", ":12/"))
    assert all(one.fix for one in found.values() if one.severity is not Severity.OK)
    api(argilla, "PATCH", f"/webhooks/{made['id']}", json={"enabled": True, "events": ["record.updated"]})
    assert "hears of record.updated" in findings(connector, service.address())["webhook"].message
    elsewhere = BackendAddress("http://127.0.0.1:13", "", "", "")
    assert findings(connector, elsewhere)["webhook"].severity is Severity.ERROR
    assert "webhook" not in findings(connector), "without an address it can't be said"
    connector.connect(service.address())
    assert wrong(connector, service.address()) == {"webhook-storm": Severity.WARNING}


def test_a_service_that_is_down_deaf_or_somebody_elses_is_found(
    argilla: ArgillaServer, argilla_dataset: Make, service, monkeypatch: pytest.MonkeyPatch
):
    connector = argilla_dataset()
    connector.connect(service.address())

    def delivery(backend: BackendAddress) -> Finding:
        return findings(connector, backend)["webhook-delivery"]

    service.status = 401
    assert "refuses Argilla's signature" in delivery(service.address()).message
    service.status = 404
    assert "says 404" in delivery(service.address()).message
    down = BackendAddress("http://127.0.0.1:9", "", "", "")
    connector.connect(down)
    assert "Argilla can't reach http://127.0.0.1:9" in delivery(down).message
    assert "NEXTLABEL_PUBLIC_URL" in delivery(down).fix
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setattr(diagnose_hooks, "ANSWER_S", 0.3)
        silent = BackendAddress(f"http://127.0.0.1:{deaf.getsockname()[1]}", "", "", "")
        connector.connect(silent)
        started = time.monotonic()
        assert "does not answer within" in delivery(silent).message
        assert time.monotonic() - started < 15, "Argilla must not be made to wait for it"


def test_people_without_a_queue_or_a_link_are_found(argilla: ArgillaServer, argilla_dataset: Make, service):
    connector = argilla_dataset()
    assert wrong(connector) == {"links": Severity.WARNING}, "nobody hooked it up"
    assert "annotator3" in findings(connector)["links"].message
    name = f"late-{time.monotonic_ns()}"
    argilla.add_user(name)
    found = findings(connector)
    assert (found["queue"].severity, name in found["queue"].message) == (Severity.ERROR, True)
    assert "annotator0" not in found["queue"].message
    connector.connect(service.address())
    assert wrong(connector, service.address()) == {}


def test_more_answers_than_people_can_give_are_found(argilla: ArgillaServer, argilla_dataset: Make):
    connector = argilla_dataset(overlap=2)
    assert findings(connector)["overlap"].severity is Severity.WARNING
    assert "2 annotators" in findings(connector)["overlap"].message
    twice = argilla_dataset(opinions=2)
    assert findings(twice)["overlap"].severity is Severity.OK
    assert "asked again" in findings(twice)["overlap"].message
    body = {"distribution": {"strategy": "overlap", "min_submitted": 1000}}
    api(argilla, "PATCH", f"/datasets/{connector.project.id}", json=body)
    assert "none will be done" in findings(connector)["overlap"].message


def test_a_workspace_without_people_is_found(argilla: ArgillaServer, argilla_dataset: Make):
    space = f"empty-{time.monotonic_ns()}"
    api(argilla, "POST", "/workspaces", json={"name": space})
    connector = argilla_dataset(workspace=space)
    assert "no users" in findings(connector)["people"].message


def test_a_response_that_makes_argilla_fail_is_found_and_the_fix_works(argilla: ArgillaServer, argilla_dataset: Make):
    connector = argilla_dataset()
    record = push(connector)[1]
    with pytest.raises(httpx.HTTPStatusError):
        api(argilla, "POST", f"/records/{record}/responses", json={"status": "discarded"})
    found = findings(connector)["poisoned"]
    assert found.severity is Severity.ERROR
    number = found.message.partition("(")[2].partition(")")[0]
    body = found.fix.partition("-d '")[2].rstrip("'")
    api(argilla, "PUT", f"/responses/{number}", json=json.loads(body))
    assert findings(connector)["poisoned"].severity is Severity.OK
    items = [{"id": record, "metadata": {"x": 1}}]
    api(argilla, "PUT", f"/datasets/{connector.project.id}/records/bulk", json={"items": items})


def test_records_that_the_search_lost_are_found(argilla: ArgillaServer, argilla_dataset: Make):
    connector = argilla_dataset()
    record = push(connector)[0]
    programs = json.loads(argilla.process.args[-1])
    [address] = [part for one in programs for flag, part in pairwise(one["command"]) if flag == "--addr"]
    gone = httpx.delete(f"http://{address}/rg.{connector.project.id}/_doc/{record}", params={"refresh": "true"})
    gone.raise_for_status()
    found = findings(connector)["index"]
    assert (found.severity, "lacks 1 of 4" in found.message) == (Severity.ERROR, True)
    assert f"reindex --dataset-id {connector.project.id}" in found.fix


def test_vectors_are_mentioned_and_hurt_nobody(argilla: ArgillaServer, argilla_dataset: Make):
    connector = argilla_dataset()
    assert "vectors" not in findings(connector)
    path = f"/datasets/{connector.project.id}/vectors-settings"
    api(argilla, "POST", path, json={"name": "v", "title": "v", "dimensions": 2})
    assert findings(connector)["vectors"].severity is Severity.OK


def test_questions_that_are_gone_or_beside_ours(argilla: ArgillaServer, argilla_dataset: Make):
    connector = argilla_dataset()
    assert "sport, politics" in findings(connector)["labeling"].message
    connector._control = "another"
    assert findings(connector)["labeling"].severity is Severity.ERROR


def test_a_wrong_key_and_a_server_that_is_gone_end_the_examination(argilla: ArgillaServer, argilla_dataset: Make):
    connector = argilla_dataset()
    connector._client._token = "wrong"
    last = list(connector.diagnose())[-1]
    assert (last.code, last.severity, "ARGILLA_API_KEY" in last.fix) == ("token", Severity.ERROR, True)
    connector._client.url = "http://127.0.0.1:9"
    [last] = connector.diagnose()
    assert (last.code, last.severity, "ARGILLA_API_URL" in last.fix) == ("reachable", Severity.ERROR, True)


def test_an_annotators_key_is_no_use(argilla: ArgillaServer, argilla_users: list[str], argilla_dataset: Make):
    connector = argilla_dataset()
    connector._client._token = argilla_users[0]
    found = [one for one in connector.diagnose() if one.code == "token"]
    assert [one.severity for one in found] == [Severity.ERROR] * 2
    assert "no queue can be written" in found[0].message


# -- deliveries that the worker has given up -------------------------------------------------------------------------

GIVE_UP = """
import os
from redis import Redis
from rq.job import Job, JobStatus
from rq.registry import FailedJobRegistry, ScheduledJobRegistry

redis = Redis.from_url(os.environ["RQ_REDIS_URL"])
waiting = ScheduledJobRegistry("high", connection=redis)
for number in waiting.get_job_ids():
    job = Job.fetch(number, connection=redis)
    job.retries_left = 0
    waiting.remove(job)
    job.set_status(JobStatus.FAILED)
    FailedJobRegistry("high", connection=redis).add(job, ttl=1000, exc_string="503")
    job.save()
    print(number)
"""


def test_lost_events_are_found_and_the_fix_delivers_them(
    argilla: ArgillaServer, argilla_users: list[str], argilla_dataset: Make, service
):
    connector = argilla_dataset()
    record = push(connector)[0]
    connector.connect(service.address())
    before = {one.code: one for one in diagnose_jobs(argilla.redis_url)}
    assert {one.severity for one in before.values()} == {Severity.OK}
    service.status = 503
    with ArgillaAnnotator(argilla.url, argilla_users[0], connector.project.id) as ann:
        ann.submit(record, "sport")
    until(lambda: service.calls)
    python = ArgillaStack().install().python
    environment = os.environ | {"RQ_REDIS_URL": argilla.redis_url}

    def give_up() -> str:  # what four minutes of failing would come to
        return subprocess.run(
            [python, "-c", GIVE_UP], env=environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    until(give_up)
    found = {one.code: one for one in diagnose_jobs(argilla.redis_url)}["lost-events"]
    assert (found.severity, "given up: 1;" in found.message) == (Severity.WARNING, True)
    assert argilla.redis_url not in found.message + found.fix
    service.status = 200
    service.calls.clear()
    command = found.fix.partition("rq requeue")[2].partition(" --url")[0].split()
    subprocess.run([python.with_name("rq"), "requeue", *command], env=environment, check=True, timeout=60)
    [call] = until(lambda: service.calls)
    assert connector.authentic(call.headers, call.raw)
    assert connector.parse_event(call.body).annotations[0].remote_id == record
    until(lambda: {one.severity for one in diagnose_jobs(argilla.redis_url)} == {Severity.OK})


def test_a_redis_that_does_not_answer_is_said_without_its_password():
    for address in ("redis://:hidden@127.0.0.1:9/0", "nonsense://hidden"):
        [found] = diagnose_jobs(address)
        assert (found.code, found.severity) == ("redis", Severity.WARNING)
        assert "hidden" not in found.message + found.fix


# -- all of it together ----------------------------------------------------------------------------------------------


@dataclass
class Intake:
    """As much of the service as the webhook's route needs: a connector and a log."""

    connector: ArgillaConnector
    store: Store
    labeling: Any = None
    serving_version: str = "nl"

    def authentic(self, headers: Any, body: bytes) -> bool:
        return self.connector.authentic(headers, body)

    def parse_event(self, body: Json) -> Changes:
        return self.connector.parse_event(body)

    def take_in(self, changes: Changes, source: Any) -> int:
        return self.store.append(changes, source)

    def status(self) -> Any:
        return SimpleNamespace(project=self.connector.project)


@pytest.fixture
def running(argilla_dataset: Make, tmp_path: Path) -> Iterator[tuple[Intake, BackendAddress]]:
    """The real app behind uvicorn, for a new dataset."""
    with Store.open(tmp_path / "store.sqlite") as store:
        intake = Intake(argilla_dataset(), store)
        app = create_app(intake, Settings(home=tmp_path), secrets=Credentials("u", "p", "t", "s"))  # type: ignore[arg-type]
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        until(lambda: server.started)
        yield intake, BackendAddress(f"http://127.0.0.1:{listener.getsockname()[1]}", "u", "p", "s")
        server.should_exit = True
        thread.join(20)
        listener.close()


def test_answers_reach_the_log_through_the_real_route(
    argilla: ArgillaServer, argilla_users: list[str], running: tuple[Intake, BackendAddress]
):
    intake, address = running
    ids = push(intake.connector)
    intake.connector.connect(address)
    with ArgillaAnnotator(argilla.url, argilla_users[1], intake.connector.project.id) as ann:
        ann.submit(ids[0], "sport")
        ann.submit(ids[1], "politics")
    answers = until(lambda: found if len(found := list(intake.store.answers())) == 2 else None)
    assert {(one.remote_id, one.value) for one in answers} == {(ids[0], ("sport",)), (ids[1], ("politics",))}
    head = intake.store.head()
    body = b'{"type": "response.deleted"}'
    for headers in ({}, signed("Zm9yZ2Vk", body)):
        forged = httpx.post(
            address.url + WEBHOOK, content=body, headers={**headers, "content-type": "application/json"}
        )
        assert forged.status_code == 401
    assert intake.store.head() == head


def test_the_doctor_as_people_call_it(
    argilla: ArgillaServer,
    running: tuple[Intake, BackendAddress],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    intake, address = running
    push(intake.connector)
    intake.connector.connect(address)
    credentials(Settings(home=tmp_path))  # as a first `run` makes them
    for name, value in argilla.env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NEXTLABEL_HOME", str(tmp_path))
    capsys.readouterr()
    assert main(["doctor", "--project", intake.connector.project.title, "--url", address.url, "--json"]) == 0
    said = capsys.readouterr().out
    found = {one["code"]: one["severity"] for one in json.loads(said)}
    assert set(found.values()) == {"ok"}
    assert {
        "reachable",
        "clock",
        "token",
        "queue",
        "links",
        "webhook",
        "webhook-delivery",
        "worker",
        "lost-events",
    } <= set(found)
    assert argilla.token not in said
    assert hooks(argilla)[0]["secret"] not in said
