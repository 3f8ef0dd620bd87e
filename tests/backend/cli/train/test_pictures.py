"""``nextlabel evaluate`` and ``simulate`` of pictures: alone, beside texts, and such as nobody can read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.backend.cli.train.conftest import written

pytest.importorskip("efficientnet_lite_pytorch")
pytestmark = pytest.mark.usefixtures("cache")

Run = Callable[..., Any]
ENCODER = ("--encoder", "hashing+efficientnet-lite0")
PLAIN = {"red": (220, 20, 20), "blue": (20, 20, 220)}


@pytest.fixture
def memes(folder: Path) -> str:
    """Captions that tell nothing, and pictures that tell all; in a folder of their own beside the data."""
    there = folder / "data"
    (there / "img").mkdir(parents=True)
    made = []
    for number in range(48):
        colour = ("red", "blue")[number % 2]
        shade = tuple(max(0, one - 4 * number) for one in PLAIN[colour])
        Image.new("RGB", (24, 24), shade).save(there / "img" / f"{number}.png")
        made.append({"caption": f"look number {number}", "file": f"img/{number}.png", "colour": colour})
    written(there / "memes.csv", made)
    return "data/memes.csv"


def told(done: Any) -> dict[str, Any]:
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out.splitlines()[-1])
    return found


def test_what_the_picture_says_is_learned_and_texts_alone_say_nothing(nextlabel: Run, memes: str) -> None:
    seen = told(nextlabel("evaluate", memes, "--text", "caption", "--image", "file", "--label", "colour", *ENCODER,
                          "--folds", "3", "--json"))  # fmt: skip
    assert seen["accuracy"]["mean"] > 0.95
    assert [point["labels"] for point in seen["learning_curve"]["points"]][-1] == 32
    blind = told(nextlabel("evaluate", memes, "--text", "caption", "--label", "colour", "--encoder", "hashing",
                           "--folds", "3", "--json"))  # fmt: skip
    assert blind["accuracy"]["mean"] < 0.8


def test_a_picture_is_read_once_and_may_stand_alone(
    nextlabel: Run, memes: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    from nextlabel.backend.encoders.image_models import EfficientNetTower

    asked = ("--image", "file", "--label", "colour", *ENCODER, "--json")
    quick = ("--budget", "16", "--batch", "8", "--seeds", "2", "--jobs", "1", "--strategies", "margin")
    found = told(nextlabel("evaluate", memes, *asked, "--folds", "3", "--report", "page.html"))
    replayed = told(nextlabel("simulate", memes, *asked, *quick, "--metric", "accuracy"))
    assert found["accuracy"]["mean"] > 0.95
    assert "picture &#39;file&#39;" in (folder / "page.html").read_text()
    assert replayed["strategies"]["margin"]["final"]["mean"] > 0.9
    assert replayed["n"] == 48
    read: list[int] = []
    encode = EfficientNetTower.encode

    def noted(tower: Any, images: Any) -> Any:
        read.append(len(images))
        return encode(tower, images)

    monkeypatch.setattr(EfficientNetTower, "encode", noted)
    told(nextlabel("evaluate", memes, *asked, "--folds", "2"))
    assert read == [], "they were read before"
    Image.new("RGB", (24, 24), PLAIN["blue"]).save(folder / "data" / "img" / "0.png")
    told(nextlabel("evaluate", memes, *asked, "--folds", "2"))
    assert read == [1], "a file that is another one now"


def test_what_cannot_be_read_is_left_out_and_named(nextlabel: Run, memes: str, folder: Path) -> None:
    there = folder / "data" / "img"
    (there / "3.png").write_bytes((there / "3.png").read_bytes()[:40])
    (there / "4.png").unlink()
    asked = ("--text", "caption", "--image", "file", "--label", "colour", *ENCODER, "--json")
    for command in (("evaluate", "--folds", "3"), ("simulate", "--budget", "8", "--seeds", "1", "--jobs", "1")):
        done = nextlabel(command[0], memes, *command[1:], *asked)
        assert told(done)["n"] == 46
        assert "left out: 2 rows whose picture can't be read" in done.err
        assert "img/4.png" in done.err
    for file in there.iterdir():
        file.unlink()
    done = nextlabel("evaluate", memes, *asked)
    assert (done.code, "no picture can be read" in done.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--image", "flie"), "did you mean 'file'?"),
        (("--image", "file", "--encoder", "hashing"), "reads no pictures; write TEXT+IMAGE"),
        (("--image", "file", *ENCODER, "--rung", "fine-tune"), "so there is no fine-tune; take"),
        ((), "give --text, the column with the texts, or --image"),
    ],
)
def test_what_cannot_be_is_told_with_the_fix_before_a_picture_is_read(
    nextlabel: Run, memes: str, arguments: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("a picture was read")

    monkeypatch.setattr("nextlabel.backend.encoders.multimodal.MultimodalEncoder.towers", read)
    for command in ("evaluate", "simulate"):
        done = nextlabel(command, memes, "--label", "colour", *arguments)
        assert done.code == 1
        assert says in done.err.replace("\n", " ")
