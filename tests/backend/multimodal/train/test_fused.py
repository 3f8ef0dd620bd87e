"""A trained fusion head as an encoder and a probe: together they say what the head says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.encoders.fusion import FUSED_FILE, FusedEncoder, FusionHead, fused_on, is_fused
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.multimodal import MultimodalEncoder
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.saving import HEAD_FILE
from nextlabel.backend.training.fusion import train_fused
from nextlabel.backend.training.jobs import TrainingJob
from nextlabel.backend.training.spec import TrainingCancelled, TrainingProgress, TrainingSpec, never, no_report
from nextlabel.connectors.content import Content
from nextlabel.connectors.errors import LearningError
from tests.backend.multimodal.memes import LABELS, meme, tiny_vit

BROKEN = "data:image/png;base64,AAAA"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vit")
    tiny_vit(folder)
    return folder


def make_job(vit: Path, cache: Path, count: int = 120, **spec: object) -> TrainingJob:
    made = [meme(number) for number in range(count)]
    texts = tuple(Content(text, (image,)) for text, image, _ in made)
    answers = np.array([answer for _, _, answer in made])
    examples = Examples((*texts[:-1], Content(made[-1][0], (BROKEN,))), answers, LABELS)
    encoder = EncoderSpec(f"hashing+{vit}", cache_dir=cache)
    return TrainingJob(kind="fusion", encoder=encoder, examples=examples, spec=TrainingSpec(**spec))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(vit: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingJob]:
    place = tmp_path_factory.mktemp("fused")
    job = make_job(vit, place / "cache")
    train_fused(job, place / "model", no_report, never)
    return place / "model", job


def test_encoder_and_probe_say_what_the_head_says(trained: tuple[Path, TrainingJob]) -> None:
    folder, job = trained
    encoder = load_encoder(str(folder), cache_dir=job.encoder.cache_dir)
    assert isinstance(encoder, FusedEncoder)
    texts = [Content(text, (image,)) for text, image, _ in map(meme, range(500, 560))]
    vectors = encoder.encode(texts)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors.shape == (60, encoder.dimension)
    probe, head = Probe.load(folder / HEAD_FILE), FusionHead.load(folder)
    assert probe.names == head.labels
    assert np.allclose(probe.predict_proba(vectors), head.predict_proba(encoder.towers(texts)), atol=1e-5)
    strict = encoder.for_requests()
    assert (strict.fingerprint, strict.dimension) == (encoder.fingerprint, encoder.dimension)
    assert strict.rules.roots == ()
    assert np.allclose(strict.encode(texts), vectors, atol=0.02)


def test_of_three_kinds_the_one_that_learned_it_is_taken(trained: tuple[Path, TrainingJob]) -> None:
    folder, job = trained
    encoder, probe = load_encoder(str(folder), cache_dir=job.encoder.cache_dir), Probe.load(folder / HEAD_FILE)
    unseen = [meme(number) for number in range(600, 800)]
    said = probe.predict_proba(encoder.encode([Content(text, (image,)) for text, image, _ in unseen]))
    assert (said.argmax(axis=1) == [answer for _, _, answer in unseen]).mean() > 0.85
    assert FusionHead.load(folder).kind == "product"


def test_a_head_is_told_from_other_models_and_names_its_encoder(trained: tuple[Path, TrainingJob], vit: Path) -> None:
    folder, job = trained
    assert is_fused(folder)
    assert not is_fused(vit)
    assert fused_on(folder) == job.encoder.name


def test_on_other_towers_it_is_refused(trained: tuple[Path, TrainingJob], tmp_path: Path) -> None:
    folder, job = trained
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    facts = json.loads((tmp_path / FUSED_FILE).read_text())
    (tmp_path / FUSED_FILE).write_text(json.dumps({**facts, "fingerprint": "another"}))
    with pytest.raises(LearningError, match="train again"):
        load_encoder(str(tmp_path), cache_dir=job.encoder.cache_dir)
    (tmp_path / FUSED_FILE).write_text("{}")
    with pytest.raises(LearningError, match="train the head again"):
        load_encoder(str(tmp_path), cache_dir=job.encoder.cache_dir)


def test_what_is_told_and_how_it_is_stopped(vit: Path, tmp_path: Path) -> None:
    seen: list[TrainingProgress] = []
    job = make_job(vit, tmp_path / "cache", count=20, fusion="gated")
    train_fused(job, tmp_path / "model", seen.append, never)
    assert [one.stage for one in seen] == ["embedding", "training", "training"]
    assert FusionHead.load(tmp_path / "model").kind == "gated"
    with pytest.raises(TrainingCancelled):
        train_fused(job, tmp_path / "other", no_report, lambda: True)
    assert not (tmp_path / "other").exists()


def test_where_there_is_nothing_to_fuse_it_says_so(vit: Path, tmp_path: Path) -> None:
    with pytest.raises(LearningError, match="fusion: none"):
        train_fused(make_job(vit, tmp_path, count=20, fusion="none"), tmp_path / "model", no_report, never)
    job = make_job(vit, tmp_path, count=20)
    blind = job.model_copy(update={"encoder": EncoderSpec("hashing", cache_dir=tmp_path)})
    with pytest.raises(LearningError, match="encodes no images"):
        train_fused(blind, tmp_path / "model", no_report, never)


def test_a_job_for_images_is_the_same_after_a_trip_through_files(vit: Path, tmp_path: Path) -> None:
    encoder = load_encoder(f"hashing+{vit}", cache_dir=tmp_path)
    assert isinstance(encoder, MultimodalEncoder)
    made = make_job(vit, tmp_path, count=20)
    job = made.model_copy(update={"encoder": replace(made.encoder, images=encoder.rules)})
    job.save(tmp_path / "job")
    read = TrainingJob.load(tmp_path / "job")
    assert read.encoder.images is not None
    assert read.encoder.images.roots == (Path().absolute(),)
    assert (read.encoder.images.hosts, read.encoder.images.max_bytes) == (encoder.rules.hosts, encoder.rules.max_bytes)
    assert read.examples.texts == job.examples.texts
