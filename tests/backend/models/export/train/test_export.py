"""Exported models, held against what we serve: the same texts, the same probabilities, by the other library's path."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.activation import SIGMOID
from nextlabel.backend.encoders.torch import constant_direction, flatten_last_norm, last_norm
from nextlabel.backend.models.export.export import (
    Exported,
    export_model,
    export_nextlabel,
    export_onnx,
    export_transformers,
)
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.saving import HEAD_FILE
from nextlabel.connectors.errors import LearningError
from tests.backend.trained_models import TEXTS, our_probabilities, trained_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

LABELS = ("good", "bad", "neither")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def said_by_pipeline(out: Path, trust: bool = False, texts: tuple[str, ...] = TEXTS) -> Any:
    """Probabilities [n, c] of transformers' own pipeline."""
    from transformers import pipeline

    classify = pipeline(
        "text-classification", model=str(out), truncation=True, top_k=None, trust_remote_code=trust, device="cpu"
    )
    answers = [{one["label"]: one["score"] for one in answer} for answer in classify(list(texts), batch_size=8)]
    return np.array([[answer[label] for label in LABELS] for answer in answers])


@pytest.mark.parametrize(
    ("kind", "pooling", "options"),
    [
        ("bert", "mean", {}),
        ("bert", "cls", {"prompt": "ba de "}),
        ("roberta", "mean", {"eps": 1e-5}),
        ("xlm-roberta", "cls", {"eps": 1e-5}),
        ("distilbert", "mean", {"multi_label": True}),
        ("distilbert", "cls", {}),
        ("electra", "mean", {"multi_label": True}),
        ("electra", "cls", {}),
    ],
)
def test_the_usual_encoders_become_transformers_own_classes(
    tmp_path: Path, kind: str, pooling: str, options: dict[str, Any]
) -> None:
    folder = trained_model(tmp_path / "model", kind, pooling, **options)
    done = export_transformers(folder, tmp_path / "out", TEXTS[:20])
    assert done.form == "transformers"
    prompt = "The prompt 'ba de ' is put before every text that is not empty."
    assert done.note == (prompt if "prompt" in options else "")
    assert done.difference < 1e-4
    ours = our_probabilities(folder, tmp_path / "cache")
    assert ours.std() > 0.1, "a model that says the same of every text would show nothing"
    assert np.abs(said_by_pipeline(tmp_path / "out") - ours).max() < 1e-4
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "auto_map" not in config
    assert config["id2label"] == {"0": "good", "1": "bad", "2": "neither"}
    assert config["problem_type"].startswith("multi" if options.get("multi_label") else "single")
    settings = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert settings["model_max_length"] == 12


def test_a_last_norm_that_training_left_as_it_was_costs_little(tmp_path: Path) -> None:
    folder = trained_model(tmp_path / "model", flat=False)
    done = export_transformers(folder, tmp_path / "out", TEXTS)
    assert done.form == "transformers"
    assert np.abs(said_by_pipeline(tmp_path / "out") - our_probabilities(folder, tmp_path / "cache")).max() < 1e-3


@pytest.mark.parametrize("write", [export_transformers, export_onnx])
def test_a_model_that_reads_windows_says_what_the_folder_reads(tmp_path: Path, write: Any) -> None:
    folder = trained_model(tmp_path / "model")
    (folder / "training.json").write_text('{"max_length": 12, "windows": 4}')
    done = write(folder, tmp_path / "out", TEXTS[:20])
    assert "reads the first 12 tokens of a text" in done.note
    assert "up to 4 windows of 12 tokens" in done.note
    assert done.note in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("pooling", ["attention", "bilstm", "max"])
def test_other_poolings_come_with_code_and_say_so(tmp_path: Path, pooling: str) -> None:
    folder = trained_model(tmp_path / "model", "bert", pooling)
    with pytest.raises(LearningError, match="without code of its own"):
        export_transformers(folder, tmp_path / "out", allow_code=False)
    done = export_transformers(folder, tmp_path / "out")
    assert done.form == "custom-code"
    assert "trust_remote_code=True" in done.note
    assert done.note in (tmp_path / "out" / "README.md").read_text()
    ours = our_probabilities(folder, tmp_path / "cache")
    assert np.abs(said_by_pipeline(tmp_path / "out", trust=True) - ours).max() < 1e-3


