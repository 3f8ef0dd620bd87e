"""Encoder and head together, in cross-validation and through files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.data.image_rules import ImageRules
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.multimodal import MultimodalEncoder
from nextlabel.backend.evaluation import cross_validate
from nextlabel.backend.training.fusion import ENCODER_FILE, FusionClassifier, FusionSpec, fusion_fit
from nextlabel.connectors.content import write_content
from nextlabel.connectors.errors import LearningError


@pytest.fixture
def encoder(clip: Path, pictures: Path, tmp_path: Path) -> MultimodalEncoder:
    loaded = load_encoder(f"clip:{clip}", cache_dir=tmp_path, threads=1, images=ImageRules(roots=(pictures,)))
    assert isinstance(loaded, MultimodalEncoder)
    return loaded


def examples(n: int = 60) -> Examples:
    """A word and a colour; the label is whether exactly one of "abc" and red is there."""
    rng = np.random.default_rng(0)
    bits = rng.integers(2, size=(n, 2))
    texts = [
        write_content(f"{('abc', 'ponm')[word]} {number % 7}", [f"{('red', 'blue')[colour]}.png"])
        for number, (word, colour) in enumerate(bits)
    ]
    return Examples(tuple(texts), (bits[:, 0] ^ bits[:, 1]).astype(np.int64), ("same", "other"))


SPEC = FusionSpec("product", hidden=16, epochs=80, learning_rate=1e-2)


def test_cross_validation_takes_it(encoder: MultimodalEncoder) -> None:
    data = examples()
    held_out = cross_validate(data, fusion_fit(encoder, SPEC), folds=3)
    guess = held_out.runs[0].predicted.argmax(axis=1)
    assert (guess == data.targets).mean() > 0.9


def test_it_is_the_same_after_a_trip_through_files_and_tells_another_encoder(
    encoder: MultimodalEncoder, clip: Path, tmp_path: Path
) -> None:
    data = examples(20)
    classifier = fusion_fit(encoder, SPEC)(data)
    classifier.save(tmp_path / "head")
    loaded = FusionClassifier.load(tmp_path / "head", encoder)
    assert np.array_equal(loaded.predict_proba(data.texts), classifier.predict_proba(data.texts))
    other = load_encoder(f"clip:{clip}", cache_dir=tmp_path, max_length=5)
    assert isinstance(other, MultimodalEncoder)
    with pytest.raises(LearningError, match="was trained on"):
        FusionClassifier.load(tmp_path / "head", other)
    (tmp_path / "head" / ENCODER_FILE).write_text("{")
    with pytest.raises(LearningError, match="train the head again"):
        FusionClassifier.load(tmp_path / "head", encoder)
