"""A trained model's folder, encoder and head: every engine gives the labels and probabilities of the torch network."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.activation import SIGMOID, SOFTMAX
from nextlabel.backend.encoders.base import Engine
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.model_folder import read_folder
from nextlabel.backend.encoders.network import LEARNED
from nextlabel.backend.encoders.tokenizer import Tokeniser, pad
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.saving import HEAD_FILE, head_of, save_encoder, save_head, write_pooling
from nextlabel.backend.training.classifier import text_classifier
from nextlabel.backend.training.spec import TrainingSpec
from tests.backend.tiny_bert import WORDS, export_here, tiny_bert

LABELS = 3
STEPS = 40
POOLINGS = ("mean", "attention", "bilstm")  # cls and max are measured against another library in test_encoders


@dataclass(frozen=True)
class Trained:
    """The folder, the ONNX files made from it, texts it was not fitted on, and their labels."""

    folder: Path
    cache: Path
    texts: list[str]
    labels: np.ndarray

    def predict(self, engine: Engine, multi: bool = False) -> np.ndarray:
        """Probabilities float32 [n, LABELS] of the texts by an engine and the saved head."""
        encoder = load_encoder(str(self.folder), engine, cache_dir=self.cache, threads=1)
        head = Probe.load(self.folder / ("multi.safetensors" if multi else HEAD_FILE))
        return head.predict_proba(encoder.encode(self.texts))


def texts_of(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Texts of 5 to 20 words; most of a text's words come from its label's third of the vocabulary."""
    rng = random.Random(seed)
    third = len(WORDS) // LABELS
    labels = [number % LABELS for number in range(count)]
    texts = []
    for label in labels:
        own, length = WORDS[label * third : (label + 1) * third], rng.randint(5, 20)
        texts.append(" ".join(rng.choice(own if rng.random() < 0.9 else WORDS) for _ in range(length)))
    return texts, np.array(labels)


@pytest.fixture(scope="module", params=POOLINGS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A small network that was trained until it tells the labels apart, saved as every trained model is."""
    import torch

    base, folder = (tmp_path_factory.mktemp(request.param) / name for name in ("base", "model"))
    write_pooling(tiny_bert(base, spread=0.1), "mean" if request.param in LEARNED else request.param, 32)
    model, cache = read_folder(base), tmp_path_factory.mktemp("cache")
    spec = TrainingSpec(pooling=request.param if request.param in LEARNED else "model", dropout=0)
    torch.set_num_threads(1)  # two that wait for each other are slower on a busy machine
    torch.manual_seed(0)
    network = text_classifier(model, spec, LABELS).train()
    texts, labels = texts_of(120, seed=1)
    ids, mask = (torch.from_numpy(part) for part in pad(Tokeniser(model)(texts)))
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(STEPS):
        loss = torch.nn.functional.cross_entropy(network(ids, mask), torch.from_numpy(labels))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    save_encoder(folder, network, model)
    save_head(folder, head_of(network, activation=SOFTMAX, temperature=1.0, labels=120), ("a", "b", "c"), {})
    replace(Probe.load(folder / HEAD_FILE), activation=SIGMOID).save(folder / "multi.safetensors")
    export_here(folder, cache)
    return Trained(folder, cache, *texts_of(150, seed=2))


@pytest.mark.parametrize("multi", [False, True])
def test_onnx_gives_the_probabilities_of_torch(trained: Trained, multi: bool) -> None:
    torch, onnx = trained.predict("torch", multi), trained.predict("onnx", multi)
    np.testing.assert_allclose(onnx, torch, atol=1e-3)
    decided = np.abs(torch - 0.5) > 1e-3
    assert ((onnx > 0.5) == (torch > 0.5))[decided].all()
    if not multi:
        np.testing.assert_allclose(torch.sum(axis=1), 1, atol=1e-5)


def test_8_bits_cost_little(trained: Trained) -> None:
    torch, int8 = trained.predict("torch"), trained.predict("onnx-int8")
    right = {name: (one.argmax(axis=1) == trained.labels).mean() for name, one in (("torch", torch), ("int8", int8))}
    assert right["torch"] > 0.6, "a model that knows nothing would lose nothing"
    assert right["int8"] > right["torch"] - 0.03
    assert (int8 != torch).any(), "this is not 8 bits"
    assert (int8.argmax(axis=1) == torch.argmax(axis=1)).mean() > 0.95
