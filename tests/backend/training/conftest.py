"""A model of two layers with random weights, and texts that it can learn to tell apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.encoders.model_folder import ModelFolder, read_folder
from tests.backend.tiny_bert import letters, tiny_bert
from tests.backend.torch_threads import one_torch_thread

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These models are too small for more, and other tests want the cores."""
    with one_torch_thread():
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """A BERT that reads letters, with a mean pooling."""
    # Different texts are to get different vectors.
    folder = tmp_path_factory.mktemp("tiny")
    return read_folder(tiny_bert(folder, words=letters(LETTERS), positions=40, spread=0.2, dropout=0.0))


def made_up(count: int, seed: int = 0, *, multi_label: bool = False) -> Examples:
    """Texts of one to eight words; words of ``early`` begin with a to m, those of ``late`` with n to z."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, count)
    texts = []
    for target in targets:
        letters = LETTERS[13:] if target else LETTERS[:13]
        words = ["".join(rng.choice(list(letters), 2)) for _ in range(rng.integers(1, 9))]
        texts.append(" ".join(words))
    if multi_label:
        long = np.array([len(text) > 12 for text in texts])
        return Examples(tuple(texts), np.column_stack([targets == 1, long]), ("late", "long"))
    return Examples(tuple(texts), targets.astype(np.int64), ("early", "late"))