def test_a_model_that_would_say_something_else_gets_code_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nextlabel.backend.models.export.extra_layer.RESIDUAL", 3.0)
    folder = trained_model(tmp_path / "model")
    done = export_transformers(folder, tmp_path / "out")
    assert done.form == "custom-code"
    assert "would differ by" in done.note
    ours = our_probabilities(folder, tmp_path / "cache")
    assert np.abs(said_by_pipeline(tmp_path / "out", trust=True) - ours).max() < 1e-4


def test_onnx_gives_the_probabilities_by_the_code_on_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained_model(tmp_path / "model", "roberta", "attention", multi_label=True)
    done = export_onnx(folder, tmp_path / "out", TEXTS)
    assert done.difference < 1e-4
    page = (tmp_path / "out" / "README.md").read_text()
    code = page.split("```python\n")[1].split("```")[0].replace("a text", TEXTS[9])
    monkeypatch.chdir(tmp_path / "out")
    capsys.readouterr()
    exec(code, {})
    said = capsys.readouterr().out
    ours = our_probabilities(folder, tmp_path / "cache", (TEXTS[9],))[0]
    for label, probability in zip(LABELS, ours, strict=True):
        found = float(
            said.split(f"'{label}': ")[1].replace("np.float32(", "").split(",")[0].split(")")[0].rstrip("}\n")
        )
        assert found == pytest.approx(float(probability), abs=1e-4)


def test_our_own_form_is_a_copy_that_works(tmp_path: Path) -> None:
    folder = trained_model(tmp_path / "model", "distilbert", "cls")
    assert export_nextlabel(folder, tmp_path / "out").form == "nextlabel"
    before, after = (our_probabilities(place, tmp_path / "c") for place in (folder, tmp_path / "out"))
    assert np.array_equal(before, after)


def test_nothing_is_written_over_and_nothing_half_stays(tmp_path: Path) -> None:
    folder = trained_model(tmp_path / "model")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    for form in ("transformers", "nextlabel", "onnx"):
        with pytest.raises(LearningError, match="is there already"):
            export_model(folder, tmp_path / "out", form)
    (folder / "labels.json").write_text('{"labels": ["good", "bad"], "multi_label": false}')
    with pytest.raises(LearningError, match="the head is"):
        export_model(folder, tmp_path / "new")
    (folder / "labels.json").unlink()
    with pytest.raises(LearningError, match=r"labels\.json"):
        export_model(folder, tmp_path / "new")
    with pytest.raises(LearningError):
        export_model(tmp_path / "none", tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "out"]


def test_flattening_moves_beta_no_further_than_it_must(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel

    body = AutoModel.from_pretrained(trained_model(tmp_path / "model", flat=False))
    norm = last_norm(body)
    assert norm is not None
    before = norm.bias.detach().clone()
    constant = flatten_last_norm(body)
    assert constant is not None
    assert float((norm.bias - before).norm()) == pytest.approx(abs(constant), rel=1e-4)
    v, left = constant_direction(norm.weight.detach().double().numpy(), norm.bias.detach().double().numpy())
    assert abs(left) < 1e-6
    hidden = body(input_ids=torch.arange(4, 12)[None]).last_hidden_state[0].detach().double().numpy()
    assert np.abs(hidden @ v).max() < 1e-5
    assert flatten_last_norm(torch.nn.Linear(2, 2)) is None


def test_a_gamma_of_zero_is_no_division_by_zero() -> None:
    gamma, beta = np.array([0.5, 0.0, 2.0]), np.array([1.0, -3.0, 1.0])
    v, constant = constant_direction(gamma, beta)
    assert np.allclose(v, [0, 1, 0])
    assert constant == pytest.approx(-3)


@pytest.mark.parametrize("form", [export_transformers, export_onnx])
def test_a_head_that_learned_one_label_says_how_likely_each_is_though_several_are_asked(
    tmp_path: Path, form: Callable[..., Exported]
) -> None:
    folder = trained_model(tmp_path / "model")
    head = Probe.load(folder / HEAD_FILE)
    replace(head, activation=SIGMOID, exclusive=True).save(folder / HEAD_FILE)
    (folder / "labels.json").write_text(json.dumps({"labels": LABELS, "multi_label": True}))
    assert form(folder, tmp_path / "out", TEXTS).difference < 1e-4
