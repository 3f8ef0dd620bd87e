"""``nextlabel status`` against a real server."""

import json
from pathlib import Path

import pytest

from nextlabel.backend.cli import main
from nextlabel.backend.credentials import Credentials


@pytest.fixture
def told(port: int, secrets: Credentials, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NEXTLABEL_PORT", str(port))
    monkeypatch.setenv("NEXTLABEL_HOME", str(tmp_path))
    monkeypatch.setenv("NEXTLABEL_API_TOKEN", secrets.api_token)
    monkeypatch.setenv("NEXTLABEL_ML_PASSWORD", secrets.password)
    monkeypatch.setenv("NEXTLABEL_WEBHOOK_SECRET", secrets.webhook_secret)
    monkeypatch.setenv("COLUMNS", "200")


def test_the_table(told: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    text = capsys.readouterr().out
    assert "2,225, 2,127 on the platform" in text
    assert "0.900 (95%: 0.800 to 0.950, 30 records)" in text
    assert "knows 40 of 41 log rows" in text


def test_json(told: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labelled"] == 40


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
