"""``nextlabel models ...`` on a real store, with a small trained model and a probe on it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.activation import SOFTMAX
from nextlabel.backend.cli.serve import model_of_project
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.models.card import Figure, ModelCard
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.registry import CHOSEN_SPACE, ModelStore
from nextlabel.backend.recipe import find_recipe
from nextlabel.backend.service.opening import load_records, open_store
from nextlabel.backend.settings import Settings
from nextlabel.backend.store import Store
from nextlabel.connectors.errors import LearningError
from tests.backend.trained_models import TEXTS, WIDTH, trained_model
from tests.size import both_in_long

Run = Callable[..., Any]
LABELS = ("positive", "negative")
ON_IT = "probe-9-fine-tune-1"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    """A project whose first probe was followed by a fine-tuned model, and a probe on that."""
    recipe, settings = find_recipe("reviews.yaml"), Settings.load()
    with open_store(recipe, settings) as opened:
        load_records(recipe, opened, settings)
        models = ModelStore(folder / ".nextlabel" / "reviews" / "models")
        add_probe(opened, models, "probe-1", 4)
        card = ModelCard(
            version="",
            project="reviews",
            rung="fine-tune",
            created="2026-11-22T10:00:00+00:00",
            base="tiny",
            labels=LABELS,
            activation=SOFTMAX,
            figures=(Figure("macro_f1", 0.81, 0.7, 0.9, 60, "held-out"),),
            counts={"positive": 50, "negative": 40},
            data_hash="ab" * 16,
        )
        entry = models.add(trained_model(folder / "work", labels=LABELS), card)
        opened.add_model(entry.version, "fine-tune", 5, {"held_out": 0.81}, str(entry.path))
        opened.set_meta(CHOSEN_SPACE, entry.version)
        add_probe(opened, models, ON_IT, WIDTH, "fine-tune-1")
        yield opened


def add_probe(store: Store, models: ModelStore, version: str, width: int, base: str = "") -> None:
    path = models.folder / version / "probe.safetensors"
    path.parent.mkdir(parents=True)
    weights = np.random.default_rng(1).normal(size=(2, width)).astype(np.float32) * 9
    Probe(weights, np.zeros(2, np.float32), SOFTMAX, 1.1, 12, names=LABELS).save(path)
    metrics = {"labels": 12, "audit_n": 40, "audit_accuracy": 0.9, "audit_low": 0.77, "audit_high": 0.96}
    store.add_model(version, "probe", 9, metrics, str(path), base=base)
    store.set_current(version)


def in_use(store: Store) -> tuple[str, str | None]:
    current = store.current_model()
    return current.version if current else "", store.get_meta(CHOSEN_SPACE)


def test_the_epochs_of_a_trained_model_are_shown(nextlabel: Run, store: Store, folder: Path) -> None:
    history = [{"epoch": 1.0, "loss": 0.7, "log_loss": 0.6, "macro_f1": 0.5}, {"epoch": 2.0, "loss": 0.4}]
    shown = json.loads(nextlabel("models", "show", "reviews.yaml", "fine-tune-1", "--json").out)
    assert shown["epochs"] == [], "of how it was trained nothing is known"
    (Path(shown["path"]) / "training.json").write_text(json.dumps({"history": history}))
    shown = json.loads(nextlabel("models", "show", "reviews.yaml", "fine-tune-1", "--json").out)
    assert shown["epochs"] == history
    table = nextlabel("models", "show", "reviews.yaml", "fine-tune-1").out
    assert "1: loss 0.700, held-out log loss 0.600, held-out macro-F1 0.500" in table


def test_a_trained_model_is_shown_with_its_card(nextlabel: Run, store: Store) -> None:
    shown = json.loads(nextlabel("models", "show", "reviews.yaml", "fine-tune-1", "--json").out)
    assert shown["card"]["figures"][0]["low"] == 0.7
    assert shown["current"] is False
    assert shown["problem"] == ""
    assert shown["bytes"] > 10_000
    table = nextlabel("models", "show", "reviews.yaml", "fine-tune-1").out
    assert "macro_f1 0.810 [0.700, 0.900] (held-out, n = 60)" in table
    assert "positive: 50" in table


def test_the_current_probe_is_shown_with_what_it_stands_on(nextlabel: Run, store: Store) -> None:
    shown = json.loads(nextlabel("models", "show", "reviews.yaml", "current", "--json").out)
    assert (shown["version"], shown["base"], shown["current"]) == (ON_IT, "fine-tune-1", True)
    assert shown["card"] is None
    listed = json.loads(nextlabel("models", "list", "reviews.yaml", "--json").out)
    assert (listed[0]["version"], listed[0]["base"]) == (ON_IT, "fine-tune-1")


@pytest.mark.parametrize(("named", "version"), both_in_long(("current", ON_IT), ("fine-tune-1", "fine-tune-1")))
def test_a_model_of_a_project_is_served_alone_as_it_is_kept(
    store: Store, folder: Path, named: str, version: str
) -> None:
    row = next(row for row in store.models() if row.version == version)
    head = Path(row.path) / "head.safetensors" if version == "fine-tune-1" else Path(row.path)
    trained = folder / ".nextlabel" / "reviews" / "models" / "fine-tune-1"
    length = find_recipe("reviews.yaml").max_length
    vectors = load_encoder(str(trained), max_length=length, cache_dir=folder).encode(TEXTS)
    model = model_of_project(named, "reviews.yaml")
    found = model.predictions(model.read(TEXTS))
    assert {one.suggestion.model_version for one in found} == {version}
    table = np.array([[one.probabilities[label] for label in LABELS] for one in found])
    assert np.abs(table - Probe.load(head).predict_proba(vectors)).max() < 1e-3


def test_a_model_without_weights_is_shown_with_the_problem_and_not_promoted(nextlabel: Run, store: Store) -> None:
    row = next(row for row in store.models() if row.version == "probe-1")
    shutil.rmtree(Path(row.path).parent)
    shown = json.loads(nextlabel("models", "show", "reviews.yaml", "probe-1", "--json").out)
    assert "no longer there" in shown["problem"]
    assert shown["metrics"]["audit_n"] == 40
    done = nextlabel("models", "promote", "reviews.yaml", "probe-1")
    assert done.code == 1
    assert "no longer there" in done.err
    assert in_use(store) == (ON_IT, "fine-tune-1")


@pytest.mark.parametrize("command", [["show"], ["promote"], ["export", "out"]])
def test_an_unknown_model_is_refused_with_the_nearest_name(
    nextlabel: Run, folder: Path, store: Store, command: list[str]
) -> None:
    done = nextlabel("models", command[0], "reviews.yaml", "fine-tune-11", *command[1:])
    assert done.code == 1
    assert "there is no model 'fine-tune-11'; did you mean fine-tune-1" in done.err
    assert not (folder / "out").exists()


def test_before_the_first_model_it_says_so(nextlabel: Run, folder: Path) -> None:
    assert "nothing was run for reviews yet" in nextlabel("models", "rollback", "reviews.yaml").err
    recipe, settings = find_recipe("reviews.yaml"), Settings.load()
    open_store(recipe, settings).close()
    assert "none was trained yet" in nextlabel("models", "show", "reviews.yaml", "current").err
    assert "no model is in use yet" in nextlabel("models", "rollback", "reviews.yaml").err


def test_rollback_and_promote_change_what_is_in_use(nextlabel: Run, store: Store) -> None:
    done = nextlabel("models", "rollback", "reviews.yaml")
    assert done.code == 0, done.err
    assert "probe-1 is chosen again" in done.err
    assert in_use(store) == ("probe-1", "")
    done = nextlabel("models", "promote", "reviews.yaml", "fine-tune-1")
    assert "fine-tune-1 is chosen" in done.err
    assert in_use(store) == ("fine-tune-1", "fine-tune-1")


def asked_for(folder: Path, labels: str) -> None:
    """The recipe asks for ``labels`` now."""
    recipe = folder / "reviews.yaml"
    recipe.write_text(recipe.read_text().replace("[positive, negative]", labels))


@pytest.mark.parametrize("labels", ["[negative, positive]", "[mixed, negative]"])
def test_an_export_has_the_labels_that_the_model_was_made_for(
    nextlabel: Run, folder: Path, store: Store, labels: str
) -> None:
    asked_for(folder, labels)
    done = nextlabel("models", "export", "reviews.yaml", "current", "out", "--format", "nextlabel")
    assert done.code == 0, done.err
    assert json.loads((folder / "out" / "labels.json").read_text())["labels"] == list(LABELS)
    assert Probe.load(folder / "out" / "head.safetensors").names == LABELS
    assert ("was made for other labels" in done.err) == ("mixed" in labels)
    shown = json.loads(nextlabel("models", "show", "reviews.yaml", "fine-tune-1", "--json").out)
    assert ("it knows nothing yet of mixed" in shown["other_labels"]) == ("mixed" in labels)


def test_a_probe_from_before_names_were_kept_is_not_exported(nextlabel: Run, folder: Path, store: Store) -> None:
    row = next(row for row in store.models() if row.version == ON_IT)
    replace(Probe.load(row.path), names=()).save(row.path)
    done = nextlabel("models", "export", "reviews.yaml", "current", "out")
    assert done.code == 1
    assert "was not noted yet when it was kept" in done.err
    assert "export fine-tune-1 itself" in done.err
    assert not (folder / "out").exists()


def test_a_choice_says_where_the_labels_differ(nextlabel: Run, folder: Path, store: Store) -> None:
    assert "other labels" not in nextlabel("models", "rollback", "reviews.yaml").err
    asked_for(folder, "[mixed, negative]")
    done = nextlabel("models", "promote", "reviews.yaml", "fine-tune-1")
    assert done.code == 0
    assert "note: fine-tune-1 was made for other labels: it knows nothing yet of mixed" in done.err
    assert "what it knows of positive is no longer asked for" in done.err


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_the_model_in_use_is_exported_whole_and_pushed(
    nextlabel: Run, folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import pipeline

    from nextlabel.backend.encoders.load import load_encoder

    pushed: list[Any] = []

    def push(out: Path, repo_id: str, *, private: bool) -> str:
        pushed.append((str(out), repo_id, private))
        return "https://hub.example/me/reviews"

    monkeypatch.setattr("nextlabel.backend.cli.models.push_to_hub", push)
    done = nextlabel("models", "export", "reviews.yaml", "current", "out", "--push-to", "me/reviews", "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert (facts["form"], facts["hub"]) == ("transformers", "https://hub.example/me/reviews")
    assert pushed == [("out", "me/reviews", True)]
    base = folder / ".nextlabel" / "reviews" / "models" / "fine-tune-1"
    encoder = load_encoder(str(base), "torch", max_length=128, cache_dir=folder / "c", threads=1)
    row = next(row for row in store.models() if row.version == ON_IT)
    ours = Probe.load(row.path).predict_proba(encoder.encode(TEXTS))
    classify = pipeline("text-classification", model=str(folder / "out"), truncation=True, top_k=None, device="cpu")
    said = [{one["label"]: one["score"] for one in answer} for answer in classify(list(TEXTS))]
    assert np.abs(np.array([[one[label] for label in LABELS] for one in said]) - ours).max() < 1e-4
    page = (folder / "out" / "README.md").read_text()
    assert "| accuracy | 0.900 | 0.769 to 0.960 | audit | 40 |" in page
    assert "started from: fine-tune-1" in page
    assert "is there already" in nextlabel("models", "export", "reviews.yaml", "current", "out").err


def test_an_onnx_file_is_checked_before_it_appears(
    nextlabel: Run, folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = nextlabel("models", "export", "reviews.yaml", "fine-tune-1", "out", "--format", "onnx", "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert (facts["form"], facts["version"]) == ("onnx", "fine-tune-1")
    assert facts["largest_difference"] < 1e-4
    assert facts["texts"] >= 64
    assert (folder / "out" / "model.onnx").is_file()
    monkeypatch.setattr("nextlabel.backend.models.export.export.tracing_fault", lambda *_: "it differs by 0.2")
    refused = nextlabel("models", "export", "reviews.yaml", "fine-tune-1", "second", "--format", "onnx")
    assert (refused.code, refused.out) == (1, "")
    assert "can't be exported to ONNX: it differs by 0.2" in refused.err
    assert not (folder / "second").exists()


def test_other_formats_and_encoders_without_weights(
    nextlabel: Run, folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = nextlabel("models", "export", "reviews.yaml", "fine-tune-1", "copy", "--format", "nextlabel")
    assert done.code == 0, done.err
    assert (folder / "copy" / "card.json").is_file()
    done = nextlabel("models", "export", "reviews.yaml", "probe-1", "none")
    assert done.code == 1
    assert "stands on the encoder hashing" in done.err

    def refuse(*_: Any, **__: Any) -> str:
        raise LearningError("there is no token for the hub")

    monkeypatch.setattr("nextlabel.backend.cli.models.push_to_hub", refuse)
    done = nextlabel(
        "models", "export", "reviews.yaml", "fine-tune-1", "second", "--format", "nextlabel", "--push-to", "me/x"
    )
    assert done.code == 1
    assert "no token" in done.err
    assert (folder / "second" / "card.json").is_file(), "what was written stays, and can be uploaded by hand"


def test_a_span_probe_is_not_exported_but_what_it_stands_on(nextlabel: Run, folder: Path, store: Store) -> None:
    with (folder / "reviews.yaml").open("a") as file:
        file.write("kind: span\n")
    done = nextlabel("models", "export", "reviews.yaml", ON_IT, "out")
    assert done.code == 1
    assert "no pipeline has a place for; export fine-tune-1 itself" in done.err
    assert "one that is fine-tuned can be exported" in nextlabel("models", "export", "reviews.yaml", "probe-1", "o").err


WAITS = """
import sys, time
from nextlabel.backend.models.export import export
from nextlabel.backend.cli import script

def forever(*args, **more):
    print("half-way", flush=True)
    time.sleep(600)

setattr(export, sys.argv.pop(1), forever)
script()
"""


@pytest.mark.parametrize(
    ("number", "code", "form", "step"),
    [(signal.SIGTERM, 143, "onnx", "tracing_fault"), (signal.SIGINT, 130, "transformers", "check_tokens")],
)
def test_an_export_that_is_ended_leaves_nothing_behind(
    folder: Path, store: Store, number: int, code: int, form: str, step: str
) -> None:
    there = sorted(folder.iterdir())
    command = [sys.executable, "-c", WAITS, step, "models", "export", "reviews.yaml", "fine-tune-1", "out"]
    with subprocess.Popen([*command, "--format", form], stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half-way\n"
        assert len(list(folder.iterdir())) == len(there) + 1, "this is where it is written"
        process.send_signal(number)
        assert process.wait(60) == code, "a script must not take it for done"
    assert sorted(folder.iterdir()) == there
