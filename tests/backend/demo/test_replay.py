"""The demo's arithmetic: noise, replays, and the comparison of logs."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from nextlabel.backend.demo.annotators import DemoOptions, Quota, noisy
from nextlabel.backend.demo.figures import Material
from nextlabel.backend.demo.run import run_demo
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.records import LabelKind


@pytest.fixture
def material() -> Material:
    """Two well separated classes of 50 records each."""
    rng = np.random.default_rng(0)
    truth = np.arange(100) % 2
    centres = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], np.float32)
    vectors = centres[truth] + rng.normal(scale=0.1, size=(100, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Material(vectors, truth, centres, np.zeros(100, np.bool_))


def test_a_wrong_answer_comes_as_often_as_asked_and_is_wrong() -> None:
    rng = np.random.default_rng(0)
    answers = [noisy("a", ["a", "b", "c"], 0.1, rng) for _ in range(4000)]
    assert 0.08 < sum(one != "a" for one in answers) / 4000 < 0.12
    assert set(answers) == {"a", "b", "c"}
    assert {noisy("a", ["a", "b"], 0.0, rng) for _ in range(100)} == {"a"}


def test_no_more_labels_are_claimed_than_wanted() -> None:
    quota = Quota(100)
    claimed: list[bool] = []
    threads = [threading.Thread(target=lambda: claimed.extend(quota.claim() for _ in range(60))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(claimed) == 100
    quota.put_back()
    assert quota.claim()
    assert not quota.claim()


def test_a_curve_rises_with_true_answers_and_not_with_wrong_ones(material: Material) -> None:
    order = list(range(40))
    right = material.curve(order, material.truth[:40].tolist(), [10, 40])
    assert right.labels == [10, 40]
    assert right.accuracy[-1] > 0.95
    wrong = material.curve(order, (1 - material.truth[:40]).tolist(), [40])
    assert wrong.accuracy[-1] < 0.5


def test_the_audit_slice_is_not_learned_from(material: Material) -> None:
    all_audit = Material(material.vectors, material.truth, material.anchors, np.ones(100, np.bool_))
    wrong = all_audit.curve(list(range(40)), (1 - material.truth[:40]).tolist(), [40])
    assert wrong.accuracy[-1] > 0.95  # the class anchors alone


def test_a_random_twin_follows_its_seed(material: Material) -> None:
    blurred = material.vectors + np.random.default_rng(1).normal(scale=0.5, size=(100, 3)).astype(np.float32)
    blurred /= np.linalg.norm(blurred, axis=1, keepdims=True)
    hard = Material(blurred, material.truth, material.anchors, material.audit)
    one, again, other = (
        hard.random_twin(["a", "b"], [0.0, 0.5], 0.1, seed, [10, 20, 30]).accuracy for seed in ((0, 0), (0, 0), (0, 1))
    )
    assert one == again
    assert one != other


def test_a_recipe_for_spans_is_refused_before_anything_starts(tmp_path: Path) -> None:
    recipe = Recipe(name="spans", kind=LabelKind.SPAN, labels=("a",), records=list)
    with pytest.raises(
        ConfigError, match="spans asks for spans, and the demo's simulated annotators answer with labels"
    ):
        run_demo(DemoOptions(recipe, tmp_path / "demo"), Console())
    assert not (tmp_path / "demo").exists()
