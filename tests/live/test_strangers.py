"""Strangers against the real service: who is known, and `/health`, are answered while each attack is held."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from benchmarks.strangers import ATTACKS, attacked, running
from nextlabel.backend.stack import LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess


@pytest.fixture(scope="module")
def product(label_studio: LabelStudioServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    home = tmp_path_factory.mktemp("strangers")
    with running(label_studio, home) as process:
        yield process
    shutil.rmtree(home)


@pytest.mark.parametrize("attack", ATTACKS)
def test_nobody_stops_the_service(product: BackendProcess, attack: str) -> None:
    figures = attacked(product, ATTACKS[attack], hold_s=1.0)  # it fails where the two are not answered at all
    print(attack, figures)
    assert figures["memory"] < 1.5
    assert figures["log_bytes"] < 10_000
