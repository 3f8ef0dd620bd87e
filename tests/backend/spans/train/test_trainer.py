"""Fine-tuning for spans on a tiny network: learns, calibrates, stops, goes on after a kill, loads everywhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.data.span_examples import SpanExamples, split_held_out
from nextlabel.backend.encoders.model_folder import ModelFolder, read_folder
from nextlabel.backend.models.calibration import fit_temperature
from nextlabel.backend.models.spans.metrics import span_f1
from nextlabel.backend.models.spans.model import SpanModel, SpanTokeniser
from nextlabel.backend.models.spans.tagging import TagSet
from nextlabel.backend.training import loop
from nextlabel.backend.training.spans import SpanTrainer, token_classifier
from nextlabel.backend.training.spec import TrainingCancelled, TrainingProgress, TrainingSpec
from nextlabel.backend.training.trainer import TrainingResult
from nextlabel.connectors.errors import LearningError
from tests.backend.device import DEVICE
from tests.backend.spans.conftest import bookings

SPEC = TrainingSpec(epochs=10, learning_rate=1e-2, head_learning_rate=1e-2, batch_size=4, dropout=0.0)


@pytest.fixture(scope="session", params=["bio", "bilou"])
def trained(request: Any, tiny_encoder: ModelFolder, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    place = tmp_path_factory.mktemp("trained")
    return SpanTrainer(DEVICE, scheme=request.param).train(
        tiny_encoder, bookings(60), bookings(20, first=60), SPEC, place / "model", scratch=place / "scratch"
    )


def test_it_finds_what_it_was_shown(trained: TrainingResult) -> None:
    test = bookings(40, first=80)
    model = SpanModel.load(trained.folder)
    assert model.labels == ("name", "time")
    found = model.predict(test.texts)
    assert span_f1([one.spans for one in found], test.spans) > 0.95
    best = max(trained.history, key=lambda entry: (entry["span_f1"], -entry["log_loss"]))
    assert (trained.best_epoch, trained.temperature) == (best["epoch"], best["temperature"])


@pytest.mark.parametrize("labels", [("time", "name"), ("name", "place", "time"), ("place", "time")])
def test_who_goes_on_from_it_starts_with_what_it_knows_of_each_label_by_name(
    trained: TrainingResult, labels: tuple[str, ...]
) -> None:
    known = SpanModel.load(trained.folder)
    tags = TagSet.of(labels, "bilou" if any(name.startswith("U-") for name in known.tags.names) else "bio")
    network = token_classifier(read_folder(trained.folder), SPEC, tags)
    assert TagSet.from_config(network.config.id2label) == tags
    model = SpanModel(network, SpanTokeniser(read_folder(trained.folder)))
    texts = bookings(30, first=80).texts
    before = [[(s.start, s.end, s.label) for s in one.spans] for one in known.predict(texts)]
    after = [[(s.start, s.end, s.label) for s in one.spans] for one in model.predict(texts)]
    same = [(one, other) for one, other in zip(before, after, strict=True) if {s[2] for s in one} <= set(labels)]
    assert {span[2] for one, _ in same for span in one} == {"name", "time"} & set(labels)
    assert all(one == other for one, other in same)


def test_transformers_own_pipeline_reads_the_folder(trained: TrainingResult) -> None:
    import torch
    from transformers import pipeline

    tagger = pipeline("token-classification", model=str(trained.folder), device="cpu", ignore_labels=[])
    text, model = "for zoe at 4 pm", SpanModel.load(trained.folder)
    (tokenised,) = SpanTokeniser(read_folder(trained.folder))([text])
    (logits,) = model.logits([tokenised])
    shares = torch.from_numpy(logits).softmax(dim=1).numpy()
    theirs = tagger(text)
    assert [[piece["start"], piece["end"]] for piece in theirs] == tokenised.bounds.tolist()
    assert [piece["entity"] for piece in theirs] == [model.tags.names[tag] for tag in shares.argmax(axis=1)]
    assert [piece["score"] for piece in theirs] == pytest.approx(shares.max(axis=1).tolist(), abs=1e-4)
    assert not list(trained.folder.glob("*.bin"))
    told = json.loads((trained.folder / "training.json").read_text())
    assert (told["kind"], told["labels"], told["texts"]) == ("spans", ["name", "time"], 60)


def test_spans_across_the_border_of_windows_are_whole(tiny_encoder: ModelFolder, tmp_path: Path) -> None:
    import torch

    class ByToken(torch.nn.Module):  # type: ignore[misc]  # torch comes without types here
        """ "1" begins a span, "2" goes on with it, everything else is outside."""

        def __init__(self) -> None:
            super().__init__()
            self.config = SimpleNamespace(id2label={0: "O", 1: "B-x", 2: "I-x"}, type_vocab_size=0)
            vocabulary = json.loads((tiny_encoder.path / "tokenizer.json").read_text())["model"]["vocab"]
            table = torch.tensor([[4.0, 0.0, 0.0]]).repeat(len(vocabulary), 1)
            table[vocabulary["1"]], table[vocabulary["2"]] = torch.tensor([[0.0, 4.0, 0.0], [0.0, 0.0, 4.0]])
            self.table = torch.nn.Parameter(table)

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return SimpleNamespace(logits=self.table[input_ids])

    model = SpanModel(ByToken(), SpanTokeniser(tiny_encoder))
    pieces = ["a " * 17, "1" + " 2" * 50, " b" * 30, " 1 2", " c" * 12, " 1"]
    text = "".join(pieces)
    starts = [text.index("1"), text.index(" 1 2 c") + 1, len(text) - 1]
    short, long = model.predict(["a 1 2", text])
    assert [(span.start, span.end, span.label) for span in short.spans] == [(2, 5, "x")]
    assert [(span.start, text[span.start : span.end]) for span in long.spans] == list(
        zip(starts, ["1" + " 2" * 50, "1 2", "1"], strict=True)
    )


def test_probabilities_are_calibrated_on_what_was_held_out(trained: TrainingResult) -> None:

    model, held = SpanModel.load(trained.folder), bookings(20, first=60)
    texts = SpanTokeniser(read_folder(trained.folder))(held.texts)
    tags = [model.tags.encode(text.bounds, spans)[0] for text, spans in zip(texts, held.spans, strict=True)]
    assert trained.temperature != 1
    again = fit_temperature(np.concatenate(model.logits(texts)), np.concatenate(tags))
    assert abs(np.log(again)) < 0.5 * abs(np.log(trained.temperature)) + 0.1


def test_a_text_of_nothing_leaves_no_doubt(trained: TrainingResult) -> None:
    found, odd, nothing = SpanModel.load(trained.folder).predict(["for bob at 7 pm", "bob for 7", ""])
    assert len(found.spans) == 2
    assert 0 <= found.uncertainty < odd.uncertainty < 1  # of what it was taught it may be as sure as a float can say
    assert nothing.uncertainty == 0.0


def test_one_seed_gives_one_model(tiny_encoder: ModelFolder, tmp_path: Path) -> None:
    def losses(name: str, seed: int) -> list[float]:
        spec = SPEC.model_copy(update={"epochs": 2, "seed": seed})
        place = tmp_path / name
        result = SpanTrainer(DEVICE).train(tiny_encoder, bookings(20), None, spec, place, scratch=tmp_path / f"s{name}")
        return [entry["loss"] for entry in result.history]

    assert losses("a", 0) == losses("b", 0)
    assert losses("c", 1) != losses("d", 0)


def test_it_ends_when_held_out_spans_gain_no_more(tiny_encoder: ModelFolder, tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"epochs": 30, "patience": 1})
    train, held = split_held_out(bookings(80), spec.held_out, np.random.default_rng(spec.seed))
    result = SpanTrainer(DEVICE).train(
        tiny_encoder, train, held, spec, tmp_path / "model", scratch=tmp_path / "scratch"
    )
    assert result.epochs < 30
    assert result.best_epoch == result.epochs - 1


def test_a_batch_that_does_not_fit_is_taken_in_parts(
    tiny_encoder: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import BertForTokenClassification

    spec = SPEC.model_copy(update={"epochs": 1, "dropout": 0.0})
    original, sizes = BertForTokenClassification.forward, []

    def losses(name: str) -> float:
        folder = tmp_path / name
        trainer = SpanTrainer(DEVICE)
        return trainer.train(
            still(tiny_encoder, tmp_path), bookings(24), None, spec, folder, scratch=tmp_path / f"s{name}"
        ).history[0]["loss"]

    whole = losses("whole")

    def narrow(self: Any, *args: Any, input_ids: Any, **more: Any) -> Any:
        sizes.append(len(input_ids))
        if len(input_ids) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return original(self, *args, input_ids=input_ids, **more)

    monkeypatch.setattr(BertForTokenClassification, "forward", narrow)
    assert losses("parts") == pytest.approx(whole, rel=1e-4)
    assert sizes[:3] == [4, 2, 2]
    monkeypatch.setattr(BertForTokenClassification, "forward", lambda *a, **k: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(LearningError, match="does not fit in memory"):
        losses("never")
    assert not (tmp_path / "never").exists()


def still(encoder: ModelFolder, place: Path) -> ModelFolder:
    """The same encoder without dropout, so that halves of a batch add up to the whole."""
    import shutil

    folder = place / "still"
    if not folder.exists():
        shutil.copytree(encoder.path, folder)
        config = json.loads((folder / "config.json").read_text())
        config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        (folder / "config.json").write_text(json.dumps(config))
    return replace(encoder, path=folder)


def test_stopping_leaves_no_model(tiny_encoder: ModelFolder, tmp_path: Path) -> None:
    seen: list[TrainingProgress] = []
    with pytest.raises(TrainingCancelled):
        SpanTrainer(DEVICE).train(
            tiny_encoder,
            bookings(40),
            bookings(10, first=40),
            SPEC,
            tmp_path / "model",
            scratch=tmp_path / "scratch",
            report=seen.append,
            stop=lambda: any(one.epoch >= 2 for one in seen),
        )
    assert not (tmp_path / "model").exists()
    assert {one.stage for one in seen} == {"tokenising", "training", "evaluating"}
    assert all(one.step <= one.steps for one in seen)


def test_a_training_that_was_killed_goes_on(
    tiny_encoder: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "REPORT_SECONDS", 0.0)
    seen: list[TrainingProgress] = []

    def train(name: str, scratch: str, stop_at: float) -> TrainingResult:
        seen.clear()
        return SpanTrainer(DEVICE, checkpoint_seconds=0).train(
            tiny_encoder,
            bookings(40),
            bookings(10, first=40),
            SPEC.model_copy(update={"patience": 0}),
            tmp_path / name,
            scratch=tmp_path / scratch,
            report=seen.append,
            stop=lambda: bool(seen) and seen[-1].epoch >= stop_at,
        )

    whole = train("whole", "one", 100)
    with pytest.raises(TrainingCancelled):
        train("broken", "two", 3.5)
    resumed = train("broken", "two", 100)
    assert next(one for one in seen if one.stage == "training").epoch >= 3
    for one, other in zip(resumed.history, whole.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
        assert one["span_f1"] == pytest.approx(other["span_f1"])


@pytest.mark.parametrize("case", ["no spans", "other labels", "folder there", "no tokens"])
def test_what_cannot_be_trained_is_said(tiny_encoder: ModelFolder, tmp_path: Path, case: str) -> None:
    from nextlabel.connectors.records import Span

    train, held, folder = bookings(10), bookings(5), tmp_path / "model"
    says = {"no spans": "has a span", "other labels": "other labels", "folder there": "exists", "no tokens": "a token"}
    if case == "no spans":
        train = replace(train, spans=((),) * 10)
    if case == "other labels":
        held = replace(held, labels=("time", "name"))
    if case == "folder there":
        folder.mkdir()
    if case == "no tokens":
        train = SpanExamples(("\u200b",), ((Span(0, 1, "name"),),), train.labels)
    with pytest.raises(LearningError, match=says[case]):
        SpanTrainer(DEVICE).train(tiny_encoder, train, held, SPEC, folder, scratch=tmp_path / "scratch")


def test_a_model_of_another_kind_is_refused(tiny_encoder: ModelFolder, tmp_path: Path) -> None:
    with pytest.raises(LearningError, match="no BIO or BILOU tags"):
        SpanModel.load(tiny_encoder.path)
    (tmp_path / "config.json").write_text('{"hidden_size": 32}')
    with pytest.raises(LearningError, match=r"no model.safetensors"):
        SpanModel.load(tmp_path)
