"""Doubtful answers: who is held against which model, what several answers come to, outliers, near copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.issues import Material, VectorSpace, find_issues, material_of, out_of_fold
from nextlabel.backend.issues.material import judged
from nextlabel.backend.issues.neighbours import neighbours
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.questions import question_of
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Annotation, AnnotationStatus, Labeling, LabelKind, Span, Value

cleanlab = pytest.importorskip("cleanlab")

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUBJECTS = {"cat": "a cat asleep on the mat", "oak": "an oak in green leaf", "pebble": "a pebble, smooth and grey"}
SINGLE = Labeling(LabelKind.SINGLE, tuple(SUBJECTS))


class Watched(VectorSpace):
    """Notes the vectors of each fit, and what is settled in it."""

    __slots__ = ("fits", "settled")

    def fit(self, vectors: Any, targets: Any, classes: int, warm: Probe | None = None, settled: Any = None) -> Probe:
        self.fits.append(vectors)  # type: ignore[attr-defined]
        self.settled.append(settled)  # type: ignore[attr-defined]
        return super().fit(vectors, targets, classes, warm, settled)


@pytest.fixture
def space(tmp_path: Path) -> Watched:
    encoder = load_encoder("hashing")
    made = Watched(encoder, EmbeddingCache.open(tmp_path, encoder))
    object.__setattr__(made, "fits", [])
    object.__setattr__(made, "settled", [])
    return made


def answer(at: int, value: Value, who: str = "ann", minutes: int = 0) -> Annotation:
    moment = NOW + timedelta(minutes=minutes)
    return Annotation(f"{at} {who}", str(at), who, value, AnnotationStatus.SUBMITTED, moment)


def texts(size: int) -> tuple[list[str], list[str]]:
    """Texts about subjects, and which each is about."""
    about = [list(SUBJECTS)[at % 3] for at in range(size)]
    return [f"{SUBJECTS[one]} near house word{at}" for at, one in enumerate(about)], about


def made(space: Watched, size: int = 60, wrong: Sequence[int] = (), **options: Any) -> Material:
    """Answers by one person, those to ``wrong`` the next label."""
    read, about = texts(size)
    labels = list(SUBJECTS)
    said = [labels[(labels.index(one) + (at in wrong)) % 3] for at, one in enumerate(about)]
    given = [[answer(at, (one,))] for at, one in enumerate(said)]
    return material_of(question_of(SINGLE), space, read, given, **options)[0]


def test_wrong_answers_come_first_with_what_the_model_says(space: Watched) -> None:
    found = find_issues(made(space, wrong=[7, 23]))
    assert [one.answer.record for one in found.likely] == [
        one.answer.record for one in found.ranked if one.answer.record in (7, 23)
    ]
    assert {(one.answer.value, one.suggested) for one in found.likely} == {
        (("pebble",), ("oak",)),
        (("cat",), ("pebble",)),
    }
    assert [one.score for one in found.ranked[:2]] == sorted(one.score for one in found.ranked)[:2]
    assert len(found.worst(5)) == 5
    shares = {one.name: (one.answers, one.likely, one.missed) for one in found.by_label}
    assert shares == {"cat": (21, 1, 0), "oak": (19, 0, 1), "pebble": (20, 1, 1)}
    assert (found.share.mean, found.by_annotator[0].likely) == (2 / 60, 2)


def test_the_order_is_cleanlabs_on_the_same_predictions(space: Watched) -> None:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    found = find_issues(made(space, 90, wrong=[3, 4, 50]))
    p = found.predicted.astype(np.float64)
    p /= p.sum(axis=1, keepdims=True)
    labels = found.material.given
    by_hand = np.argsort(get_label_quality_scores(labels, p), kind="stable")[:10].tolist()
    assert [one.answer.record for one in found.ranked[:10]] == by_hand
    ranked = find_label_issues(labels, p, return_indices_ranked_by="self_confidence")
    assert [one.answer.record for one in found.likely] == ranked.tolist()


def test_a_record_its_copies_and_its_group_are_never_learned_from_when_it_is_judged(space: Watched) -> None:
    read, about = texts(30)
    read[29] = read[0].upper()  # a copy
    groups = np.arange(30, dtype=np.int64)
    groups[1] = groups[28] = 99
    given = [[answer(at, (one,))] for at, one in enumerate(about)]
    material, _ = material_of(question_of(SINGLE), space, read, given, groups=groups)
    assert material.groups[0] == material.groups[29]
    assert material.groups[1] == material.groups[28]
    vectors = space.cache.take(material.rows)
    held: list[set[int]] = []
    out_of_fold(material)
    for fit in space.fits:  # type: ignore[attr-defined]
        learned = {at for at in range(30) if (np.abs(fit - vectors[at]).max(axis=1) < 1e-6).any()}
        held.append(set(range(30)) - learned)
    assert sorted(at for one in held for at in one) == list(range(30)), "each is held out once"
    for pair in ({0, 29}, {1, 28}):
        assert sum(pair <= one for one in held) == 1


def test_what_is_settled_for_good_is_not_doubted_by_the_models_that_judge_the_rest(space: Watched) -> None:
    read, about = texts(60)
    given = [[answer(at, (one,))] for at, one in enumerate(about)]
    given[4] = [replace(answer(4, ("pebble",), "lead"), is_truth=True), *given[4]]
    material, _ = material_of(question_of(SINGLE), space, read, given)
    assert material.values[4] == ("pebble",)
    assert np.flatnonzero(material.settled).tolist() == [4]
    out_of_fold(material)
    taken = [settled for settled in space.settled if settled is not None and settled.any()]  # type: ignore[attr-defined]
    assert [int(one.sum()) for one in taken] == [1] * 4, "in each of the folds that learn from it"


def test_what_is_not_to_be_learned_is_judged_by_a_model_of_the_rest(space: Watched) -> None:
    learned = np.ones(60, np.bool_)
    learned[[5, 6]] = False
    material = made(space, wrong=[5], learned=learned)
    found = find_issues(material)
    vectors = space.cache.take(material.rows)
    for fit in space.fits:  # type: ignore[attr-defined]
        assert not any((np.abs(fit - vectors[at]).max(axis=1) < 1e-6).any() for at in (5, 6))
    assert found.likely[0].answer.record == 5


def crowd(space: Watched) -> Material:
    """Three people, of whom eve is often wrong; a fifth of the records has ann's answer alone."""
    read, about = texts(45)
    labels, rng = list(SUBJECTS), np.random.default_rng(0)
    given = []
    for at, one in enumerate(about):
        row = []
        for number, who in enumerate(("eve", "ben", "ann")):
            if at % 5 == 0 and who != "ann":
                continue
            wrong = rng.random() < (0.3 if who == "eve" else 0.02)
            row.append(answer(at, (labels[(labels.index(one) + wrong) % 3],), who, number))
        given.append(row)
    return material_of(question_of(SINGLE), space, read, given)[0]


