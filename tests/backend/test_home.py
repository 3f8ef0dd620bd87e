"""The home folder is its owner's alone, whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from nextlabel.backend.home import make_privately, private_home
from nextlabel.backend.settings import Settings


@pytest.fixture(params=[0o022, 0o002, 0o000], autouse=True)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_home_is_private_and_in_no_repository(tmp_path: Path) -> None:
    home = private_home(Settings(home=tmp_path / "a" / "home"))
    assert mode(home) == 0o700
    assert (home / ".gitignore").read_text().splitlines()[-1] == "*"


def test_one_that_others_could_read_is_tightened(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o777)
    assert mode(private_home(Settings(home=tmp_path / "home"))) == 0o700


def test_what_is_made_from_then_on_is_private(tmp_path: Path) -> None:
    make_privately(Settings())
    (tmp_path / "file").write_text("a text")
    (tmp_path / "folder").mkdir()
    assert (mode(tmp_path / "file"), mode(tmp_path / "folder")) == (0o600, 0o700)


def test_a_group_may_be_let_in_on_purpose(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", share_home=True)
    make_privately(settings)
    home = private_home(settings)
    (home / "file").write_text("a text")
    assert (mode(home), mode(home / "file")) == (0o750, 0o640)


def test_a_folder_that_we_work_in_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inside").mkdir()
    tmp_path.chmod(0o755)
    for where in (tmp_path, tmp_path / "inside"):
        monkeypatch.chdir(where)
        private_home(Settings(home=tmp_path))
        assert mode(tmp_path) == 0o755
        assert not (tmp_path / ".gitignore").exists()
