"""A head of another package: the one of the documentation from its files to what is served, and those that won't do."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nextlabel.backend.encoders import onnx
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.encoders.head_check import try_head
from nextlabel.backend.encoders.head_names import HEADS, HeadSpec
from nextlabel.backend.encoders.heads import OWN_HEAD
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.model_folder import ModelFolder, read_folder
from nextlabel.backend.evaluation import accuracy
from nextlabel.backend.frozen import open_model
from nextlabel.backend.models.export.export import export_model
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.training.classifier import text_classifier
from nextlabel.backend.training.fewshot import FewShotTuner
from nextlabel.backend.training.finetune import FineTuner
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.backend.training.trainer import TrainingResult
from nextlabel.connectors.errors import ConfigError, LearningError
from tests.backend.device import DEVICE
from tests.backend.own_heads import announce, of_the_page, on_path, pip_install
from tests.backend.tiny_bert import export_here
from tests.backend.training.conftest import made_up

SAID = yaml.safe_load(of_the_page()["recipe"])["training"]
SPEC = TrainingSpec(**SAID, epochs=3, learning_rate=3e-3, head_learning_rate=1e-2, patience=0)
TEXTS = made_up(100, 7).texts
WIDTH = 32


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package of the page is installed, by pip and from the files that stand there."""
    source = tmp_path_factory.mktemp("gated-head")
    for name, content in of_the_page().items():
        (source / name).write_text(content)
    return pip_install(source, tmp_path_factory.mktemp("site"))


@pytest.fixture(autouse=True)
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    on_path(site, monkeypatch)
    yield
    for module in ("gated_head", "made_up"):
        sys.modules.pop(module, None)


