"""A head is read by its labels' names: in another order, more or fewer of them, one or several for a record."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.activation import SIGMOID, SOFTMAX, Activation, activation_for
from nextlabel.backend.models.probe import Probe, by_name, differences, names_beside
from nextlabel.connectors.errors import LearningError
from tests.backend.models.test_probe import blobs

LABELS = ("bug", "praise", "bill")


def fitted(*, multi_label: bool) -> Probe:
    vectors, targets, _ = blobs(60, classes=3)
    answers = np.eye(3, dtype=np.bool_)[targets] if multi_label else targets
    return replace(Probe.fit(vectors, answers, 3), names=LABELS)


@pytest.fixture(scope="module", params=[False, True], ids=["single", "multi"])
def head(request: pytest.FixtureRequest) -> Probe:
    """A head that is sure of what it knows."""
    return fitted(multi_label=request.param)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return blobs(60, classes=3)[0]


def said(probe: Probe, vectors: np.ndarray) -> list[str]:
    return [probe.names[best] for best in probe.predict_proba(vectors).argmax(axis=1)]


def aligned(probe: Probe, *names: str, activation: Activation | None = None) -> Probe:
    found = probe.aligned(names, activation or probe.activation)
    assert found is not None
    assert found.names == names
    return found


def test_the_same_labels_are_the_same_head(head: Probe) -> None:
    assert head.aligned(LABELS, head.activation) is head


def test_another_order_says_the_same(head: Probe, vectors: np.ndarray) -> None:
    other = aligned(head, *LABELS[::-1])
    np.testing.assert_allclose(other.predict_proba(vectors), head.predict_proba(vectors)[:, ::-1], rtol=1e-5)


def test_a_new_label_takes_no_text_from_those_that_are_known(head: Probe, vectors: np.ndarray) -> None:
    more = aligned(head, "refund", *LABELS, "dispute")
    assert said(more, vectors) == said(head, vectors)
    found = more.predict_proba(vectors)[:, [0, 4]]
    if head.activation.several:
        np.testing.assert_array_equal(found, 0.5)  # neither yes nor no: it is not suggested
        np.testing.assert_allclose(more.predict_proba(vectors)[:, 1:4], head.predict_proba(vectors), rtol=1e-5)
    else:
        assert (found.max(axis=1) < more.predict_proba(vectors)[:, 1:4].max(axis=1)).all()


def test_of_a_label_that_is_gone_nothing_is_left(head: Probe, vectors: np.ndarray) -> None:
    less, before = aligned(head, "bill", "bug"), said(head, vectors)
    stays = np.array([label != "praise" for label in before])
    assert np.array(said(less, vectors))[stays].tolist() == np.array(before)[stays].tolist()


def test_a_renamed_label_is_a_new_one_and_the_rest_stays(head: Probe, vectors: np.ndarray) -> None:
    renamed, before = aligned(head, "bug", "thanks", "bill"), said(head, vectors)
    stays = np.array([label != "praise" for label in before])
    assert np.array(said(renamed, vectors))[stays].tolist() == np.array(before)[stays].tolist()


def test_one_label_out_of_several_is_as_likely_as_its_odds_say(vectors: np.ndarray) -> None:
    """Given that it is exactly one: the odds of each, divided by their sum."""
    head = replace(fitted(multi_label=True), temperature=1.0)
    p = head.predict_proba(vectors).astype(np.float64)
    odds = p / (1 - p)
    one = aligned(head, *LABELS, activation=SOFTMAX)
    np.testing.assert_allclose(one.predict_proba(vectors), odds / odds.sum(axis=1, keepdims=True), rtol=1e-3)


def test_several_labels_out_of_one_are_as_likely_as_before(vectors: np.ndarray, tmp_path: Path) -> None:
    head = fitted(multi_label=False)
    several = aligned(head, *LABELS[::-1], activation=SIGMOID)
    assert (several.activation, several.exclusive) == (SIGMOID, True)
    np.testing.assert_allclose(several.predict_proba(vectors), head.predict_proba(vectors)[:, ::-1], rtol=1e-5)
    with pytest.raises(LearningError, match="the prior"):  # no start for a probe of yes and no
        Probe.fit(vectors[:0], np.zeros((0, 3), np.bool_), 3, prior=several)
    several.save(tmp_path / "probe.safetensors")
    back = Probe.load(tmp_path / "probe.safetensors")
    np.testing.assert_array_equal(back.predict_proba(vectors), several.predict_proba(vectors))
    again = aligned(back, *LABELS, activation=SOFTMAX)
    assert not again.exclusive
    np.testing.assert_allclose(again.predict_proba(vectors), head.predict_proba(vectors), rtol=1e-5)


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_head_whose_labels_are_not_known_is_not_used(head: Probe, multi_label: bool) -> None:
    assert replace(head, names=()).aligned(LABELS, activation_for(several=multi_label)) is None
    assert head.aligned(("cat", "dog", "bird"), activation_for(several=multi_label)) is None


def test_names_are_kept_in_the_file(head: Probe, tmp_path: Path) -> None:
    head.save(tmp_path / "probe.safetensors")
    assert Probe.load(tmp_path / "probe.safetensors").names == LABELS
    replace(head, names=LABELS[:2]).save(tmp_path / "wrong.safetensors")
    with pytest.raises(LearningError, match="names 2 labels for 3 rows"):
        Probe.load(tmp_path / "wrong.safetensors")


def test_files_from_before_have_the_names_that_stand_beside_them(head: Probe, tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    replace(head, names=()).save(path)
    assert Probe.load(path).names == ()
    (tmp_path / "card.json").write_text(json.dumps({"labels": list(LABELS[::-1])}))
    assert Probe.load(path).names == LABELS[::-1]
    (tmp_path / "labels.json").write_text(json.dumps({"labels": list(LABELS), "multi_label": False}))
    assert Probe.load(path).names == LABELS
    head.aligned(("a", "bug", "c"), head.activation).save(path)  # type: ignore[union-attr]
    assert Probe.load(path).names == ("a", "bug", "c"), "what the file itself says comes first"


@pytest.mark.parametrize("content", ["", "[]", '{"labels": "abc"}', '{"labels": ["a", "a", "b"]}', '{"labels": ["a"]}'])
def test_what_does_not_name_each_row_names_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "labels.json").write_text(content)
    assert names_beside(tmp_path / "head.safetensors", 3) == ()


def test_a_probe_goes_on_from_the_head_that_was_brought_to_its_labels(head: Probe, vectors: np.ndarray) -> None:
    """The prior of the next fit: with no answer it is the head itself, whatever has become of the labels."""
    asked = ("bill", "refund", "bug")
    prior = head.aligned(asked, head.activation)
    nothing = np.zeros((0, 3), np.bool_) if head.activation.several else np.zeros(0, np.int64)
    fitted = Probe.fit(vectors[:0], nothing, 3, prior=prior)
    assert said(fitted, vectors) == said(aligned(head, *asked), vectors)


def test_differences_are_told_in_words() -> None:
    both = {"several": False, "wants_several": False}
    assert differences(LABELS, LABELS[::-1], **both) == ""
    assert differences(LABELS, ("bug", "thanks", "bill"), **both) == (
        "it knows nothing yet of thanks; what it knows of praise is no longer asked for"
    )
    assert differences((), LABELS, **both) == "which labels it was made for is not known"
    assert "any number is asked for" in differences(LABELS, LABELS, several=False, wants_several=True)
    assert "one is asked for" in differences(LABELS, LABELS, several=True, wants_several=False)


def test_rows_follow_names() -> None:
    layer = np.arange(6, dtype=np.float32).reshape(3, 2)
    found = by_name(layer, ("a", "b", "c"), ("c", "new", "a"), np.array([9, 9], np.float32))
    assert found.tolist() == [[4, 5], [9, 9], [0, 1]]
