"""``nextlabel evaluate`` and ``simulate`` with ``--rung fusion``: labels that need the text and the picture."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.evaluation.ladder import make_rung
from nextlabel.backend.evaluation.rungs import Rung
from nextlabel.backend.frozen.opening import open_model
from nextlabel.backend.models.card import ModelCard
from nextlabel.backend.models.saving import read_epochs
from nextlabel.backend.serving.served_model import ServedModel
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.connectors.content import Content
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Record
from tests.backend.cli.train.conftest import written
from tests.backend.multimodal.memes import LABELS, meme, tiny_vit
from tests.backend.torch_threads import one_torch_thread

pytestmark = pytest.mark.usefixtures("cache", "one_thread")

Run = Callable[..., Any]
COUNT = 160


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The networks are too small for more."""
    with one_torch_thread():
        yield


@pytest.fixture
def memes(nextlabel: Run, folder: Path) -> Run:
    """Run a command on memes of which neither side tells the label, with tiny encoders."""
    tiny_vit(folder / "vit")
    made = [meme(number) for number in range(COUNT)]
    rows = [
        {"text": text, "image": image, "label": LABELS[label], "user": f"u{at // 2}"}
        for at, (text, image, label) in enumerate(made)
    ]
    data = written(folder / "memes.csv", rows)
    columns = ("--text", "text", "--image", "image", "--label", "label", "--encoder", "hashing+vit")
    return lambda command, *arguments: nextlabel(command, data, *columns, *arguments)


def told(done: Any) -> dict[str, Any]:
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out.splitlines()[-1])
    return found


def test_what_needs_both_sides_is_learned_shown_by_epoch_and_kept_to_be_served(memes: Run, folder: Path) -> None:
    asked = ("--folds", "2", "--group", "user", "--json")
    figures = told(memes("evaluate", "--rung", "fusion", *asked, "--report", "out.html", "--model", "kept"))
    assert figures["accuracy"]["mean"] > 0.85
    assert (figures["rung"], figures["chosen"], figures["groups"]) == ("fusion", {"fusion": 2}, COUNT // 2)
    for fold in (0, 1):
        epochs = [one for one in figures["epochs"] if one["fold"] == fold]
        assert [one["epoch"] for one in epochs] == list(range(1, len(epochs) + 1))
        assert all(one["loss"] > 0 and one["log_loss"] > 0 and 0 <= one["macro_f1"] <= 1 for one in epochs)
    assert "Loss by epoch" in (folder / "out.html").read_text(encoding="utf-8")

    card = ModelCard.load(folder / "kept")
    assert (card.rung, card.base, sum(card.counts.values())) == ("fusion", "hashing+vit", COUNT)
    assert len(read_epochs(folder / "kept")) > 1
    served = open_model(str(folder / "kept"), EncoderSpec("", cache_dir=folder / "made"))
    unseen = [meme(number) for number in range(900, 940)]
    contents = [Content(text, (image,)) for text, image, _ in unseen]
    likely = np.asarray(served.outputs(served.read(contents)))
    order = [served.question.labeling.labels.index(label) for label in LABELS]
    assert (likely[:, order].argmax(axis=1) == [label for _, _, label in unseen]).mean() > 0.85


def test_a_kept_head_says_in_service_what_it_said_when_it_was_fitted(folder: Path, cache: Path) -> None:
    tiny_vit(folder / "vit")
    made = [meme(number) for number in range(COUNT)]
    contents = tuple(Content(text, (image,)) for text, image, _ in made)
    examples = Examples(contents, np.array([label for _, _, label in made]), LABELS)
    (folder / "kept").mkdir()
    rung = make_rung("fusion", "hashing+vit", TrainingSpec(fusion="gated"), cache_dir=cache)
    fitted = rung.fit(examples, keep=folder / "kept")
    unseen = list(map(meme, range(900, 940)))
    served = ServedModel(open_model("kept", EncoderSpec("", cache_dir=folder / "made")))
    found = asyncio.run(served.classify([Record("", {"text": text, "image": image}) for text, image, _ in unseen]))
    served.stop()
    said = [[one.probabilities[label] for label in LABELS] for one in found if one is not None]
    expected = fitted.predict_proba([Content(text, (image,)) for text, image, _ in unseen])
    np.testing.assert_allclose(said, expected, atol=5e-3)  # vectors that are kept are half floats


def test_the_ladder_climbs_to_it_unless_the_settings_say_none(folder: Path, cache: Path) -> None:
    tiny_vit(folder / "vit")
    made = [meme(number) for number in range(COUNT)]
    contents = tuple(Content(text, (image,)) for text, image, _ in made)
    examples = Examples(contents, np.array([label for _, _, label in made]), LABELS)

    def rung(name: Any, **spec: Any) -> Rung:
        return make_rung(name, "hashing+vit", TrainingSpec(**spec), cache_dir=cache)

    assert rung("auto", fusion="product").fit(examples).rung == "fusion"
    assert rung("auto", fusion="none").fit(examples.take(range(40))).rung in ("zero-shot", "probe")
    with pytest.raises(LearningError, match="fusion: none"):
        rung("fusion", fusion="none").fit(examples)


def test_a_replay_trains_the_head_as_the_labels_grow(memes: Run) -> None:
    """Here only with all labels of the pool: one training is enough to see it."""
    quick = ("--budget", "40", "--batch", "40", "--seeds", "1", "--jobs", "1", "--strategies", "random", "--json")
    asked = (*quick, "--metric", "accuracy", "--group", "user", "--test-share", "0.3")
    probe = told(memes("simulate", *asked))
    fused = told(memes("simulate", *asked, "--rung", "fusion", "--train-from", "41"))
    assert (probe["rung"], fused["rung"]) == ("probe", "fusion")
    assert fused["runs"] == probe["runs"], "before a training they are one"
    assert fused["full_data_score"]["mean"] > 0.75 > probe["full_data_score"]["mean"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--encoder", "hashing+vit", "--rung", "fusion"), "fusion is for records with images"),
        (("--encoder", "hashing", "--rung", "fusion"), "fusion is for records with images"),
        (("--image", "image", "--encoder", "hashing", "--rung", "fusion"), "so there is no fusion; take"),
        (("--image", "image", "--encoder", "hashing+vit", "--rung", "few-shot"), "probe or fusion"),
    ],
)
def test_what_there_is_instead_is_told(nextlabel: Run, memes: Run, arguments: tuple[str, ...], says: str) -> None:
    for command in ("evaluate", "simulate"):
        done = nextlabel(command, "memes.csv", "--text", "text", "--label", "label", *arguments)
        assert (done.code, done.out) == (1, "")
        assert says in done.err.replace("\n", " ")


def test_a_probe_on_two_towers_has_no_folder_to_be_kept_in(memes: Run) -> None:
    for rung in ("probe", "auto"):
        done = memes("evaluate", "--rung", rung, "--model", "kept")
        assert (done.code, "take --rung fusion" in done.err) == (1, True)
