"""MAMI's memes as records that a platform can show."""

from __future__ import annotations

import base64
import io
import logging
from pathlib import Path

import pytest
from PIL import Image

from nextlabel.connectors.errors import DataError
from nextlabel.recipes.formats.mami_table import EDGE, open_mami
from tests.recipes import made_up


def test_images_come_as_small_jpegs(tmp_path: Path) -> None:
    one, two = open_mami(str(made_up.mami(tmp_path, 2))).rows
    assert (one.values["id"], one.values["label"]) == ("mami-0", "not misogynous")
    assert (two.values["text"], two.values["label"]) == (made_up.text(1), "misogynous")
    kind, _, data = two.values["image"].partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (EDGE, 512)


def test_missing_and_broken_images_are_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = made_up.mami(tmp_path, 4)
    (folder / "1.jpg").unlink()
    (folder / "2.jpg").write_bytes((folder / "2.jpg").read_bytes()[:200])
    table = open_mami(str(folder))
    with caplog.at_level(logging.WARNING):
        assert [row.values["id"] for row in table.rows] == ["mami-0", "mami-3"]
    assert table.remark == "1 images are not there, first 1.jpg"
    assert "1 images can't be read" in caplog.text
    assert "2.jpg" in caplog.text


def test_without_data_it_says_where_to_ask() -> None:
    with pytest.raises(DataError, match=r"forms\.gle/\w+.*training\.csv.*--data"):
        open_mami()
