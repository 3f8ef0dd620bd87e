"""A fine-tuning for spans as files, and what its worker leaves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.encoders.model_folder import ModelFolder
from nextlabel.backend.models.export.export import export_model
from nextlabel.backend.models.spans.encoder import Layer, layer_of, load_span_encoder, set_layer
from nextlabel.backend.models.spans.metrics import all_right
from nextlabel.backend.models.spans.probe import SpanProbe
from nextlabel.backend.training import worker
from nextlabel.backend.training.jobs import SPANS_FILE, TrainingJob, read_found
from nextlabel.backend.training.spec import TrainingCancelled, TrainingProgress, TrainingSpec, never, no_report
from nextlabel.connectors.content import Content, Readable, text_of
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Span
from tests.backend.spans.conftest import bookings

SPEC = TrainingSpec(epochs=10, learning_rate=1e-2, head_learning_rate=1e-2, batch_size=4, dropout=0.0)
UNSEEN = bookings(20, first=100)


def asked(text: Readable) -> Content:
    return Content(text_of(text), context="when?")


def make_job(encoder: ModelFolder, cache: Path, count: int = 60) -> TrainingJob:
    train = bookings(count)
    train = replace(train, texts=tuple(asked(text) if n % 2 else text for n, text in enumerate(train.texts)))
    predict = [asked(UNSEEN.texts[0]), *UNSEEN.texts[1:], ""]
    return TrainingJob(
        kind="spans",
        encoder=EncoderSpec(str(encoder.path), max_length=24, cache_dir=cache),
        examples=train,
        spec=SPEC,
        held_out=bookings(20, first=60),
        predict=predict,
    )


def test_what_is_saved_is_loaded(tiny_encoder: ModelFolder, tmp_path: Path) -> None:
    job = make_job(tiny_encoder, tmp_path / "cache")
    odd = replace(job.examples, texts=("x\ud800\u2028é", *job.examples.texts[1:]), spans=((), *job.examples.spans[1:]))
    job = job.model_copy(update={"examples": odd})
    job.save(tmp_path / "work")
    again = TrainingJob.load(tmp_path / "work")
    assert again.examples == job.examples
    assert again.held_out is not None
    assert job.held_out is not None
    assert again.held_out.spans == job.held_out.spans
    assert (again.predict, again.spec, again.encoder) == (job.predict, job.spec, job.encoder)
    job.model_copy(update={"held_out": None}).save(tmp_path / "other")
    assert TrainingJob.load(tmp_path / "other").held_out is None


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("job.json", None, r"no training job \(.*job.json is missing\)"),
        ("job.json", "{", "can't be read"),
        ("job.json", '{"format": "nextlabel-span-training-1"}', "of another version"),
        ("examples.jsonl", '["name"]\n["text"]\n', "can't be read"),
        ("examples.jsonl", '["name"]\n["text", [[0, 99, "name"]]]\n', "reaches out"),
        ("predict.jsonl", None, "predict.jsonl is missing"),
    ],
)
def test_what_is_not_whole_is_refused(
    tiny_encoder: ModelFolder, tmp_path: Path, file: str, content: str | None, says: str
) -> None:
    make_job(tiny_encoder, tmp_path / "cache").save(tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(content)
    with pytest.raises(LearningError, match=says):
        TrainingJob.load(tmp_path)


def test_the_worker_leaves_a_model_that_finds_what_it_said(tiny_encoder: ModelFolder, tmp_path: Path) -> None:
    job = make_job(tiny_encoder, tmp_path / "cache")
    job.save(tmp_path / "work")
    seen: list[TrainingProgress] = []
    # Stopped after the training, before anything is predicted, it goes on there.
    with pytest.raises(TrainingCancelled):
        worker.run(tmp_path / "work", job, seen.append, lambda: (tmp_path / "work" / "trained").exists())
    assert not (tmp_path / "work" / "model").exists()
    seen.clear()
    worker.run(tmp_path / "work", job, seen.append, never)
    assert {one.stage for one in seen} == {"embedding"}
    assert not (tmp_path / "work" / "scratch").exists()
    model, found = tmp_path / "work" / "model", read_found(tmp_path / "work" / SPANS_FILE)
    assert all_right(found[:-1], UNSEEN.spans).mean() > 0.9
    assert found[-1] == ()
    encoder = load_span_encoder(EncoderSpec(str(model), max_length=24, cache_dir=tmp_path / "cache"))
    probe = SpanProbe.load(model / "head.safetensors")
    again = probe.predict(encoder.tokens(job.predict).texts())
    assert all_right([one.spans for one in again], found).all()
    assert probe.texts == 60, "neither held-out texts nor those asked about"
    # Another training goes on from it.
    more = {"encoder": replace(job.encoder, name=str(model)), "spec": SPEC.model_copy(update={"epochs": 1})}
    job = job.model_copy(update=more)
    job.save(tmp_path / "next")
    worker.run(tmp_path / "next", job, no_report, never)
    assert all_right(read_found(tmp_path / "next" / SPANS_FILE)[:-1], UNSEEN.spans).mean() > 0.9
    exported(model, tmp_path / "out")


def exported(model: Path, out: Path) -> None:
    """The folder is one of transformers' already; what is ours stays behind."""
    from transformers import pipeline

    done = export_model(model, out)
    assert (done.form, "trained together" in done.note) == ("transformers", True)
    tagger = pipeline("token-classification", model=str(out), device="cpu", aggregation_strategy="simple")
    found = [(one["entity_group"], one["start"], one["end"]) for one in tagger("table at 4 pm")]
    assert (found[0][:2], found[-1][2]) == (("time", 9), 13)
    assert {label for label, _, _ in found} == {"time"}
    assert "pipeline_tag: token-classification" in (out / "README.md").read_text()
    assert {"head.safetensors", "tokens.json", "training.json"}.isdisjoint(file.name for file in out.iterdir())
    export_model(model, out.with_name("whole"), "nextlabel")
    assert {file.name for file in out.with_name("whole").iterdir()} == {file.name for file in model.iterdir()}
    with pytest.raises(LearningError, match="no ONNX form"):
        export_model(model, out.with_name("none"), "onnx")
    assert not out.with_name("none").exists()


