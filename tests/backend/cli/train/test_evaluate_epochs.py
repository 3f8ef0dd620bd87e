"""``nextlabel evaluate`` on rungs that train: their epochs can be watched, and a model can be kept."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.data.labelled import LabelledColumns
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.encoders.head_names import HeadSpec
from nextlabel.backend.evaluation.run import Request
from nextlabel.backend.frozen.opening import open_model
from nextlabel.backend.models.card import ModelCard
from tests.backend.cli.train.conftest import written
from tests.backend.own_heads import announce, of_the_page, on_path
from tests.backend.tiny_bert import tiny_bert

pytestmark = pytest.mark.usefixtures("cache")

Run = Callable[..., Any]


@pytest.fixture
def evaluate(nextlabel: Run, folder: Path) -> Run:
    """Run it on texts that one word tells apart, with a tiny encoder."""
    tiny_bert(folder / "tiny", spread=0.02)
    made = [
        {"text": f"word{at % 2} word{at + 2}", "label": f"s{at % 2}", "part": "ab"[at % 3 == 0]} for at in range(48)
    ]
    data = written(folder / "words.csv", made)
    columns = ["--text", "text", "--label", "label", "--encoder", "tiny", "--engine", "torch", "--folds", "2"]
    return lambda *arguments: nextlabel("evaluate", data, *columns, *arguments)


def found(done: Any) -> dict[str, Any]:
    assert done.code == 0, done.err
    value: dict[str, Any] = json.loads(done.out.splitlines()[-1])
    return value


def test_epochs_are_told_by_fold_in_json_page_and_tensorboard(evaluate: Run, folder: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = ["--report", "out.html", "--tensorboard", "runs"]
    first = found(evaluate("--rung", "fine-tune", *shown, "--json"))["epochs"]
    assert {one["fold"] for one in first} == {0, 1}
    for fold in (0, 1):
        epochs = [one for one in first if one["fold"] == fold]
        assert [one["epoch"] for one in epochs] == list(range(1, len(epochs) + 1))
        assert all(one["loss"] > 0 and one["log_loss"] > 0 and 0 <= one["macro_f1"] <= 1 for one in epochs)
    html = (folder / "out.html").read_text(encoding="utf-8")
    assert "Loss by epoch" in html
    assert "Macro-F1 by epoch" in html
    (run,) = (folder / "runs").iterdir()
    assert sorted(one.name for one in run.iterdir()) == ["fold-1", "fold-2"]
    for fold in (0, 1):
        events = EventAccumulator(str(run / f"fold-{fold + 1}")).Reload()
        losses = [one["loss"] for one in first if one["fold"] == fold]
        assert [event.value for event in events.Scalars("loss/training")] == pytest.approx(losses)
        assert len(events.Scalars("held-out macro-F1")) == len(losses)
    assert found(evaluate("--rung", "fine-tune", "--json"))["epochs"] == first, "kept folds keep their epochs"


def test_what_has_no_epochs_has_none_to_show(evaluate: Run, folder: Path) -> None:
    done = evaluate("--json", "--report", "out.html")
    assert found(done)["epochs"] == []
    assert "by epoch" not in (folder / "out.html").read_text(encoding="utf-8")
    refused = evaluate("--tensorboard", "runs")
    assert "probe has none; take --rung fine-tune" in refused.err
    assert not (folder / "runs").exists()


def test_without_tensorboard_the_extra_is_named(evaluate: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        "nextlabel.backend.training.tensorboard.find_spec",
        lambda name: None if name == "tensorboard" else there(name),
    )
    done = evaluate("--rung", "fine-tune", "--tensorboard", "runs")
    assert done.code == 1
    assert "nextlabel[tensorboard]" in done.err


@pytest.mark.parametrize("rung", ["probe", "fine-tune"])
def test_a_final_model_learns_from_everything_and_is_one_to_serve(evaluate: Run, folder: Path, rung: str) -> None:
    done = evaluate("--rung", rung, "--no-learning-curve", "--model", "kept", "--json")
    figures = found(done)
    card = ModelCard.load(folder / "kept")
    assert (card.rung, sum(card.counts.values()), card.labels) == (rung, 48, ("s0", "s1"))
    assert "learned from all 48 texts" in card.measured
    by_name = {one.name: one.value for one in card.figures}
    assert by_name["accuracy"] == pytest.approx(figures["accuracy"]["mean"])
    assert not any(path.is_symlink() for path in (folder / "kept").rglob("*"))
    model = open_model(str(folder / "kept"), EncoderSpec("", "torch", cache_dir=folder / "made"))
    likely = np.asarray(model.outputs(model.read(["word0 word9", "word1 word9"])))
    assert likely.shape == (2, 2)
    assert "nextlabel serve --model kept" in done.err


def test_the_best_fold_is_kept_with_the_figures_of_all(evaluate: Run, folder: Path) -> None:
    figures = found(evaluate("--keep", "best", "--model", "best", "--no-learning-curve", "--json"))
    best = max(figures["fold_scores"], key=lambda one: one["macro_f1"]["mean"])
    card = ModelCard.load(folder / "best")
    assert sum(card.counts.values()) == 48 - best["rows"]
    assert f"that of fold {best['fold'] + 1}, the best of 2" in card.measured
    assert {one.name: one.value for one in card.figures}["macro_f1"] == pytest.approx(figures["macro_f1"]["mean"])


def test_with_a_test_set_the_final_model_never_learned_from_it(evaluate: Run, folder: Path) -> None:
    found(evaluate("--split", "part=a:b", "--model", "kept", "--no-learning-curve", "--json"))
    assert sum(ModelCard.load(folder / "kept").counts.values()) == 32


def test_a_head_of_another_package_is_measured_and_kept(
    evaluate: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = of_the_page()["gated_head.py"]
    site = announce(folder / "site", {"gated-cnn": "GatedCnn"}, code, package="gated-head")
    on_path(site, monkeypatch)
    with_head = ["--split", "part=a:b", "--rung", "fine-tune", "--head", "gated-cnn", "--head-option", "hidden=8"]
    first = found(evaluate(*with_head, "--model", "kept", "--json"))
    assert first["head"] == {"head": "gated-cnn", "head_options": {"hidden": 8}}
    assert ModelCard.load(folder / "kept").spec["head_options"] == {"hidden": 8}
    model = open_model(str(folder / "kept"), EncoderSpec("", "torch", cache_dir=folder / "made"))
    assert np.asarray(model.outputs(model.read(["word0 word9"]))).shape == (1, 2)
    assert model.encoder is not None
    assert model.encoder.dimension == 8
    head = HeadSpec("gated-cnn", {"hidden": 8})
    columns = LabelledColumns("text", "label")
    asked = Request("words.csv", columns, cache=folder, rung="fine-tune", encoder="tiny", head=head)
    before = asked.name(0)
    announce(site, {"gated-cnn": "GatedCnn"}, code + "# changed", package="gated-head")
    assert asked.name(0) != before, "folds that other code was fitted on are not taken for its"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--rung", "fine-tune", "--head", "gated"], "there is no head 'gated'; no installed package announces any"),
        (["--head-option", "hidden=8"], "--head-option goes with --head"),
        (["--head", "gated", "--head-option", "hidden"], "write NAME=VALUE, like hidden=64"),
    ],
)
def test_a_head_that_can_not_be_is_refused_before_the_work(evaluate: Run, arguments: list[str], says: str) -> None:
    done = evaluate(*arguments)
    assert (done.code, done.out) == (1, "")
    assert says in done.err


def test_a_rung_that_trains_no_encoder_trains_no_head(
    evaluate: Run, nextlabel: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(announce(folder / "site", {"gated": "Gated"}), monkeypatch)
    says = "trains no text encoder, nor the head gated; take few-shot or fine-tune"
    assert f"probe on tiny {says}" in evaluate("--head", "gated").err
    simulated = nextlabel("simulate", "words.csv", "--text", "text", "--label", "label", "--head", "gated")
    assert says in simulated.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--keep", "final"], "add --model FOLDER"),
        (["--model", "tiny"], "is there already; name a new folder"),
        (["--model", "new", "--encoder", "hashing"], "no folder to be kept with"),
        (["--spans", "text", "--model", "new"], "give either --label"),
    ],
)
def test_a_model_that_can_not_be_kept_is_refused_before_the_work(
    evaluate: Run, arguments: list[str], says: str
) -> None:
    done = evaluate(*arguments)
    assert (done.code, done.out) == (1, "")
    assert says in done.err
