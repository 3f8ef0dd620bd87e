"""A file is whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextlabel.backend.files import atomic_path, write_atomically


def test_the_folder_is_made_and_the_file_replaced(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    write_atomically(target, b"one")
    write_atomically(target, b"two")
    assert target.read_bytes() == b"two"
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def half_write() -> None:
        with atomic_path(target) as path:
            path.write_bytes(b"half of it")
            raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        half_write()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_others_may_read_it_as_any_other_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "atomic", b"")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode
