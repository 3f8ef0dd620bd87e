"""Both towers trained together with a head: it learns, what is saved says the same, and a kill changes nothing."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.activation import SOFTMAX
from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.encoders.fusion import FusedEncoder, FusionHead, fused_on, is_fused, own_sides
from nextlabel.backend.encoders.image_models import EfficientNetTower, load_image_tower
from nextlabel.backend.encoders.load import load, load_encoder
from nextlabel.backend.evaluation.ladder import make_rung
from nextlabel.backend.evaluation.rungs import auto_rungs
from nextlabel.backend.frozen.opening import open_model
from nextlabel.backend.models.card import ModelCard
from nextlabel.backend.models.export.export import export_model
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.registry import ModelStore
from nextlabel.backend.models.saving import HEAD_FILE
from nextlabel.backend.training import pictures as picture_files
from nextlabel.backend.training.jobs import TrainingJob
from nextlabel.backend.training.loop import Checkpoints
from nextlabel.backend.training.process import TrainingProcess
from nextlabel.backend.training.records import open_towers
from nextlabel.backend.training.spec import TrainingCancelled, TrainingProgress, TrainingSpec, Watch, never, no_report
from nextlabel.backend.training.towers import tower_network, tower_vectors, train_towers
from nextlabel.connectors.content import Content
from nextlabel.connectors.errors import ConfigError, LearningError
from nextlabel.connectors.records import FieldKind
from tests.backend.multimodal.memes import FILLERS, LABELS, WORDS, meme, tiny_vit
from tests.backend.tiny_bert import tiny_bert
from tests.backend.torch_threads import one_torch_thread
from tests.waiting import wait_for

PATIENCE_S = 240.0  # a busy machine
BROKEN = "data:image/png;base64,AAAA"
QUICK: dict[str, Any] = {"epochs": 2, "patience": 0, "fusion": "product", "learning_rate": 1e-3}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with one_torch_thread():
        yield


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT and a vision transformer with random weights."""
    folder = tmp_path_factory.mktemp("pair")
    words = tiny_bert(folder / "words", words=[*WORDS[0], *WORDS[1], *FILLERS], spread=0.1)
    (folder / "vit").mkdir()
    tiny_vit(folder / "vit")
    return f"{words}+{folder / 'vit'}"


def made(numbers: range, *more: Content) -> Examples:
    """Memes with their answers; the answer to ``more`` is the first label."""
    found = [meme(number) for number in numbers]
    texts = [Content(text, (image,)) for text, image, _ in found]
    answers = [answer for _, _, answer in found] + [0] * len(more)
    return Examples((*texts, *more), np.array(answers, np.int64), LABELS)


def spec_of(name: str, cache: Path) -> EncoderSpec:
    return EncoderSpec(name, "torch", cache_dir=cache)


def train(name: str, place: Path, examples: Examples, held_out: Examples | None = None, **spec: Any) -> Any:
    return train_towers(
        spec_of(name, place / "cache"),
        examples,
        held_out,
        TrainingSpec(**(QUICK | spec)),
        place / "model",
        scratch=place / "scratch",
        checkpoint_seconds=0.0,
    )


def said(folder: Path, texts: tuple[Any, ...], cache: Path) -> Any:
    """What a service that loads the model says of ``texts``."""
    encoder = load(spec_of(str(folder), cache))
    return Probe.load(folder / HEAD_FILE).predict_proba(encoder.encode(texts))


