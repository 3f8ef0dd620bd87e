"""Secrets that are made once, by however many processes at once."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from pydantic import SecretStr

from nextlabel.backend.credentials import Credentials, credentials, image_key
from nextlabel.backend.settings import Settings


@pytest.mark.parametrize("links", [True, False])
def test_all_that_start_at_once_agree(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = threading.Barrier(8)
    link = os.link

    def together(*arguments: str) -> None:
        ready.wait()
        if not links:
            raise OSError("no links here")
        link(*arguments)

    monkeypatch.setattr(os, "link", together)
    found: list[Credentials] = []
    starts = [threading.Thread(target=lambda: found.append(credentials(Settings(home=tmp_path)))) for _ in range(8)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert credentials(Settings(home=tmp_path)) == found[0]


def test_a_home_from_before_there_was_a_key_for_images_gets_one_that_stays(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    before = credentials(settings)
    keys: list[str] = []
    starts = [threading.Thread(target=lambda: keys.append(image_key(settings))) for _ in range(8)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert image_key(settings) == keys[0]
    assert credentials(settings) == before
    assert (tmp_path / "secrets.json").stat().st_mode & 0o077 == 0


def test_a_key_for_images_that_is_given_counts(tmp_path: Path) -> None:
    assert image_key(Settings(home=tmp_path, image_key=SecretStr("given by hand"))) == "given by hand"
