"""Uploading: what is sent, and what is said when it can't be. No network is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from nextlabel.backend.models.export import push_to_hub
from nextlabel.connectors.errors import LearningError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "README.md").write_text("a card")
    return tmp_path


class Hub:
    """Stands in for HfApi."""

    calls: list[tuple[str, dict[str, Any]]]
    failure: Exception | None = None

    def __init__(self, token: str) -> None:
        type(self).calls = [("token", {"token": token})]

    def create_repo(self, repo_id: str, **options: Any) -> str:
        self.calls.append(("create", {"repo_id": repo_id, **options}))
        if self.failure:
            raise self.failure
        return f"https://hub.example/{repo_id}"

    def upload_folder(self, **options: Any) -> None:
        self.calls.append(("upload", options))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr(Hub, "failure", None)
    return Hub


def test_a_private_repository_is_made_and_filled(folder: Path, hub: type[Hub]) -> None:
    assert push_to_hub(folder, "me/model", token="t") == "https://hub.example/me/model"
    (_, token), (_, made), (_, sent) = hub.calls
    assert token == {"token": "t"}
    assert made["private"] is True
    assert made["exist_ok"] is True
    assert (sent["repo_id"], sent["folder_path"]) == ("me/model", folder)
    push_to_hub(folder, "me/model", private=False, token="t")
    assert hub.calls[1][1]["private"] is False


def test_without_a_token_it_says_where_one_goes(folder: Path, hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(LearningError, match="HF_TOKEN"):
        push_to_hub(folder, "me/model")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "stored")
    push_to_hub(folder, "me/model")
    assert hub.calls[0][1] == {"token": "stored"}


def test_a_refusal_names_the_fix_and_never_the_token(folder: Path, hub: type[Hub]) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    reply: Any = httpx.Response(403, request=httpx.Request("POST", "https://hub.example/api"))
    hub.failure = HfHubHTTPError("Forbidden", response=reply)
    with pytest.raises(LearningError, match=r"status 403.*check the token's rights") as caught:
        push_to_hub(folder, "me/model", token="hf_secret")
    assert "hf_secret" not in str(caught.value)


def test_no_network_and_a_wrong_name_are_told_from_each_other(folder: Path) -> None:
    with pytest.raises(LearningError, match="write OWNER/NAME"):
        push_to_hub(folder, "no good name!", token="t")
    with pytest.raises(LearningError, match="could not be uploaded"):  # the tests run in the library's offline mode
        push_to_hub(folder, "me/model", token="t")


def test_only_an_exported_folder_is_sent(tmp_path: Path, hub: type[Hub]) -> None:
    with pytest.raises(LearningError, match="not an exported model"):
        push_to_hub(tmp_path, "me/model", token="t")
