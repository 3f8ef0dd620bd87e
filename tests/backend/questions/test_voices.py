"""What others than the head say is weighed by answers: the right are heard, the wrong are not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from nextlabel.backend.models.spans.decoding import ScoredSpan, SpanPrediction
from nextlabel.backend.numeric import as_objects
from nextlabel.backend.questions import Proposal, Weights, question_of
from nextlabel.backend.questions.outputs import View
from nextlabel.backend.questions.stacking import COLD_HEAD
from nextlabel.connectors.records import Labeling, LabelKind, Span

LABELS = ("a", "b", "c")
SINGLE = question_of(Labeling(LabelKind.SINGLE, LABELS))
MULTI = question_of(Labeling(LabelKind.MULTI, LABELS))
SPANS = question_of(Labeling(LabelKind.SPAN, LABELS))


def never(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
    raise AssertionError("no head is fitted anew")


def hard(labels: Sequence[str | None], p: float = 0.7) -> list[Proposal | None]:
    return [None if label is None else Proposal({label: p}) for label in labels]


def block(question: object, **voices: Sequence[Proposal | None]) -> npt.NDArray[np.float16]:
    names = list(voices)
    rows = zip(*voices.values(), strict=True)
    return question.voicing.block(names, [dict(zip(names, row, strict=True)) for row in rows])  # type: ignore[attr-defined]


def test_before_any_answer_voices_decide_and_silence_leaves_the_head_alone() -> None:
    head = np.array([[0.1, 0.8, 0.1], [0.1, 0.8, 0.1]], np.float32)
    said = block(SINGLE, rule=hard(["a", None]), model=hard(["a", None], 0.9))
    cold = SINGLE.voicing.weighed(said[:0], np.empty(0, np.int64), ["rule", "model"], None, never)
    assert cold == Weights(COLD_HEAD, {"rule": 1.0, "model": 1.0}, 0, None)
    both = SINGLE.voicing.joined(head, said, cold, ["rule", "model"])
    assert both[0].argmax() == 0
    assert both[0].sum() == pytest.approx(1)
    assert (both[1] == head[1]).all()
    assert (head[0] == np.array([0.1, 0.8, 0.1], np.float32)).all()  # what was given stays


def test_a_label_that_the_voice_does_not_know_gets_what_is_left() -> None:
    said = block(SINGLE, rule=[Proposal({"a": 0.7})]).astype(np.float32)[0, 0]
    p = np.exp(said) / np.exp(said).sum()
    assert p == pytest.approx([0.7, 0.15, 0.15], abs=2e-3)
    assert block(MULTI, rule=[Proposal({"a": 0.7})])[0, 0].tolist() == pytest.approx([np.log(7 / 3), 0, 0], abs=1e-3)


@pytest.mark.parametrize("many", [10, 60])
def test_the_right_voice_is_heard_and_the_wrong_one_is_not(many: int) -> None:
    rng = np.random.default_rng(0)
    answers = rng.integers(0, 3, many)
    head = rng.dirichlet([2, 2, 2], many).astype(np.float32)  # knows nothing
    said = block(
        SINGLE, right=hard([LABELS[at] for at in answers]), wrong=hard([LABELS[(at + 1) % 3] for at in answers])
    )
    weights = SINGLE.voicing.weighed(said, answers, ["right", "wrong"], head if many > 20 else None, never)
    assert weights.voices["wrong"] < (0.05 if many > 20 else 0.5)
    assert weights.voices["right"] > 0.8
    assert weights.answers == many
    both = SINGLE.voicing.joined(head, said, weights, ["right", "wrong"])
    assert (both.argmax(axis=1) == answers).all()


def test_voices_are_silent_where_the_head_knows_better() -> None:
    rng = np.random.default_rng(1)
    answers = rng.integers(0, 3, 100)
    head = np.where(np.eye(3)[answers] > 0, 0.9, 0.05).astype(np.float32)
    noise = block(SINGLE, noise=hard([LABELS[at] for at in rng.integers(0, 3, 100)]))
    weights = SINGLE.voicing.weighed(noise, answers, ["noise"], head, never)
    assert not weights.speak
    assert weights.gain is not None
    assert weights.gain <= 0
    assert (SINGLE.voicing.joined(head, noise, weights, ["noise"]) == head).all()


def test_several_labels_are_weighed_each() -> None:
    rng = np.random.default_rng(2)
    answers = rng.random((60, 3)) < 0.4
    head = np.full((60, 3), 0.4, np.float32)
    right = [Proposal({LABELS[at]: 0.8 if row[at] else 0.1 for at in range(3)}) for row in answers]
    said = block(MULTI, right=right)
    weights = MULTI.voicing.weighed(said, answers, ["right"], head, never)
    assert (MULTI.activation.right(MULTI.voicing.joined(head, said, weights, ["right"]), answers)).all()
    (figures,) = MULTI.voicing.agreeing(said, answers)
    assert (figures.right, figures.proposed) == (answers.sum(), answers.sum())


def test_how_often_people_say_the_same() -> None:
    said = block(SINGLE, rule=hard(["a", "b", None, "c"]))
    (one,) = SINGLE.voicing.agreeing(said, np.array([0, 0, 1, 2]))
    assert (one.answered, one.said, one.proposed, one.right) == (4, 3, 3, 2)
    assert one.to_json()["accuracy"] == pytest.approx(2 / 3)
    assert "accuracy" not in SINGLE.voicing.agreeing(said[2:3], np.array([1]))[0].to_json()


def marks(*spans: tuple[int, int, str, float]) -> Proposal:
    return Proposal({}, tuple(ScoredSpan(*one) for one in spans))


NOBODY = SpanPrediction((), 0.0, 1.0)


def test_marks_of_voices_stand_alone_before_the_first_answer() -> None:
    said = block(SPANS, one=[marks((0, 3, "a", 0.9), (5, 8, "b", 0.6)), None], two=[marks((2, 6, "c", 0.5)), None])
    names = ["one", "two"]
    cold = SPANS.voicing.weighed(said[:0], np.empty(0, np.object_), names, None, never)
    assert cold.speak
    assert cold.head == 0
    first, second = SPANS.voicing.joined(as_objects([NOBODY, NOBODY]), said, cold, names)
    assert [(one.start, one.end, one.label) for one in first.spans] == [(0, 3, "a"), (5, 8, "b")]
    assert second.spans == ()
    view = SPANS.voicing.joined_view(View(np.full((2, 2), 0.5, np.float32)), said, cold, names)
    doubts = 2 * view.probabilities[:, 1]
    assert doubts == pytest.approx([1 - 0.9 * 0.6, 0.3])


def answered(many: int) -> tuple[npt.NDArray[np.object_], list[Proposal | None], list[SpanPrediction]]:
    spans = [(Span(at, at + 3, "a"), Span(at + 10, at + 12, "b")) for at in range(many)]
    right = [marks(*((one.start, one.end, one.label, 0.8) for one in some)) for some in spans]
    head = [
        SpanPrediction(tuple(ScoredSpan(one.start, one.end, one.label, 0.9) for one in some), 0.1, 0.9)
        for some in spans
    ]
    return as_objects(spans), list(right), head


def test_of_head_and_marks_the_better_is_taken() -> None:
    answers, right, head = answered(30)
    wrong: list[Proposal | None] = [marks((50, 60, "c", 0.9))] * 30
    bad = [NOBODY] * 30
    taken = SPANS.voicing.weighed(block(SPANS, right=right), answers, ["right"], None, lambda rows: as_objects(bad))
    assert taken.speak
    assert taken.gain == 1
    refused = SPANS.voicing.weighed(block(SPANS, wrong=wrong), answers, ["wrong"], None, lambda rows: as_objects(head))
    assert not refused.speak
    halves = [SpanPrediction(one.spans[:1], 0.1, 0.9) for one in head]
    others: list[Proposal | None] = [marks((at + 10, at + 12, "b", 0.8)) for at in range(30)]
    both = SPANS.voicing.weighed(block(SPANS, other=others), answers, ["other"], None, lambda rows: as_objects(halves))
    assert both.speak
    assert both.head == 1
    assert SPANS.voicing.weighed(block(SPANS, wrong=wrong[:10]), answers[:10], ["wrong"], None, never).voices == {
        "wrong": 0.0
    }