def test_several_answers_are_judged_one_by_one_by_the_model_and_the_others(space: Watched) -> None:
    material = crowd(space)
    found = find_issues(material)
    truth = {at: list(SUBJECTS)[at % 3] for at in range(45)}
    wrong = {(one.record, one.annotator) for one in material.answers if one.value != (truth[one.record],)}
    likely = [(one.answer.record, one.answer.annotator) for one in found.likely]
    assert len(wrong & set(likely)) > 0.8 * len(wrong)
    assert len(wrong & set(likely[: len(wrong)])) > 0.6 * len(wrong)
    assert found.by_annotator[0].name == "eve"
    assert len(found.ranked) == len(material.answers)


def test_an_answer_is_held_against_cleanlabs_crowdlab_less_its_own_share(space: Watched) -> None:
    import pandas as pd
    from cleanlab.multiannotator import get_label_quality_multiannotator

    material = crowd(space)
    predicted = out_of_fold(material).astype(np.float64)
    predicted /= predicted.sum(axis=1, keepdims=True)
    people = ["ann", "ben", "eve"]
    table = np.full((45, 3), np.nan)
    for one in material.answers:
        table[one.record, people.index(one.annotator)] = one.target
    made = get_label_quality_multiannotator(
        pd.DataFrame(table, columns=people), predicted, return_weights=True, verbose=False
    )
    quality, weights = made["detailed_label_quality"].to_numpy(), made["annotator_weight"]
    consensus = made["label_quality"]["consensus_label"].to_numpy()
    several = (~np.isnan(table)).sum(axis=1) > 1
    right = np.mean([np.nanmean(np.where(np.isnan(row), np.nan, row == one)) for row, one in
                     zip(table[several], consensus[several], strict=True)])  # fmt: skip
    evidence = judged(material, predicted)
    for row, one in zip(evidence, material.answers, strict=True):
        at = people.index(one.annotator)
        weight = weights[at]
        total = made["model_weight"] + weights[~np.isnan(table[one.record])].sum()
        put_back = (row[int(one.target)] * (total - weight) + weight * right) / total  # type: ignore[arg-type]
        assert put_back == pytest.approx(quality[one.record, at], abs=1e-6)
        assert row.sum() == pytest.approx(1)
        if not several[one.record]:
            assert row == pytest.approx(predicted[one.record])