@pytest.fixture(scope="module")
def trained(site: Path, tiny: ModelFolder, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """The head of the page, trained as the page says."""
    with pytest.MonkeyPatch.context() as patch:
        on_path(site, patch)
        return train(tiny, tmp_path_factory.mktemp("trained"), SPEC)


def train(base: ModelFolder, place: Path, spec: TrainingSpec, tuner: type[Any] = FineTuner) -> TrainingResult:
    held_out = made_up(40, 99)
    found: TrainingResult = tuner(DEVICE).train(
        base, made_up(120), held_out, spec, place / "model", scratch=place / "scratch"
    )
    return found


def vectors(folder: Path, cache: Path, engine: Any = "torch") -> Any:
    return load_encoder(str(folder), engine, cache_dir=cache, threads=1).encode(TEXTS)


def probabilities(folder: Path, cache: Path) -> Any:
    return Probe.load(folder / "head.safetensors").predict_proba(vectors(folder, cache))


def test_what_is_trained_is_what_is_read_in_another_process(trained: TrainingResult, tmp_path: Path) -> None:
    test = made_up(100, 7)
    here = probabilities(trained.folder, tmp_path / "cache")
    assert accuracy(here, test.targets) > 0.95
    assert read_folder(trained.folder).dimension == SAID["head_options"]["hidden"]
    (tmp_path / "texts.json").write_text(json.dumps(test.texts))
    code = f"""
import json
from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.frozen import open_model

model = open_model({str(trained.folder)!r}, EncoderSpec("", "torch"), threads=1)
texts = json.load(open({str(tmp_path / "texts.json")!r}))
print(json.dumps(model.outputs(model.read(texts)).tolist()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), here, atol=1e-5)


def test_onnx_says_the_same_and_needs_no_package(
    trained: TrainingResult, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = trained.folder, tmp_path / "cache"
    here, ours = vectors(folder, cache), probabilities(folder, cache)
    export_here(folder, cache)
    export_model(folder, tmp_path / "out", "onnx", TEXTS)
    with pytest.raises(LearningError, match=r"a head of one's own has no counterpart .* take --format onnx"):
        export_model(folder, tmp_path / "plain", "transformers", TEXTS)
    assert "Needs the package gated-head 1.0" in export_model(folder, tmp_path / "copy", "nextlabel").note
    monkeypatch.setattr(onnx, "exported", lambda model, precision, cache: onnx.onnx_file(model, precision, cache))
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != str(site)])
    assert HEADS.names() == []
    np.testing.assert_allclose(vectors(folder, cache, "onnx"), here, atol=1e-4)
    assert (vectors(folder, cache, "onnx-int8") * here).sum(axis=1).min() > 0.95
    alone = open_model(str(tmp_path / "out"), EncoderSpec(""), threads=1)
    np.testing.assert_allclose(alone.outputs(alone.read(TEXTS)), ours, atol=1e-4)
    with pytest.raises(
        LearningError, match=r"the head 'gated-cnn' of the package gated-head 1.0, which is not inst.*=="
    ):
        vectors(folder, cache)
    with pytest.raises(LearningError, match=r"pip install gated-head==1.0"):
        read_folder(folder, cache=tmp_path / "another cache")


def test_a_training_goes_on_with_its_weights_and_another_begins_anew(
    tiny: ModelFolder, trained: TrainingResult
) -> None:
    base = read_folder(trained.folder)
    kept = text_classifier(base, TrainingSpec(), 2)
    for spec in (TrainingSpec(), SPEC):
        made = text_classifier(base, spec, 2)
        assert (made.pooling, made.dimension) == (OWN_HEAD, 64)
        assert all(
            (made.state_dict()[name] == one).all() for name, one in kept.state_dict().items() if "pooler" in name
        )
    other = text_classifier(base, TrainingSpec(head="gated-cnn", head_options={"hidden": 8}), 2)
    assert other.dimension == 8
    assert text_classifier(base, TrainingSpec(pooling="mean"), 2).dimension == WIDTH


@pytest.mark.parametrize(
    ("tuner", "windows", "changes"),
    [(FineTuner, 3, {"members": 2, "epochs": 2, "thaw_after": 1}), (FewShotTuner, 1, {})],
    ids=["members, thaw_after and windows", "few-shot"],
)
def test_the_rest_of_a_training_stays_as_it_is(
    tiny: ModelFolder, tmp_path: Path, tuner: type[Any], windows: int, changes: dict[str, Any]
) -> None:
    base = replace(tiny, max_length=8, windows=windows) if windows > 1 else tiny
    result = train(base, tmp_path, SPEC.model_copy(update=changes), tuner)
    encoder = load_encoder(str(result.folder), "torch", windows=windows, cache_dir=tmp_path / "cache", threads=1)
    found = Probe.load(result.folder / "head.safetensors").predict_proba(encoder.encode(TEXTS))
    assert accuracy(found, made_up(100, 7).targets) > 0.8
    assert json.loads((result.folder / "training.json").read_text())["spec"]["head"] == "gated-cnn"


NO_GOOD = '''
import torch


class Mean(torch.nn.Module):
    """Good, and what the others are made of."""

    def __init__(self, width, scale=1.0):
        super().__init__()
        if scale <= 0:
            raise ValueError("scale must be above 0")
        self.scale, self.linear = scale, torch.nn.Linear(width, 4)

    def mean(self, tokens, mask):
        real = mask.unsqueeze(-1).float()
        return (tokens * real).sum(dim=1) / real.sum(dim=1)

    def forward(self, tokens, mask):
        return self.linear(self.mean(tokens, mask)) * self.scale


def no_module(width):
    return "mean"


class Fails(Mean):
    def forward(self, tokens, mask):
        return self.linear(mask)


class PerToken(Mean):
    def forward(self, tokens, mask):
        return self.linear(tokens)


class TakesPadding(Mean):
    def forward(self, tokens, mask):
        return self.linear(tokens.mean(dim=1))


class LooksAround(Mean):
    def forward(self, tokens, mask):
        return super().forward(tokens, mask) - tokens[:, 0].mean()


class Chance(Mean):
    def forward(self, tokens, mask):
        return torch.nn.functional.dropout(super().forward(tokens, mask), 0.5)


class NoNumber(Mean):
    def forward(self, tokens, mask):
        return super().forward(tokens, mask) / (mask.sum() - mask.sum())


class Short(Mean):
    def __init__(self, width):
        super().__init__(width)
        self.places = torch.nn.Parameter(torch.zeros(8, width))

    def forward(self, tokens, mask):
        return super().forward(tokens + self.places[: tokens.shape[1]], mask)


class Forgets(Mean):
    def __init__(self, width):
        super().__init__(width)
        self.shift = torch.randn(4)

    def forward(self, tokens, mask):
        return super().forward(tokens, mask) + self.shift


class Unsaved(Mean):
    def get_extra_state(self):
        return {"not": "a tensor"}


class Detached(Mean):
    def forward(self, tokens, mask):
        return super().forward(tokens.detach(), mask)


class Norm(Mean):
    def __init__(self, width):
        super().__init__(width)
        self.norm = torch.nn.BatchNorm1d(4)

    def forward(self, tokens, mask):
        return self.norm(super().forward(tokens, mask))


class Branches(Mean):
    def forward(self, tokens, mask):
        rows = [self.linear(row[real > 0].mean(dim=0)) for row, real in zip(tokens, mask)]
        return torch.stack(rows)
'''
FACTORIES = {name.lower(): name for name in re.findall(r"^(?:class|def) (\w+)", NO_GOOD, re.MULTILINE)}


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return announce(tmp_path_factory.mktemp("others"), {**FACTORIES, "gone": "Gone"}, NO_GOOD)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gated-cn", {}, "there is no head 'gated-cn'; did you mean gated-cnn?"),
        ("zzz", {}, "there are branches, .*gated-cnn, "),
        ("gone", {}, "head gone of the package made-up can't be loaded: AttributeError"),
        ("mean", {"scael": 2}, "head mean: .*scael.*; its options: scale"),
        ("mean", {"width": 2}, "multiple values .*width.*; its options: scale"),
        ("mean", {"scale": -1}, "head mean: scale must be above 0"),
        ("mean", {"scale": "much"}, "head mean: TypeError: "),
        ("no_module", {}, "head no_module makes a str, which is no torch.nn.Module"),
        ("fails", {}, r"head fails fails on token vectors \[3, 5, 32\] and a mask \[3, 5\]: RuntimeError"),
        ("pertoken", {}, r"makes float32 \[3, 5, 4\] .* one vector for each text: float32 \[3, d\]"),
        ("takespadding", {}, "another vector of a text with more padding"),
        ("looksaround", {}, "another vector of a text beside others than alone"),
        ("chance", {}, "another vector of a text each time"),
        ("nonumber", {}, "vectors that are no numbers"),
        ("short", {}, r"fails on token vectors \[1, 40, 32\]"),
        ("forgets", {}, "made anew with the same weights, makes other vectors: .*register_buffer"),
        ("unsaved", {}, "can't be saved and loaded by its state_dict"),
        ("detached", {}, "can't be trained: no gradient reaches the token vectors"),
        ("norm", {}, "can't be trained: Expected more than 1 value per channel"),
        ("branches", {}, "can't be exported to ONNX, which a service answers with"),
    ],
)
def test_a_head_that_will_not_do_is_told_before_the_training(
    tiny: ModelFolder, others: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any], message: str
) -> None:
    on_path(others, monkeypatch)
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        text_classifier(tiny, TrainingSpec(head=name, head_options=options), 2)


def test_a_process_without_torch_has_another_one_try_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    try_head(HeadSpec("gated-cnn", {"hidden": 8}), WIDTH, 40)
    with pytest.raises(ConfigError, match=r"^head gated-cnn: .*hiden.*; its options: hidden, reach, dropout$"):
        try_head(HeadSpec("gated-cnn", {"hiden": 8}), WIDTH, 40)
    assert "torch" not in sys.modules


def test_another_version_of_the_package_is_told_from_the_one_that_saved(
    tiny: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = announce(tmp_path / "site", {"mean": "Mean"}, NO_GOOD)
    on_path(site, monkeypatch)
    result = train(tiny, tmp_path, TrainingSpec(head="mean", epochs=1))
    before = vectors(result.folder, tmp_path / "cache")
    identity = HEADS.identity("mean")
    announce(site, {"mean": "Mean"}, NO_GOOD, version="1.1")
    assert HEADS.identity("mean") != identity
    np.testing.assert_array_equal(vectors(result.folder, tmp_path / "cache"), before)
    changed = NO_GOOD.replace("* self.scale", "+ self.scale")
    for source, message in (
        (
            changed,
            "the head mean of made-up 1.2 makes other vectors than it did .*; it was saved with made-up 1.0: pip",
        ),
        (NO_GOOD.replace("width, 4", "width, 5"), "pooler.safetensors can't be read as the head mean of made-up 1.2"),
        (
            "",
            "can't be loaded: head mean of the package made-up can't be loaded: Attr.*; it was saved with made-up 1.0",
        ),
    ):
        announce(site, {"mean": "Mean"}, source, version="1.2")
        with pytest.raises(LearningError, match=message):
            vectors(result.folder, tmp_path / "cache")
    announce(site, {"mean": "Mean"}, changed)
    with pytest.raises(LearningError, match=r"made-up 1.0 makes other vectors .*; its code has changed"):
        vectors(result.folder, tmp_path / "cache")
    (result.folder / "nextlabel.json").write_text('{"pooling": "head"}')
    with pytest.raises(LearningError, match="does not say which head"):
        vectors(result.folder, tmp_path / "cache")