@pytest.mark.parametrize("better", ["middle", "last"])
def test_the_layer_that_does_better_on_held_out_texts_is_read(
    tiny_encoder: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, better: Layer
) -> None:
    """The other one is spoilt."""
    original = worker.read_tokens

    def spoilt(texts: list[str], *more: Any) -> Any:
        found = original(texts, *more)
        if layer_of(tmp_path / "work" / "trained") != better:
            return [replace(one, vectors=np.ones_like(one.vectors)) for one in found]
        return found

    monkeypatch.setattr(worker, "read_tokens", spoilt)
    job = make_job(tiny_encoder, tmp_path / "cache", count=20)
    job.save(tmp_path / "work")
    worker.run(tmp_path / "work", job, no_report, never)
    assert layer_of(tmp_path / "work" / "model") == better


def test_each_layer_has_vectors_and_a_name_of_its_own(tiny_encoder: ModelFolder, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(tiny_encoder.path, folder)
    vectors, names = [], set()
    for layer in ("middle", "last"):
        set_layer(folder, layer)
        encoder = load_span_encoder(EncoderSpec(str(folder), max_length=24, cache_dir=tmp_path))
        vectors.append(encoder.tokens(["for bob at 7 pm"]).vectors)
        names.add(encoder.fingerprint)
    assert len(names) == 2
    assert not np.allclose(vectors[0], vectors[1], atol=1e-2)
    (folder / "tokens.json").write_text(json.dumps(["last"]))
    assert layer_of(folder) == "middle"


def test_texts_are_right_if_all_their_spans_are() -> None:
    one, two = Span(0, 3, "name"), Span(4, 6, "time")
    assert all_right([(one, two), (two, one), (one,), ()], [(one, two), (one, two), (one, two), ()]).tolist() == [
        True,
        True,
        False,
        True,
    ]
    assert all_right([], []).shape == (0,)
