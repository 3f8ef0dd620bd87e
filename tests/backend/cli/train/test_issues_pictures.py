"""``nextlabel issues`` on files with pictures: beside texts, alone, under two names, and such as nobody can read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.backend.cli.train.conftest import written
from tests.backend.multimodal.memes import tiny_vit

pytestmark = pytest.mark.usefixtures("cache")
pytest.importorskip("cleanlab")

Run = Callable[..., Any]
PLAIN = {"red": (220, 20, 20), "blue": (20, 20, 220)}
OTHER = {"red": "blue", "blue": "red"}


def rows(folder: Path, wrong: tuple[int, ...] = (), count: int = 48) -> list[dict[str, str]]:
    """Captions that tell nothing, and pictures that tell all; those at ``wrong`` have the other label."""
    (folder / "img").mkdir(exist_ok=True)
    made = []
    for number in range(count):
        colour = ("red", "blue")[number % 2]
        shade = tuple(max(0, one - 3 * number) for one in PLAIN[colour])
        Image.new("RGB", (24, 24), shade).save(folder / "img" / f"{number}.png")
        said = OTHER[colour] if number in wrong else colour
        made.append({"caption": f"look number {number}", "file": f"img/{number}.png", "colour": said, "who": "ann"})
    return made


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("vit")
    tiny_vit(folder)
    return f"hashing+{folder}"


@pytest.fixture
def found(nextlabel: Run, encoder: str) -> Callable[..., dict[str, Any]]:
    """The JSON on the last line of stdout."""

    def run(data: str, *arguments: str) -> dict[str, Any]:
        options = ("--image", "file", "--label", "colour", "--encoder", encoder, "--json")
        done = nextlabel("issues", data, *options, *arguments)
        assert done.code == 0, done.err
        last: dict[str, Any] = json.loads(done.out.splitlines()[-1])
        return last

    return run


def test_what_the_picture_contradicts_is_found_and_named(
    folder: Path, found: Run, nextlabel: Run, encoder: str
) -> None:
    data = written(folder / "data.csv", rows(folder, wrong=(11,)))
    told = found(data, "--text", "caption")
    assert [(one["row"], one["given"], one["suggested"]) for one in told["issues"]] == [(13, "red", "blue")]
    assert (told["issues"][0]["text"], told["issues"][0]["images"]) == ("look number 11", ["img/11.png"])
    alone = found(data)
    assert [(one["index"], one["text"]) for one in alone["issues"]] == [(11, "")]
    shown = nextlabel("issues", data, "--image", "file", "--label", "colour", "--encoder", encoder)
    assert "[img/11.png]" in shown.out


def test_one_picture_under_two_names_is_a_copy_if_the_words_are_the_same(folder: Path, found: Run) -> None:
    made = rows(folder, count=10)  # too few to call any near another: what is told are copies
    shutil.copyfile(folder / "img" / "2.png", folder / "img" / "again.png")
    made[7] = dict(made[7], caption="look number 2", file="img/again.png")
    made[9] = dict(made[9], caption="another word", file="img/again.png")
    told = found(written(folder / "data.csv", made), "--text", "caption")
    assert [[one["index"] for one in group["records"]] for group in told["duplicates"]] == [[2, 7]]
    assert [one["images"] for one in told["duplicates"][0]["records"]] == [["img/2.png"], ["img/again.png"]]
    assert told["duplicates"][0]["likeness"] == 1.0


def test_what_is_like_no_other_and_what_nobody_can_read(folder: Path, found: Run) -> None:
    made = rows(folder)
    Image.effect_noise((24, 24), 120).convert("RGB").save(folder / "img" / "7.png")
    (folder / "img" / "9.png").write_bytes(b"no picture")
    told = found(written(folder / "data.csv", made))
    assert 7 in [one["index"] for one in told["outliers"]]
    assert told["records"] == 47
    assert any("img/9.png" in remark and "left out: 1 rows" in remark for remark in told["remarks"])


def test_with_annotators_a_record_is_its_words_and_its_picture(folder: Path, found: Run) -> None:
    made = [dict(row, who=who) for row in rows(folder) for who in ("ann", "ben", "eve")]
    made[20 * 3 + 2]["colour"] = "blue"
    told = found(written(folder / "data.csv", made), "--annotator", "who")
    assert (told["answers"], told["records"]) == (144, 48)
    assert [(one["index"], one["annotator"]) for one in told["issues"]] == [(62, "eve")]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--image", "flie", "--label", "colour"), "did you mean 'file'?"),
        (("--image", "file", "--label", "colour", "--encoder", "hashing"), "reads no pictures; write TEXT+IMAGE"),
        (("--image", "file", "--text", "caption", "--spans", "colour"), "--image is not for --spans"),
        (("--label", "colour"), "--text COLUMN"),
    ],
)
def test_bad_input_is_refused_in_words(folder: Path, nextlabel: Run, arguments: tuple[str, ...], reason: str) -> None:
    done = nextlabel("issues", written(folder / "data.csv", rows(folder, count=2)), *arguments)
    assert (done.code, done.out) == (1, "")
    assert reason in done.err.replace("\n", " ")
