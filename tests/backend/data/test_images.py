"""Images of data files: what annotators are shown, what is left out, and what records are known by."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import datasets
import pandas
import pytest
from PIL import Image

from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.data.records import EDGE, Columns, ReadReport, read_answers, read_records
from nextlabel.backend.recipe.recipe import FieldSource, Recipe
from nextlabel.backend.service.opening import load_records
from nextlabel.backend.settings import Settings
from nextlabel.backend.store import Added, Store
from nextlabel.connectors.errors import DataError
from nextlabel.connectors.records import FieldKind, Record

COLUMNS = Columns({"text": "text", "image": "image"}, answer="label", images=frozenset({"image"}))


def png(colour: str, size: tuple[int, int] = (600, 800)) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", size, colour).save(written, "PNG")
    return written.getvalue()


def table(folder: Path, *images: str) -> Path:
    """A CSV file that names them."""
    path = folder / "memes.csv"
    path.write_text("text,image,label\n" + "".join(f"t{at},{name},yes\n" for at, name in enumerate(images)))
    return path


def read(path: Path, *folders: Path) -> tuple[list[Record], ReadReport]:
    report = ReadReport()
    rules = ImageRules(roots=folders or (path.parent,))
    return list(read_records(str(path), COLUMNS, report=report, rules=rules)), report


def picture(record: Record) -> Image.Image:
    """What a browser shows."""
    kind, _, data = record.fields["image"].partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


def colour(record: Record) -> str:
    pixel = picture(record).getpixel((10, 10))
    assert isinstance(pixel, tuple)
    red, _, blue = pixel
    return "red" if red > blue else "blue"


def test_files_become_small_pictures(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a b.png").write_bytes(png("red"))
    (tmp_path / "tiny.png").write_bytes(png("blue", (20, 30)))
    records, report = read(table(tmp_path, "sub/a b.png", str(tmp_path / "tiny.png")))
    assert [picture(record).size for record in records] == [(EDGE, 512), (20, 30)]
    assert [colour(record) for record in records] == ["red", "blue"]
    assert [record.fields["text"] for record in records] == ["t0", "t1"]
    assert report.lines() == ["2 records read"]


def test_what_a_browser_or_the_platform_loads_stays(tmp_path: Path) -> None:
    addresses = [
        "https://pictures.test/1.png",
        "HTTP://pictures.test/1.png",
        "data:image/png;base64;x",
        "s3://bucket/1.png",
        "/data/upload/1/1.png",
        "/data/local-files/?d=memes/1.png",
        "",
    ]
    records, _ = read(table(tmp_path, *addresses))
    assert [record.fields["image"] for record in records] == addresses


def test_images_that_can_not_be_read_are_left_out_and_told(tmp_path: Path) -> None:
    whole = png("red")
    (tmp_path / "good.png").write_bytes(whole)
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "page.png").write_text("<html>")
    records, report = read(table(tmp_path, "none.png", "good.png", "cut.png", "page.png", "/etc/hostname"))
    assert [record.fields["text"] for record in records] == ["t1"]
    counted, left_out, first = report.lines()
    assert counted == "1 records read"
    assert left_out == "4 lines with an image that can't be read, left out (line 2, 4, 5, 6)"
    assert first.startswith(f"{tmp_path / 'memes.csv'}:2: missing: none.png: there is no such file in")


def test_files_elsewhere_are_refused_until_their_folder_is_named(tmp_path: Path) -> None:
    for name in ("data", "pictures"):
        (tmp_path / name).mkdir()
    (tmp_path / "pictures" / "1.png").write_bytes(png("red"))
    path = table(tmp_path / "data", "../pictures/1.png")
    records, report = read(path)
    assert not records
    assert "outside the folders that images are read from" in report.lines()[-1]
    (record,) = read(path, path.parent, tmp_path / "pictures")[0]
    assert colour(record) == "red"


def test_many_keep_their_order(tmp_path: Path) -> None:
    for name in ("red", "blue"):
        (tmp_path / f"{name}.png").write_bytes(png(name, (16, 16)))
    wanted = ["red" if at % 3 else "blue" for at in range(200)]
    records, _ = read(table(tmp_path, *(f"{name}.png" for name in wanted)))
    assert [record.fields["text"] for record in records] == [f"t{at}" for at in range(200)]
    assert [colour(record) for record in records] == wanted


def test_a_record_is_known_by_its_file_not_by_what_is_shown(tmp_path: Path) -> None:
    """Another release of Pillow writes another JPEG; the record is to be the same one."""
    (tmp_path / "a.png").write_bytes(png("red"))
    path = table(tmp_path, "a.png")
    (before,) = read(path)[0]
    (tmp_path / "a.png").write_bytes(png("blue"))
    (after,) = read(path)[0]
    assert after.uid == before.uid
    assert after.fields != before.fields
    assert read_answers(str(path), COLUMNS) == {before.uid: "yes"}


# -- bytes ---------------------------------------------------------------------------------------------


def test_bytes_in_a_parquet_file(tmp_path: Path) -> None:
    (tmp_path / "blue.png").write_bytes(png("blue"))
    images: list[Any] = [
        {"bytes": png("red"), "path": "any.png"},
        {"bytes": None, "path": "blue.png"},
        {"bytes": png("blue"), "path": None},
        {"bytes": b"nonsense", "path": None},
    ]
    path = tmp_path / "memes.parquet"
    pandas.DataFrame({"text": list("aaab"), "image": images, "label": "yes"}).to_parquet(path)
    records, report = read(path)
    assert [colour(record) for record in records] == ["red", "blue", "blue"]
    assert len({record.uid for record in records}) == 3, "the same text, with other images"
    assert set(read_answers(str(path), COLUMNS)) > {record.uid for record in records}
    assert report.unseen == [4]
    assert "broken: bytes: this is no image" in report.lines()[-1]


def test_images_of_a_data_set(tmp_path: Path) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "image": datasets.Image(), "label": datasets.Value("string")}
    )
    rows = {
        "text": ["a", "b", "c"],
        "image": [{"bytes": png("red"), "path": None}, None, {"bytes": b"nonsense", "path": None}],
        "label": ["yes"] * 3,
    }
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "saved"))
    records, report = read(tmp_path / "saved")
    assert [record.fields["text"] for record in records] == ["a", "b"]
    assert colour(records[0]) == "red"
    assert records[1].fields["image"] == ""
    assert report.unseen == [3]


def test_a_column_without_images_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "memes.jsonl"
    path.write_text('{"text": "a", "image": 7, "label": "yes"}\n')
    with pytest.raises(DataError, match=r"memes\.jsonl:1: the column 'image' holds a int; the address of an image, or"):
        read(path)


# -- recipes -------------------------------------------------------------------------------------------


def recipe(data: str) -> Recipe:
    fields = {"text": FieldSource(column="text"), "image": FieldSource(column="image", kind=FieldKind.IMAGE)}
    return Recipe(name="memes", data=data, fields=fields, labels=("yes", "no"), answer="label")


def test_a_recipe_reads_images_beside_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1.png").write_bytes(png("red"))
    (record,) = recipe(str(table(tmp_path, "1.png"))).read()
    assert colour(record) == "red"
    monkeypatch.chdir(tmp_path)
    assert recipe("somebody/memes-of-the-hub").image_folders() == (), "addresses from elsewhere name no file here"


def test_the_next_start_reads_only_new_images(tmp_path: Path) -> None:
    """Ten thousand images take a minute; and what annotators are shown already stays."""
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(png("red"))
    memes, settings = recipe(str(table(tmp_path, "a.png", "b.png"))), Settings(home=tmp_path / "home")
    with Store.open(tmp_path / "store.sqlite") as store:
        assert load_records(memes, store, settings) == Added(new=2)
        before = [item.record for item in store.records()]
        (tmp_path / "a.png").unlink()
        (tmp_path / "b.png").write_bytes(png("blue"))
        table(tmp_path, "a.png", "b.png", "c.png")
        assert load_records(memes, store, settings) == Added(new=1, known=2)
        *same, new = (item.record for item in store.records())
    assert same == before
    assert colour(new) == "red"


def test_another_address_under_the_same_id_is_a_change(tmp_path: Path) -> None:
    path, memes = tmp_path / "memes.csv", recipe(str(tmp_path / "memes.csv")).model_copy(update={"id": "text"})
    with Store.open(tmp_path / "store.sqlite") as store:
        for address, found in (("https://a.test/1.png", Added(new=1)), ("https://a.test/2.png", Added(changed=1))):
            path.write_text(f"text,image,label\nt,{address},yes\n")
            assert load_records(memes, store, Settings(home=tmp_path / "home")) == found