def test_marks_that_are_missing_are_found(space: Watched, tmp_path: Path) -> None:
    labeling = Labeling(LabelKind.SPAN, ("CITY",))
    question = question_of(labeling)
    from nextlabel.backend.encoders.base import EncoderSpec

    encoder = question.load_encoder(EncoderSpec("hashing"))
    marked = VectorSpace(encoder, question.open_cache(tmp_path / "tokens", encoder))
    read, given = [], []
    for at in range(60):
        city = ("Paris", "Rome", "Oslo")[at % 3]
        text = f"flight {at} goes to {city} today"
        start = text.index(city)
        read.append(text)
        given.append([answer(at, () if at == 7 else (Span(start, start + len(city), "CITY"),))])
    material, _ = material_of(question, marked, read, given)
    found = find_issues(material)
    assert [one.answer.record for one in found.likely] == [7]
    assert [(one.start, one.label) for one in found.likely[0].suggested if isinstance(one, Span)] == [(17, "CITY")]
    assert found.by_label[0].missed == 1


def test_several_labels_are_judged_together(space: Watched) -> None:
    read, about = texts(60)
    given = [[answer(at, ("oak", one) if at == 9 else (one,))] for at, one in enumerate(about)]
    question = question_of(Labeling(LabelKind.MULTI, tuple(SUBJECTS)))
    material, _ = material_of(question, space, read, given)
    found = find_issues(material)
    assert found.ranked[0].answer.record == 9
    assert found.ranked[0].suggested == ("cat",)


def test_outliers_are_cleanlabs() -> None:
    from cleanlab.outlier import OutOfDistribution

    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 0.05, (100, 8)) + np.eye(8)[0]
    vectors[13] = np.eye(8)[5]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = neighbours(vectors)
    np.testing.assert_array_equal(found.scores, OutOfDistribution().fit_score(features=vectors, verbose=False))
    assert found.outliers()[0].record == 13
    assert found.outliers()[0].score == found.scores.min()
    assert found.outlying.sum() < 6


def test_near_copies_with_different_answers_are_grouped() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 1, (40, 8))
    vectors[7] = vectors[3] * (1 + 1e-7)
    vectors[20] = vectors[21] = vectors[22]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    answers = ["a"] * 40
    answers[7] = "b"
    found = neighbours(vectors)
    assert [one.records for one in found.duplicates(answers)] == [(3, 7)]
    answers[21] = "b"
    assert [one.records for one in found.duplicates(answers)] == [(3, 7), (20, 21, 22)]
    assert found.duplicates(answers)[0].likeness == pytest.approx(1)


def test_copies_of_a_text_are_linked_however_many_there_are() -> None:
    vectors = np.tile(np.eye(8)[:1], (30, 1))
    found = neighbours(vectors, np.zeros(30, np.int64))
    assert [one.records for one in found.duplicates(["a"] * 29 + ["b"])] == [tuple(range(30))]
    few = neighbours(vectors[:4], np.zeros(4, np.int64))
    assert few.outliers() == []
    assert [one.records for one in few.duplicates(["a", "a", "b", "a"])] == [(0, 1, 2, 3)]


def test_too_little_to_judge_by_is_said(space: Watched) -> None:
    with pytest.raises(LearningError, match="4 answered records to learn from are too few"):
        made(space, 4)
    with pytest.raises(LearningError, match="one group"):
        find_issues(made(space, 30, groups=np.zeros(30, np.int64)))


def test_answers_that_say_nothing_of_what_is_asked_are_left_out(space: Watched) -> None:
    read, about = texts(20)
    given = [[answer(at, ("gone",) if at == 4 else (one,))] for at, one in enumerate(about)]
    material, kept = material_of(question_of(SINGLE), space, read, given)
    assert len(material) == 19
    assert 4 not in kept