@pytest.fixture(scope="module")
def trained(pair: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A training on 40 memes, one of which has a picture that can't be read."""
    place = tmp_path_factory.mktemp("trained")
    examples = made(range(40), Content("sun", (BROKEN,)), Content("moon"), Content("", (meme(0)[1],)))
    return place, train(pair, place, examples, made(range(100, 120)), epochs=3)


def test_it_learns_and_leaves_a_model_that_names_where_it_began(trained: tuple[Path, Any], pair: str) -> None:
    place, result = trained
    losses = [entry["loss"] for entry in result.history]
    assert losses[-1] < losses[0]
    assert all({"log_loss", "macro_f1", "temperature"} <= entry.keys() for entry in result.history)
    folder = place / "model"
    assert is_fused(folder)
    assert fused_on(folder) == pair
    sides = own_sides(folder)
    assert sides is not None
    assert (sides.text, sides.image) == (str(folder / "text"), str(folder / "image"))
    told = json.loads((folder / "training.json").read_text())
    assert told["texts"] == 42, "the record whose picture can't be read is left out"


def test_what_is_loaded_says_what_the_network_said(trained: tuple[Path, Any], tmp_path: Path) -> None:
    place, result = trained
    unseen = made(range(100, 120))
    found = said(place / "model", unseen.texts, tmp_path / "cache")
    best = min(result.history, key=lambda entry: entry["log_loss"])
    loss = -np.log(found[np.arange(20), unseen.targets]).mean()
    assert loss == pytest.approx(best["log_loss"], abs=2e-3), "measured on the network, before it was saved"


def test_its_vectors_are_kept_apart_from_those_it_began_with(trained: tuple[Path, Any], pair: str) -> None:
    place, _ = trained
    before, after = (load(spec_of(name, place / "cache")) for name in (pair, str(place / "model")))
    assert isinstance(after, FusedEncoder)
    assert before.text.fingerprint != after.base.text.fingerprint  # type: ignore[attr-defined]
    assert before.image.fingerprint != after.base.image.fingerprint  # type: ignore[attr-defined]
    text = made(range(1)).texts
    assert not np.allclose(before.towers(text).image, after.towers(text).image, atol=1e-3)  # type: ignore[attr-defined]
    strict = after.for_requests()
    assert strict.fingerprint == after.fingerprint
    np.testing.assert_allclose(strict.encode(text), after.encode(text), atol=0.02)


def test_the_network_begins_as_the_encoder(pair: str, clip: Path, tmp_path: Path) -> None:
    picture = (meme(0)[1],)
    texts = (Content("sun", picture), Content("moon over"), Content(" ", picture), "", Content("", (BROKEN,)))
    for name in (pair, f"clip:{clip}"):
        towers = open_towers(spec_of(name, tmp_path), texts, tmp_path / "scratch", Watch(no_report, never))
        assert towers.seen(texts).tolist() == [0, 1, 2, 3]
        records = towers.records(texts[:4], Watch(no_report, never))
        network = tower_network(towers, TrainingSpec(), 2)
        found = tower_vectors(network, records, "cpu", Watch(no_report, never))
        expected = towers.encoder.towers(texts[:4])
        np.testing.assert_allclose(found.text, expected.text, atol=3e-3)
        np.testing.assert_allclose(found.image, expected.image, atol=3e-3)


def test_killed_and_resumed_it_ends_with_the_same_weights(
    pair: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples, held_out = made(range(24)), made(range(100, 110))
    train(pair, tmp_path / "whole", examples, held_out)
    real, saved = Checkpoints.add, []

    def killed(self: Checkpoints, *what: Any) -> None:
        real(self, *what)
        saved.append(what[0])
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        train(pair, tmp_path / "torn", examples, held_out)
    monkeypatch.setattr(picture_files, "_write", lambda *_: pytest.fail("the pictures are decoded once"))
    train(pair, tmp_path / "torn", examples, held_out)
    assert saved == [1, 2, 3]
    for file in ("text/model.safetensors", "image/model.safetensors", "fusion.safetensors", HEAD_FILE):
        whole, torn = (tmp_path / one / "model" / file for one in ("whole", "torn"))
        assert whole.read_bytes() == torn.read_bytes(), file


def test_parts_of_a_batch_have_the_same_gradients(pair: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit in memory goes in parts."""
    from nextlabel.backend.training import towers as module

    found: list[Any] = []
    real = module.TowerTask.gradients

    def gradients(self: Any, batch: Any, most: int, scale: Any) -> Any:
        self.network.eval()  # no dropout
        both = []
        for size in (16, 3):
            self.network.zero_grad()
            real(self, batch, size, scale)
            both.append(
                {name: one.grad.clone() for name, one in self.network.named_parameters() if one.grad is not None}
            )
        found.append(both)
        raise TrainingCancelled("seen enough")

    monkeypatch.setattr(module.TowerTask, "gradients", gradients)
    with pytest.raises(TrainingCancelled):
        train(pair, tmp_path, made(range(10), Content("sun"), Content("", meme(3)[1:2] * 2)))
    whole, parts = found[0]
    assert whole.keys() == parts.keys()
    assert any(name.startswith("image.") for name in whole)
    assert any(name.startswith("text.") for name in whole)
    for name, gradient in whole.items():
        np.testing.assert_allclose(parts[name].numpy(), gradient.numpy(), atol=1e-6, rtol=1e-3, err_msg=name)


def test_clip_is_trained_on_both_sides_and_saved_as_one(clip: Path, tmp_path: Path) -> None:
    result = train(f"clip:{clip}", tmp_path, made(range(24)), made(range(100, 110)), fusion="gated")
    folder = tmp_path / "model"
    before, after = (load(spec_of(name, tmp_path / "cache")) for name in (f"clip:{clip}", str(folder)))
    assert isinstance(after, FusedEncoder)
    assert after.text.fingerprint != before.text.fingerprint  # type: ignore[attr-defined]
    assert FusionHead.load(folder).kind == "gated"
    found = said(folder, made(range(100, 110)).texts, tmp_path / "cache")
    loss = -np.log(found[np.arange(10), made(range(100, 110)).targets]).mean()
    assert loss == pytest.approx(min(entry["log_loss"] for entry in result.history), abs=2e-3)
    from safetensors.numpy import load_file

    old, new = load_file(clip / "model.safetensors"), load_file(folder / "clip" / "model.safetensors")
    changed = {name for name in old if not np.array_equal(old[name], new[name])}
    assert {"text_projection.weight", "visual_projection.weight"} <= changed
    assert "logit_scale" not in changed
    table = "text_model.embeddings.token_embedding.weight"
    assert old[table].shape == new[table].shape, "all words are there again"


def test_running_statistics_of_an_efficientnet_stay_and_its_weights_move(pair: str, tmp_path: Path) -> None:
    name = f"{pair.rpartition('+')[0]}+efficientnet-lite0"
    train(name, tmp_path, made(range(8)), epochs=1, fusion="concatenation")
    before, after = EfficientNetTower(), load_image_tower(str(tmp_path / "model" / "image"))
    assert isinstance(after, EfficientNetTower)
    assert after.fingerprint != before.fingerprint
    old, new = before.network.state_dict(), after.network.state_dict()
    changed = {key for key in old if not np.array_equal(old[key].numpy(), new[key].numpy())}
    assert "_conv_stem.weight" in changed
    assert not any("running" in key or "num_batches" in key for key in changed)


def test_it_goes_on_from_a_model_of_its_own_kind(trained: tuple[Path, Any], pair: str, tmp_path: Path) -> None:
    place, _ = trained
    train(str(place / "model"), tmp_path, made(range(24)), epochs=1, pooling="attention", members=2)
    folder = tmp_path / "model"
    assert fused_on(folder) == pair, "the encoder that all of it began with"
    assert (folder / "text" / "pooler.safetensors").is_file()
    assert np.isfinite(said(folder, made(range(5)).texts, tmp_path / "cache")).all()


def test_evaluations_may_ask_for_it_and_keep_what_comes_of_it(pair: str, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    spec = TrainingSpec(**(QUICK | {"epochs": 1}))
    rung = make_rung("fine-tune", pair, spec, engine="torch", cache_dir=tmp_path / "cache")
    fitted = rung.fit(made(range(24)), keep=tmp_path / "kept")
    texts = made(range(100, 105)).texts
    assert [entry["epoch"] for entry in fitted.history] == [1.0]
    np.testing.assert_allclose(
        fitted.predict_proba(texts), said(tmp_path / "kept", texts, tmp_path / "cache"), atol=2e-3
    )
    assert auto_rungs(pair) == ("fusion",), "which takes minutes to hours, and is only done when it is asked for"
    with pytest.raises(ConfigError, match="reads texts by hashing, which has nothing to train"):
        make_rung("fine-tune", f"hashing+{pair.rpartition('+')[2]}", spec, cache_dir=tmp_path)


def test_it_is_exported_whole(trained: tuple[Path, Any], tmp_path: Path) -> None:
    folder = trained[0] / "model"
    with pytest.raises(LearningError, match="--format nextlabel"):
        export_model(folder, tmp_path / "out")
    assert export_model(folder, tmp_path / "out", "nextlabel").note == ""
    texts = made(range(5)).texts
    np.testing.assert_array_equal(
        said(tmp_path / "out", texts, tmp_path / "cache"), said(folder, texts, tmp_path / "cache")
    )


def test_a_worker_killed_on_the_way_leaves_a_version_that_is_loaded_kept_and_pruned(pair: str, tmp_path: Path) -> None:
    texts = (*made(range(100, 104)).texts, Content("sun", (BROKEN,)))  # what can't be seen stops nothing
    job = TrainingJob(
        kind="fine-tune",
        encoder=spec_of(pair, tmp_path / "cache"),
        examples=made(range(24)),
        held_out=made(range(100, 104)),
        spec=TrainingSpec(**(QUICK | {"epochs": 3})),
        predict=texts,
        checkpoint_seconds=0.0,
    )
    process = TrainingProcess.start(tmp_path / "work", job)
    wait_for(lambda: list((tmp_path / "work" / "scratch").glob("checkpoint-*/nextlabel.json")), PATIENCE_S)
    assert process.pid is not None
    os.killpg(process.pid, signal.SIGKILL)
    wait_for(lambda: process.poll() != "running", PATIENCE_S)
    process = TrainingProcess.resume(tmp_path / "work")
    wait_for(lambda: process.poll() != "running", PATIENCE_S)
    assert process.poll() == "done", process.error
    from safetensors.numpy import load_file

    found = load_file(process.predictions)["probabilities"]
    np.testing.assert_allclose(found, said(process.model, texts, tmp_path / "cache"), atol=2e-3)

    models = ModelStore(tmp_path / "models")
    card = ModelCard("", "memes", "fine-tune", "2026-01-01T00:00:00+00:00", pair, LABELS, SOFTMAX)
    entry = models.add(process.model, card)
    assert entry.version == "fine-tune-1"
    assert {"text/model.safetensors", "image/model.safetensors", "fusion.safetensors"} <= models.get(
        entry.version
    ).card.files.keys()  # type: ignore[union-attr]
    served = open_model(str(entry.path), spec_of("", tmp_path / "cache"))
    assert [one.kind for one in served.question.labeling.fields] == [FieldKind.TEXT, FieldKind.IMAGE]
    (entry.path / "image" / "model.safetensors").write_bytes(b"")
    with pytest.raises(LearningError, match=r"image/model\.safetensors has changed"):
        models.get(entry.version)
    assert models.prune(0, ()) == [entry.version]
    assert not entry.path.exists()


def test_what_is_told_and_how_it_is_stopped(pair: str, tmp_path: Path) -> None:
    seen: list[TrainingProgress] = []
    how: dict[str, Any] = {"scratch": tmp_path / "scratch", "report": seen.append}
    spec, encoder = TrainingSpec(**(QUICK | {"epochs": 1})), spec_of(pair, tmp_path / "cache")
    with pytest.raises(TrainingCancelled):
        train_towers(encoder, made(range(20)), None, spec, tmp_path / "model", stop=lambda: len(seen) > 8, **how)
    assert [*dict.fromkeys(one.stage for one in seen)] == ["reading", "tokenising", "embedding", "training"]
    assert not (tmp_path / "model").exists()


def test_where_there_are_no_two_towers_to_train_it_says_so(pair: str, tmp_path: Path) -> None:
    words, _, vit = pair.rpartition("+")
    for name, reason in ((words, "encodes no images"), (f"hashing+{vit}", "nothing to train")):
        with pytest.raises(LearningError, match=reason):
            train(name, tmp_path, made(range(4)))
    with pytest.raises(LearningError, match="fusion: none"):
        train(pair, tmp_path, made(range(4)), fusion="none")
    broken = replace(made(range(4)), texts=tuple(Content("sun", (BROKEN,)) for _ in range(4)))
    with pytest.raises(LearningError, match="0 labelled texts are too few"):
        train(pair, tmp_path, broken)


def test_loading_needs_nothing_that_it_began_with(trained: tuple[Path, Any], tmp_path: Path) -> None:
    folder = trained[0] / "model"
    for file in folder.rglob("*"):
        assert not file.is_symlink()
    loaded = load_encoder(str(folder), "torch", cache_dir=tmp_path)
    assert loaded.dimension == FusionHead.load(folder).width
