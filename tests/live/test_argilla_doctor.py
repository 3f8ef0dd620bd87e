"""What the doctor finds, each provoked on a real Argilla, and that the fixes work."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from nextlabel.backend.cli import main
from nextlabel.backend.credentials import credentials
from nextlabel.backend.settings import Settings
from nextlabel.backend.stack import ArgillaAnnotator, ArgillaServer, ArgillaStack
from nextlabel.connectors.argilla import diagnose
from nextlabel.connectors.argilla.diagnose import diagnose_jobs
from nextlabel.connectors.argilla.webhooks import DESCRIPTION
from nextlabel.connectors.base import BackendAddress, Finding, Severity
from nextlabel.connectors.records import Hint
from tests.live.argilla_calls import (
    Make,
    api,
    dataset,
    findings,
    hook,
    hooks,
    push,
    wrong,
)
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("no_webhooks_left", "no_deliveries_left")


@pytest.fixture
def no_deliveries_left(argilla: ArgillaServer) -> None:
    """Other tests of the session may have left deliveries that wait, or were given up."""
    with Redis.from_url(argilla.redis_url) as redis:
        redis.delete("rq:queue:high", "rq:scheduled:high", "rq:failed:high")


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
    assert connector.parse_event(pinged.body) == Hint()


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
        monkeypatch.setattr(diagnose, "ANSWER_S", 0.3)
        silent = BackendAddress(f"http://127.0.0.1:{deaf.getsockname()[1]}", "", "", "")
        connector.connect(silent)
        started = time.monotonic()
        assert "does not answer within" in delivery(silent).message
        assert time.monotonic() - started < 15, "Argilla must not be made to wait for it"


def test_people_without_a_queue_or_a_link_are_found(
    argilla: ArgillaServer, argilla_dataset: Make, service, visit: Callable[..., str]
):
    connector = argilla_dataset()
    assert wrong(connector) == {"links": Severity.WARNING}, "nobody hooked it up"
    assert "annotator3" in findings(connector)["links"].message
    name = f"late-{time.monotonic_ns()}"
    visit(name)
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
    command: Any = argilla.process.args
    programs = json.loads(command[-2])
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
    connector._question = "another"
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
    wait_for(lambda: service.calls)
    python = ArgillaStack().install().python
    environment = os.environ | {"RQ_REDIS_URL": argilla.redis_url}

    def give_up() -> str:  # what four minutes of failing would come to
        return subprocess.run(
            [python, "-c", GIVE_UP], env=environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    wait_for(give_up)
    found = {one.code: one for one in diagnose_jobs(argilla.redis_url)}["lost-events"]
    assert (found.severity, "given up: 1;" in found.message) == (Severity.WARNING, True)
    assert argilla.redis_url not in found.message + found.fix
    service.status = 200
    service.calls.clear()
    command = found.fix.partition("rq requeue")[2].partition(" --url")[0].split()
    subprocess.run([python.with_name("rq"), "requeue", *command], env=environment, check=True, timeout=60)
    [call] = wait_for(lambda: service.calls)
    assert connector.authentic(call.headers, call.raw)
    assert list(connector.parse_event(call.body).annotations.values()) == [record]
    wait_for(lambda: {one.severity for one in diagnose_jobs(argilla.redis_url)} == {Severity.OK})


def test_a_redis_that_does_not_answer_is_said_without_its_password():
    for address in ("redis://:hidden@127.0.0.1:9/0", "nonsense://hidden"):
        [found] = diagnose_jobs(address)
        assert (found.code, found.severity) == ("redis", Severity.WARNING)
        assert "hidden" not in found.message + found.fix


def test_the_doctor_as_people_call_it(
    argilla: ArgillaServer,
    argilla_dataset: Make,
    service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    connector = argilla_dataset()
    push(connector)
    connector.connect(service.address())
    credentials(Settings(home=tmp_path))  # as a first `run` makes them
    for name, value in argilla.env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NEXTLABEL_HOME", str(tmp_path))
    capsys.readouterr()
    assert main(["doctor", "--project", connector.project.title, "--url", service.url, "--json"]) == 0
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
