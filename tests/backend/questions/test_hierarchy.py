"""Labels in a tree: what is suggested, what answers with a parent come to, and what is counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from nextlabel.backend.pool.answers import Answers
from nextlabel.backend.questions import question_of
from nextlabel.backend.questions.hierarchy import choose, parent_counts
from nextlabel.connectors.hierarchy import Hierarchy
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling, LabelKind

LABELS = ("none", "a > x > 1", "a > x > 2", "a > y", "b")
TREE = Hierarchy.of(LABELS)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
QUESTION = question_of(Labeling(LabelKind.SINGLE, LABELS))


def said(*values: str) -> list[Annotation]:
    """Answers of as many people about one record, one after the other."""
    return [
        Annotation(f"{at}", "r", f"p{at}", (value,), AnnotationStatus.SUBMITTED, NOW + timedelta(minutes=at))
        for at, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("probabilities", "node", "score", "leaf"),
    [
        ([0.1, 0.7, 0.1, 0.05, 0.05], "a > x > 1", 0.7, "a > x > 1"),
        ([0.1, 0.4, 0.3, 0.1, 0.1], "a > x > 1", 0.4, "a > x > 1"),  # more than half of each parent
        ([0.4, 0.2, 0.15, 0.2, 0.05], "a > x > 1", 0.2, "a > x > 1"),  # "none" alone is likelier, its rivals are not
        ([0.2, 0.25, 0.05, 0.4, 0.1], "a > y", 0.4, "a > y"),
        ([0.6, 0.1, 0.1, 0.1, 0.1], "none", 0.6, "none"),
        ([0.2, 0.1, 0.1, 0.1, 0.5], "b", 0.5, "b"),
    ],
)
def test_the_likeliest_child_is_taken_while_it_outweighs_the_rest(
    probabilities: list[float], node: str, score: float, leaf: str
) -> None:
    found = choose(TREE, np.array([probabilities], np.float32))
    assert found.nodes[found.node[0]] == node
    assert found.probability[0] == pytest.approx(score)
    assert LABELS[found.leaf[0]] == leaf


def test_a_parent_is_suggested_where_none_of_its_children_outweighs_the_rest() -> None:
    wide = Hierarchy.of(("a > 1", "a > 2", "a > 3", "b"))
    rows = np.array([[0.3, 0.25, 0.25, 0.2], [0.6, 0.1, 0.1, 0.2]], np.float32)
    found = choose(wide, rows)
    assert [found.nodes[at] for at in found.node] == ["a", "a > 1"]
    assert found.is_parent.tolist() == [True, False]
    assert found.right(np.array([2, 2])).tolist() == [True, False]
    assert choose(wide, rows, sure=0.3).is_parent.tolist() == [False, False]
    assert len(choose(wide, rows[:0]).node) == 0


def test_suggestions_name_the_parent_and_its_likeliest_label() -> None:
    question = question_of(Labeling(LabelKind.SINGLE, ("a > 1", "a > 2", "a > 3", "b")))
    outputs = np.array([[0.3, 0.25, 0.25, 0.2], [0.1, 0.1, 0.1, 0.7]], np.float32)
    parent, leaf = question.suggestions(outputs, "m")
    assert (parent.value, leaf.value, leaf.leaf) == (("a",), ("b",), None)
    assert parent.score == pytest.approx(0.8)
    assert parent.leaf is not None
    assert parent.leaf[0] == "a > 1"
    assert parent.leaf[1] == pytest.approx(0.3)
    assert question.predictions(outputs, "m")[0].probabilities.keys() == {"a > 1", "a > 2", "a > 3", "b"}
    assert question.proposed(outputs)[0] == ("a > 1",), "in place of an answer a label is proposed"
    figures = question.figures(outputs, np.array([1, 3]))
    assert figures == {"level_1_accuracy": 1.0, "suggested_accuracy": 1.0, "suggested_parents": 0.5}
    flat = question_of(Labeling(LabelKind.SINGLE, ("a", "b")))
    assert flat.figures(outputs[:, :2], np.array([0, 1])) == {}


def test_an_answer_that_stops_at_a_parent_is_counted_there_and_not_learned() -> None:
    assert QUESTION.target(("a > x",)) == (None, frozenset())
    assert QUESTION.target(("a > z",)) == (None, frozenset({"a > z"}))
    assert QUESTION.target(("a > y",)) == (3, frozenset())
    answers = Answers(QUESTION)
    assert answers.update(0, said("a > x")) is None
    assert answers.update(1, said("a")) is None
    assert answers.update(2, said("a > y")) == 3
    assert (answers.unknown_labels, answers.parents) == ({}, {"a > x": 1, "a": 1})
    assert parent_counts(TREE, {"a > y": 1, "b": 5}, answers.parents) == {"a": 3, "a > x": 1}
    answers.update(0, said("a > x > 2"))
    assert answers.parents == {"a": 1}


def test_who_stops_at_a_parent_agrees_with_what_is_below_it() -> None:
    assert QUESTION.agreement([("a",), ("a > x > 1",)]) == 1
    assert QUESTION.agreement([("a",), ("a > x > 1",), ("a > x > 2",)]) == pytest.approx(2 / 3)
    assert QUESTION.agreement([("a > x",), ("a > y",)]) == 0


def test_with_several_labels_nothing_is_learned_of_an_answer_with_a_parent() -> None:
    question = question_of(Labeling(LabelKind.MULTI, LABELS))
    assert question.target(("a", "b")) == (None, frozenset())
    assert question.vote(("a", "b")) is None
    target, _ = question.target(("a > y", "b"))
    assert np.flatnonzero(np.asarray(target)).tolist() == [3, 4]


@pytest.mark.parametrize(
    ("values", "decided"),
    [
        (("a > y", "a > x > 1", "b"), "a > x > 1"),  # two are for a; below it the newest breaks the tie
        (("a > x > 1", "a > x"), "a > x > 1"),  # who stops has no vote on what is below
        (("a", "b", "b"), "b"),
        (("a", "a"), "a"),
        (("a > x > 1", "a > x > 2", "a > y", "a > y", "b"), "a > y"),
        (("a > x > 1", "a > x > 2", "a > x > 2", "a > y", "none"), "a > x > 2"),
    ],
)
def test_the_majority_is_found_from_the_top_down(values: tuple[str, ...], decided: str) -> None:
    assert QUESTION.consensus(said(*values)) == (decided,)
