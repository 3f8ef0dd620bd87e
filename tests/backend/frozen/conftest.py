"""Small classifiers as others keep them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.backend.tiny_bert import tiny_bert

Make = Callable[..., Path]


def classifier(folder: Path, name: str, labels: tuple[str, ...], **config: Any) -> Path:
    """A classifier of transformers' class ``name`` in a new folder under ``folder``: random weights, any ``labels``."""
    import transformers

    body = tiny_bert(folder / "body", positions=64)
    made = transformers.AutoConfig.from_pretrained(body)
    made.id2label, made.label2id = dict(enumerate(labels)), {label: at for at, label in enumerate(labels)}
    for key, value in config.items():
        setattr(made, key, value)
    network = getattr(transformers, name)(made)
    network.base_model.load_state_dict(transformers.AutoModel.from_pretrained(body).state_dict(), strict=False)
    network.save_pretrained(folder / "classifier")
    transformers.AutoTokenizer.from_pretrained(body).save_pretrained(folder / "classifier")
    return folder / "classifier"


@pytest.fixture(scope="session")
def make_classifier(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """See ``classifier``; each in a folder of its own."""
    return lambda *given, **config: classifier(tmp_path_factory.mktemp("tiny"), *given, **config)
