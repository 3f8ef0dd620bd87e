"""Rungs: each learns what it can, none needs to know how the others do it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.base import EncoderSpec, FloatMatrix
from nextlabel.backend.evaluation.ladder import Auto, make_rung
from nextlabel.backend.evaluation.rungs import RUNGS, ProbeRung, Setup, rungs_for
from nextlabel.backend.training.spec import RungName, TrainingProgress, TrainingSpec
from nextlabel.connectors.errors import ConfigError
from tests.backend.tiny_bert import WORDS, tiny_bert
from tests.backend.torch_threads import one_torch_thread

LABELS = ("food and drink", "weather")
TEXTS = (
    "good food and a cold drink",
    "the weather is bad",
    "food for two, a drink for one",
    "weather in the north",
    "drink with your food",
    "cold weather ahead",
)
TARGETS = np.array([0, 1, 0, 1, 0, 1])


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(EncoderSpec("hashing", max_length=128, cache_dir=tmp_path), TrainingSpec(), tmp_path)


def test_zero_shot_reads_the_labels_names_and_no_answer(setup: Setup):
    rung = make_rung("zero-shot", "hashing", TrainingSpec(), cache_dir=setup.cache_dir)
    right = rung.fit(Examples(TEXTS, TARGETS, LABELS)).predict_proba(TEXTS)
    assert (right.argmax(axis=1) == TARGETS).all()
    wrong = rung.fit(Examples(TEXTS, 1 - TARGETS, LABELS)).predict_proba(TEXTS)
    np.testing.assert_array_equal(right, wrong)


def test_zero_shot_prefers_a_description_to_a_name(setup: Setup):
    described = make_rung(
        "zero-shot", "hashing", TrainingSpec(), cache_dir=setup.cache_dir, descriptions={"a": LABELS[0], "b": LABELS[1]}
    )
    found = described.fit(Examples(TEXTS, TARGETS, ("a", "b"))).predict_proba(TEXTS)
    assert (found.argmax(axis=1) == TARGETS).all()


def test_the_probe_learns_from_answers(setup: Setup):
    # The names tell nothing here, and they are the wrong way round for some texts: only the answers help.
    examples = Examples(TEXTS * 4, np.tile(1 - TARGETS, 4), ("x", "y"))
    found = ProbeRung(setup).fit(examples).predict_proba(TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert (found.argmax(axis=1) == 1 - TARGETS).all()


def test_the_probe_heeds_weights(setup: Setup):
    texts, targets = ("the same text",) * 2, np.array([0, 1])
    heavy = Examples(texts, targets, ("x", "y"), weights=np.array([1, 9], np.float32))
    assert ProbeRung(setup).fit(heavy).predict_proba(texts)[0, 1] > 0.5
    light = Examples(texts, targets, ("x", "y"), weights=np.array([9, 1], np.float32))
    assert ProbeRung(setup).fit(light).predict_proba(texts)[0, 1] < 0.5


@pytest.mark.parametrize("name", ["zero-shot", "probe"])
def test_several_labels_a_text(setup: Setup, name: str):
    targets = np.array([[True, False], [False, True], [True, False], [False, True], [True, False], [False, True]])
    rung = next(rung for rung in rungs_for(setup) if rung.name == name)
    found = rung.fit(Examples(TEXTS, targets, LABELS)).predict_proba(["nothing of the kind", *TEXTS])
    assert found.shape == (7, 2)
    assert (found[1:].argmax(axis=1) == TARGETS).all()


def test_a_text_is_encoded_once(setup: Setup, monkeypatch: pytest.MonkeyPatch):
    seen: list[str] = []
    encode = setup.loaded.encode

    def noting(texts: Sequence[str]) -> FloatMatrix:
        seen.extend(texts)
        return encode(texts)

    monkeypatch.setattr(setup.loaded, "encode", noting)
    examples = Examples(TEXTS, TARGETS, LABELS)
    for _ in range(2):
        ProbeRung(setup).fit(examples).predict_proba(TEXTS)
    assert sorted(text for text in seen if text in TEXTS) == sorted(TEXTS)


def test_the_probe_tells_how_far_the_encoding_is(setup: Setup):
    told: list[TrainingProgress] = []
    ProbeRung(setup).fit(Examples(TEXTS, TARGETS, LABELS), told.append)
    assert {one.stage for one in told} == {"embedding"}
    assert (told[-1].step, told[-1].steps) == (6, 6)


@pytest.mark.parametrize(("targets", "chosen"), [(TARGETS, "zero-shot"), (1 - TARGETS, "probe")])
def test_auto_says_which_rung_it_has_chosen(setup: Setup, targets: np.ndarray, chosen: str):
    """Where the names say it all no answer is needed; where they mislead, answers are."""
    many = Examples(TEXTS * 8, np.tile(targets, 8), LABELS)
    assert Auto(setup).fit(many).rung == chosen
    assert ProbeRung(setup).fit(many).rung == "probe"


def test_there_is_nothing_to_train_in_hashed_words(tmp_path: Path):
    for name in ("few-shot", "fine-tune"):
        with pytest.raises(ConfigError, match=f"nothing to train, so there is no {name}"):
            make_rung(name, "hashing", TrainingSpec(), cache_dir=tmp_path)


def test_an_unknown_rung_names_those_there_are(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"'best' is unknown; choose one of auto, zero-shot"):
        make_rung("best", "hashing", TrainingSpec(), cache_dir=tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("encoder", "trained"),
    [
        ("some-model", ("few-shot", "fine-tune")),
        ("some-model+other", ("fusion", "fine-tune")),
        ("clip:some", ("fusion", "fine-tune")),
        ("hashing+other", ("fusion",)),
    ],
)
def test_what_is_trained_is_up_to_the_encoder(tmp_path: Path, encoder: str, trained: tuple[str, ...]):
    setup = Setup(EncoderSpec(encoder, max_length=128, cache_dir=tmp_path), TrainingSpec(), tmp_path)
    names = tuple(rung.name for rung in rungs_for(setup))
    assert names == ("zero-shot", "probe", *trained)
    assert list(names) == [name for name in RUNGS if name in names], "the cheapest first"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The models are too small for more."""
    with one_torch_thread():
        yield


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", ["few-shot", "fine-tune"])
def test_a_rung_that_trains_learns_and_leaves_nothing_behind(tmp_path: Path, name: RungName):
    model = tiny_bert(tmp_path / "model")
    texts = tuple(f"{WORDS[n % 2]} {WORDS[10 + n]}" for n in range(40))  # the first word decides
    spec = TrainingSpec(learning_rate=1e-3, epochs=8, batch_size=8)
    rung = make_rung(name, str(model), spec, max_length=32, cache_dir=tmp_path / "cache")
    steps: list[object] = []
    fitted = rung.fit(Examples(texts, np.arange(40) % 2, ("a", "b")), steps.append)
    found = fitted.predict_proba([f"{WORDS[n % 2]} {WORDS[60 + n]}" for n in range(40)])
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert (found.argmax(axis=1) == np.arange(40) % 2).mean() > 0.75
    assert fitted.rung == name
    assert steps
    kept = [file.relative_to(tmp_path / "cache") for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    assert sorted(one.parts[0] for one in kept) == ["digests", "readings", "tokenizers"], "how the first model reads"
