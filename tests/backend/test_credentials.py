"""Secrets that are made once, by however many processes at once."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from nextlabel.backend.credentials import Credentials, credentials
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
