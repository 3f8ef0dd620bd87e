"""``nextlabel status`` against a real server."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.cli import main
from nextlabel.backend.credentials import Credentials
from nextlabel.connectors.errors import LearningError, Overloaded


@pytest.fixture
def told(port: int, secrets: Credentials, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NEXTLABEL_PORT", str(port))
    monkeypatch.setenv("NEXTLABEL_HOME", str(tmp_path))
    monkeypatch.setenv("NEXTLABEL_API_TOKEN", secrets.api_token)
    monkeypatch.setenv("NEXTLABEL_ML_PASSWORD", secrets.password)
    monkeypatch.setenv("NEXTLABEL_WEBHOOK_SECRET", secrets.webhook_secret)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def one_hour_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as there:
        there.setenv("TZ", "CET-1")
        time.tzset()
        yield
    time.tzset()


def test_the_table(told: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    text = capsys.readouterr().out
    assert "2,225, 2,127 on the platform" in text
    assert "0.900 (95%: 0.800 to 0.950, 30 records)" in text
    assert "knows 40 of 41 log rows" in text


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({}, ""),
        ({"lease": {}}, "leads: nobody; the queue stands still"),
        ({"not_ready": "starting: embedding, 4 of 9 records"}, "starting: embedding, 4 of 9 records"),
    ],
)
def test_for_a_script_the_exit_code_tells(
    told: None, service: Any, wrong: dict[str, Any], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in wrong.items():
        setattr(service, name, value)
    assert main(["status", "--check"]) == bool(says)
    assert capsys.readouterr().out.strip() == (says or "nothing is wrong")
    assert main(["status", "--check", "--json"]) == bool(says)
    assert json.loads(capsys.readouterr().out) == ([says] if says else [])


def test_nobody_who_answers_is_wrong(told: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--check", "--url", "http://127.0.0.1:9"]) == 1


@pytest.mark.parametrize(
    ("lease", "said"),
    [
        ({}, "this service (vm:17:ab), since 2026-11-30 01:33:54; until 01:34:09 unless it renews its lease"),
        ({"ours": False}, "vm:17:ab, since 2026-11-30 01:33:54; until 01:34:09 unless it renews its lease"),
        ({"ours": False, "left_s": 0.0}, "nobody since 2026-11-30 01:34:09; vm:17:ab did not renew its lease"),
        (None, "nobody; the queue stands still"),
    ],
)
def test_who_leads_since_when_until_when(
    told: None, service: Any, lease: Any, said: str, one_hour_east: None, capsys: pytest.CaptureFixture[str]
) -> None:
    service.lease = {} if lease is None else service.lease | lease
    assert main(["status"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if " leads " in line]
    assert said in line


def test_json(told: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labelled"] == 40


def test_training_is_shown_while_it_runs(told: None, service: Any, capsys: pytest.CaptureFixture[str]) -> None:
    service.training = {"candidate": "fine-tune (1 of 2)", "stage": "training", "step": 30, "steps": 1200}
    assert main(["status"]) == 0
    assert "fine-tune (1 of 2) training 30 of 1,200" in capsys.readouterr().out


def test_train_waits_for_the_verdict(told: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--wait"]) == 0
    assert "fine-tune-1 goes live: 9 of 10 held-out answers right, 8 before\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    "failure", [LearningError("two labels with 2 answers each are needed"), Overloaded("this service stands by")]
)
def test_train_that_cannot_says_why(
    told: None, service: Any, failure: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    service.failure = failure
    assert main(["train"]) == 1
    assert capsys.readouterr().err == f"error: {failure}\n"


RUNS = "a training runs already; another one starts when it has ended"


def asked_for(service: Any, *statuses: dict[str, Any]) -> None:
    """The status after the asking, and after that; the last one stays."""
    told, snapshot = list(statuses), service.status

    def status() -> Any:
        service.training = told.pop(0) if len(told) > 1 else told[0]
        return snapshot()

    service.train, service.status = lambda: None, status


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"ended": 3, "asked": RUNS, "labels": 40}, RUNS),
        ({"ended": 3, "labels": 40}, "the training has started"),
    ],
)
def test_train_says_when_it_begins(
    told: None, service: Any, training: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked_for(service, training)
    assert main(["train"]) == 0
    assert capsys.readouterr().err == f"{said}; see: nextlabel status\n"


def test_train_waits_for_the_one_that_was_asked_for_not_the_one_that_runs(
    told: None, service: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    asked_for(
        service,
        {"ended": 3, "asked": RUNS, "labels": 40},
        {"ended": 4, "asked": "the training starts within seconds", "verdict": "fine-tune-1 goes live"},
        {"ended": 4, "labels": 41, "verdict": "fine-tune-1 goes live"},
        {"ended": 5, "made": True, "verdict": "fine-tune-2 is kept, not used"},
    )
    assert main(["train", "--wait"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert (said[0], said[-1]) == (RUNS, "fine-tune-2 is kept, not used")


def test_train_writes_the_epochs_that_it_sees_for_tensorboard(
    told: None, service: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setattr("nextlabel.backend.cli.service.EVERY_S", 0)
    first, second = {"epoch": 1.0, "loss": 0.5}, {"epoch": 2.0, "loss": 0.25, "macro_f1": 0.75}
    runs = {"ended": 3, "labels": 40}
    asked_for(
        service,
        runs,
        runs | {"candidate": "few-shot (1 of 2)", "epochs": [first]},
        runs | {"candidate": "fine-tune (2 of 2)", "epochs": [first]},
        runs | {"candidate": "fine-tune (2 of 2)", "epochs": [first, second]},
        {"ended": 4, "made": True, "verdict": "fine-tune-2 goes live"},
    )
    assert main(["train", "--wait", "--tensorboard", str(tmp_path / "runs")]) == 0
    [run] = (tmp_path / "runs").iterdir()
    found = {one.name: EventAccumulator(str(one)).Reload().Scalars("loss/training") for one in run.iterdir()}
    losses = {name: [event.value for event in events] for name, events in found.items()}
    assert losses == {"few-shot-1-of-2": [0.5], "fine-tune-2-of-2": [0.5, 0.25]}
    capsys.readouterr()
    assert main(["train", "--tensorboard", str(tmp_path / "runs")]) == 1
    assert "add --wait" in capsys.readouterr().err


def test_train_that_made_no_model_ends_with_an_error(
    told: None, service: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    asked_for(
        service, {"ended": 3, "labels": 40}, {"ended": 4, "made": False, "verdict": "no candidate could be trained"}
    )
    assert main(["train", "--wait"]) == 1
    assert "no candidate could be trained" in capsys.readouterr().err


def test_train_that_does_not_begin_any_more_is_not_waited_for(
    told: None, service: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    asked_for(service, {"ended": 3, "asked": "the training starts within seconds"}, {"ended": 3, "error": "too few"})
    assert main(["train", "--wait"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error: too few"


def test_cancel(told: None, service: Any, capsys: pytest.CaptureFixture[str]) -> None:
    service.training = {"stage": "training", "step": 1, "steps": 2}
    assert main(["train", "--cancel"]) == 0
    assert main(["train", "--cancel"]) == 0
    assert capsys.readouterr().err.splitlines() == ["cancelled", "no training was running"]


def test_another_home_has_another_token(
    told: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NEXTLABEL_API_TOKEN", "wrong")
    assert main(["status"]) == 1
    assert "refuses our token" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[", "nonsense", "http://127.0.0.1:99999"])
def test_nobody_there(told: None, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--url", url]) == 1
    assert f"no service answers at {url}" in capsys.readouterr().err
