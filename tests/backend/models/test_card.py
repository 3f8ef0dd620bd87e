"""Model cards: what they say, in JSON and on their page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from nextlabel.backend.activation import SOFTMAX
from nextlabel.backend.data.examples import Examples
from nextlabel.backend.models.card import Figure, ModelCard, data_hash, label_counts, library_versions
from nextlabel.connectors.errors import LearningError

CARD = ModelCard(
    version="fine-tune-3",
    project="reviews",
    rung="fine-tune",
    created="2026-11-22T13:00:00+00:00",
    base="sentence-transformers/all-MiniLM-L6-v2",
    labels=("good", "bad|worse"),
    activation=SOFTMAX,
    parent="fine-tune-1",
    data_hash="ab" * 16,
    counts={"good": 1200, "bad|worse": 7},
    figures=(Figure("macro_f1", 0.8412, 0.79, 0.88, 250, "held-out"), Figure("accuracy", 0.9, 0.8, 0.95, 90, "audit")),
    measured="Every seventh record was held out.",
    temperature=1.25,
    max_length=128,
    spec={"epochs": 4},
    seeds=(0, 1),
    libraries={"torch": "2.4"},
    device="cpu",
    seconds=61.5,
    files={"config.json": "00"},
)


def examples(texts: tuple[str, ...], targets: list[int]) -> Examples:
    return Examples(texts, np.array(targets), ("good", "bad"))


def test_the_hash_knows_texts_and_answers_but_no_order() -> None:
    one = data_hash(examples(("a", "b", "b"), [0, 1, 0]))
    assert data_hash(examples(("b", "a", "b"), [0, 0, 1])) == one
    assert data_hash(examples(("a", "b", "b"), [0, 1, 1])) != one
    assert data_hash(examples(("a", "b"), [0, 1])) != one
    assert data_hash(examples(("a", "b", "c"), [0, 1, 0])) != one
    several = Examples(("a", "b"), np.array([[True, True], [False, False]]), ("good", "bad"))
    assert data_hash(several) != data_hash(replace(several, targets=~several.targets))
    assert label_counts(several) == {"good": 1, "bad": 1}
    assert label_counts(examples(("a", "b", "\ud83d"), [0, 0, 0])) == {"good": 3, "bad": 0}
    assert len(data_hash(examples(("\ud83d",), [0]))) == 32


def test_a_card_comes_back_as_it_was_written(tmp_path: Path) -> None:
    CARD.save(tmp_path)
    assert ModelCard.load(tmp_path) == CARD
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert page == CARD.page()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "labels": 3}', '{"format": 1, "labels": ["a"]}']
)
def test_what_is_no_card_is_refused_by_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(LearningError, match=r"card\.json"):
        ModelCard.load(tmp_path)
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(LearningError, match=r"card\.json"):
        ModelCard.load(tmp_path)


def test_the_page_is_a_model_card_of_the_hub() -> None:
    page = CARD.page("print(1)", "A remark.")
    _, head, body = page.split("---\n", 2)
    said = yaml.safe_load(head)
    assert said["pipeline_tag"] == "text-classification"
    assert said["base_model"] == CARD.base
    assert "license" not in said
    assert said["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.8412
    assert "| macro_f1 | 0.841 | 0.790 to 0.880 | held-out | 250 |" in body
    assert "started from: fine-tune-1" in body
    assert "```python\nprint(1)\n```" in body
    assert "`bad/worse` | 7 |" in body, "a bar would end the cell"
    assert "Fewer than 20 texts were seen of: `bad/worse`" in body
    assert "No licence was chosen" in body
    licensed = replace(CARD, licence="mit", base="/home/me/model").page()
    assert yaml.safe_load(licensed.split("---\n")[1])["license"] == "mit"
    assert "base_model" not in yaml.safe_load(licensed.split("---\n")[1])
    assert "No licence" not in licensed


def test_the_page_says_how_much_of_a_text_is_read() -> None:
    assert "- longest text: 128 tokens; what is beyond is cut off" in CARD.page()
    assert "- longest text: 4 windows of 128 tokens; what is beyond is cut off" in replace(CARD, windows=4).page()


def test_versions_are_those_of_what_is_installed() -> None:
    found = library_versions()
    assert found["numpy"] == np.__version__
    json.dumps(found)
