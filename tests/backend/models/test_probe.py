"""The probe from its first label to its thousandth, and every way to feed it wrongly."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.metrics import log_loss

from nextlabel.backend.models import probe as module
from nextlabel.backend.models.probe import Probe
from nextlabel.connectors.errors import LearningError


def blobs(per_class: int, classes: int = 5, spread: float = 0.8, dimension: int = 32, seed: int = 0):
    """Unit vectors around one random direction a class, their classes, and the directions."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, dimension))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    targets = rng.permutation(np.repeat(np.arange(classes), per_class))
    vectors = centres[targets] + spread * rng.normal(size=(len(targets), dimension)) / dimension**0.5
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), targets, centres.astype(np.float32)


def accuracy(probe: Probe, vectors: np.ndarray, targets: np.ndarray) -> float:
    return float((probe.predict_proba(vectors).argmax(axis=1) == targets).mean())


EMPTY = np.empty(0, np.int64)


def test_zero_labels_predict_by_the_anchors():
    vectors, targets, anchors = blobs(40)
    probe = Probe.fit(vectors[:0], EMPTY, 5, anchors=anchors)
    assert accuracy(probe, vectors, targets) > 0.9
    assert probe.labels == 0


def test_zero_labels_and_no_anchors_know_nothing():
    vectors, _, _ = blobs(4)
    np.testing.assert_allclose(Probe.fit(vectors[:0], EMPTY, 5).predict_proba(vectors), 0.2, atol=1e-6)


def test_wrong_anchors_are_outvoted_by_labels():
    vectors, targets, anchors = blobs(60)
    wrong = np.roll(anchors, 1, axis=0)
    before = Probe.fit(vectors[:0], EMPTY, 5, anchors=wrong)
    after = Probe.fit(vectors[:100], targets[:100], 5, anchors=wrong)
    assert accuracy(before, vectors, targets) < 0.1
    assert accuracy(after, vectors[100:], targets[100:]) > 0.9


def test_one_class_only_keeps_the_others_possible():
    vectors, targets, anchors = blobs(40)
    only = np.flatnonzero(targets == 2)[:15]
    probe = Probe.fit(vectors[only], targets[only], 5, anchors=anchors)
    assert accuracy(probe, vectors, targets) > 0.8
    without = Probe.fit(vectors[only], targets[only], 5).predict_proba(vectors)
    assert np.isfinite(without).all()
    assert (without.argmax(axis=1) == 2).mean() > 0.9


def test_a_class_without_an_example_is_still_predicted():
    vectors, targets, anchors = blobs(60)
    seen = np.flatnonzero(targets != 4)
    probe = Probe.fit(vectors[seen], targets[seen], 5, anchors=anchors)
    unseen = vectors[targets == 4]
    assert accuracy(probe, unseen, np.full(len(unseen), 4)) > 0.8


def test_a_single_example_of_a_class_survives_calibration():
    vectors, targets, _ = blobs(30)
    kept = np.concatenate([np.flatnonzero(targets != 3), np.flatnonzero(targets == 3)[:1]])
    probe = Probe.fit(vectors[kept], targets[kept], 5)
    assert probe.cross is not None
    assert np.isfinite(probe.predict_proba(vectors)).all()


def test_two_equal_rows_weigh_as_one_row_of_weight_two():
    vectors, targets, anchors = blobs(5)
    twice = Probe.fit(np.repeat(vectors, 2, axis=0), np.repeat(targets, 2), 5, anchors=anchors, calibrate=False)
    heavy = Probe.fit(vectors, targets, 5, anchors=anchors, calibrate=False, weights=np.full(len(targets), 2.0))
    np.testing.assert_allclose(twice.predict_proba(vectors), heavy.predict_proba(vectors), atol=2e-3)


def test_a_row_of_weight_zero_counts_for_nothing():
    vectors, targets, _ = blobs(20)
    wrong = targets.copy()
    wrong[:30] = (wrong[:30] + 1) % 5
    weights = np.where(np.arange(len(targets)) < 30, 0.0, 1.0)
    probe = Probe.fit(vectors, wrong, 5, weights=weights)
    without = Probe.fit(vectors[30:], targets[30:], 5)
    np.testing.assert_allclose(probe.weights, without.weights, atol=2e-2)


def test_77_classes_with_three_labels_each():
    vectors, targets, anchors = blobs(10, classes=77, dimension=64)
    probe = Probe.fit(vectors[:231], targets[:231], 77, anchors=anchors)
    assert probe.predict_proba(vectors).shape == (770, 77)
    assert accuracy(probe, vectors[231:], targets[231:]) > 0.7


def test_calibration_lowers_the_log_loss_on_unseen_rows():
    vectors, targets, _ = blobs(400, spread=1.6)
    raw = Probe.fit(vectors[:300], targets[:300], 5, calibrate=False)
    calibrated = Probe.fit(vectors[:300], targets[:300], 5)
    assert calibrated.temperature != raw.temperature
    before, after = (log_loss(targets[300:], one.predict_proba(vectors[300:])) for one in (raw, calibrated))
    assert after < before
    confidence = calibrated.predict_proba(vectors[300:]).max(axis=1).mean()
    assert confidence == pytest.approx(accuracy(calibrated, vectors[300:], targets[300:]), abs=0.06)


def test_labels_taken_back_are_forgotten():
    vectors, targets, anchors = blobs(30)
    warm = Probe.fit(vectors[:100], targets[:100], 5, anchors=anchors)
    after = Probe.fit(vectors[:30], targets[:30], 5, anchors=anchors, warm=warm)
    fresh = Probe.fit(vectors[:30], targets[:30], 5, anchors=anchors)
    np.testing.assert_allclose(after.weights, fresh.weights, atol=2e-2)
    assert after.temperature == pytest.approx(fresh.temperature, rel=0.05)


def test_a_warm_start_of_another_shape_is_left_aside():
    vectors, targets, _ = blobs(20)
    other = Probe.fit(vectors[:, :16], targets, 5)
    fresh, warm = Probe.fit(vectors, targets, 5), Probe.fit(vectors, targets, 5, warm=other)
    np.testing.assert_array_equal(warm.weights, fresh.weights)
    assert warm.temperature == fresh.temperature


def test_multi_label_answers_each_label_by_itself():
    vectors, targets, centres = blobs(150, classes=4)
    answers = vectors @ centres.T > 0.3
    assert 0.1 < answers.mean() < 0.6
    probe = Probe.fit(vectors[:300], answers[:300], 4, anchors=centres)
    predicted = probe.predict_proba(vectors[300:])
    assert ((predicted > 0.5) == answers[300:]).mean() > 0.9
    assert predicted.sum(axis=1).max() > 1.01
    cold = Probe.fit(vectors[:0], answers[:0], 4, anchors=centres).predict_proba(vectors)
    assert (cold.argmax(axis=1) == targets).mean() > 0.9


def test_a_label_that_nobody_or_everybody_chose():
    vectors, _, _ = blobs(10)
    answers = np.zeros((50, 2), np.bool_)
    answers[:, 1] = True
    predicted = Probe.fit(vectors, answers, 2).predict_proba(vectors)
    assert (predicted[:, 0] < 0.5).all()
    assert (predicted[:, 1] > 0.5).all()


def test_chunks_and_half_precision_change_nothing(monkeypatch):
    vectors, targets, _ = blobs(40)
    probe = Probe.fit(vectors, targets, 5)
    whole = probe.predict_proba(vectors)
    monkeypatch.setattr(module, "CHUNK", 7)
    np.testing.assert_allclose(probe.predict_proba(vectors), whole, atol=1e-6)
    np.testing.assert_allclose(probe.predict_proba(vectors.astype(np.float16)), whole, atol=5e-3)
    np.testing.assert_allclose(whole.sum(axis=1), 1, atol=1e-5)
    assert whole.dtype == np.float32
    assert probe.predict_proba(vectors[:0]).shape == (0, 5)


def test_a_vector_that_is_no_number_is_as_uncertain_as_can_be():
    vectors, targets, _ = blobs(20)
    probe = Probe.fit(vectors, targets, 5)
    clean = probe.predict_proba(vectors)
    broken = vectors.copy()
    broken[3, 0], broken[8, 1] = np.nan, np.inf
    predicted = probe.predict_proba(broken)
    np.testing.assert_allclose(predicted[[3, 8]], 0.2, atol=1e-6)
    kept = np.delete(np.arange(len(vectors)), [3, 8])
    np.testing.assert_allclose(predicted[kept], clean[kept], atol=1e-6)


def test_wrong_answers_are_believed_less():
    vectors, targets, _ = blobs(200, spread=1.5)
    rng = np.random.default_rng(1)
    given = np.where(rng.uniform(size=300) < 0.1, (targets[:300] + rng.integers(1, 5, 300)) % 5, targets[:300])
    trusting = Probe.fit(vectors[:300], given, 5, doubt=False)
    doubting = Probe.fit(vectors[:300], given, 5)
    assert accuracy(doubting, vectors[300:], targets[300:]) > accuracy(trusting, vectors[300:], targets[300:]) + 0.005


@pytest.mark.parametrize("multi_label", [False, True])
def test_saved_and_loaded_it_predicts_the_same(tmp_path, multi_label):
    vectors, targets, anchors = blobs(20)
    answers = np.eye(5, dtype=np.bool_)[targets] if multi_label else targets
    probe = Probe.fit(vectors, answers, 5, anchors=anchors)
    probe.save(tmp_path / "probe.safetensors")
    back = Probe.load(tmp_path / "probe.safetensors")
    np.testing.assert_array_equal(back.predict_proba(vectors), probe.predict_proba(vectors))
    assert (back.labels, back.activation.several) == (100, multi_label)
    again = [Probe.fit(vectors, answers, 5, anchors=anchors, warm=one) for one in (probe, back)]
    np.testing.assert_array_equal(again[0].weights, again[1].weights)
    assert again[1].temperature == probe.temperature


def test_a_probe_of_no_labels_is_saved_too(tmp_path):
    vectors, _, anchors = blobs(20)
    probe = Probe.fit(vectors[:0], EMPTY, 5, anchors=anchors)
    probe.save(tmp_path / "probe.safetensors")
    np.testing.assert_array_equal(
        Probe.load(tmp_path / "probe.safetensors").predict_proba(vectors), probe.predict_proba(vectors)
    )


def test_only_our_own_files_are_loaded(tmp_path):
    path = tmp_path / "probe.safetensors"
    weights = {"weights": np.zeros((2, 3), np.float32), "bias": np.zeros(2, np.float32)}
    save_file(weights, path)
    with pytest.raises(LearningError, match="not a probe of this version"):
        Probe.load(path)
    save_file(weights, path, metadata={"nextlabel": json.dumps({"format": "nextlabel-probe-0"})})
    with pytest.raises(LearningError, match="delete it and refit"):
        Probe.load(path)
    save_file({"bias": weights["bias"]}, path, metadata={"nextlabel": json.dumps({"format": module.FORMAT})})
    with pytest.raises(LearningError, match="can't be read"):
        Probe.load(path)
    path.write_bytes(b"\x80\x04K\x01.")  # a pickle
    with pytest.raises(LearningError, match="can't be read"):
        Probe.load(path)
    with pytest.raises(LearningError, match="can't be read"):
        Probe.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vectors": np.zeros(4)}, "don't go with"),
        ({"targets": np.zeros(3, np.int64)}, "don't go with"),
        ({"targets": np.array([0, 1, 2, 5])}, r"must lie in \[0, 3\)"),
        ({"targets": np.array([0, -1, 2, 1])}, r"must lie in \[0, 3\)"),
        ({"targets": np.zeros((4, 2), np.bool_)}, "2 columns"),
        ({"vectors": np.full((4, 8), np.nan)}, "4 of 4 vectors aren't finite, first row 0"),
        ({"weights": np.ones(3)}, "weights must be 4"),
        ({"weights": np.array([1, 1, 1, -1.0])}, "none below 0"),
        ({"anchors": np.zeros((2, 8))}, "anchors must be"),
        ({"anchors": np.full((3, 8), np.nan)}, "anchors must be finite"),
    ],
)
def test_input_that_can_not_be_right_is_refused(change, message):
    arguments = {"vectors": np.zeros((4, 8)), "targets": np.zeros(4, np.int64)} | change
    with pytest.raises(LearningError, match=message):
        Probe.fit(arguments.pop("vectors"), arguments.pop("targets"), 3, **arguments)


def test_vectors_of_another_encoder_are_refused():
    vectors, targets, _ = blobs(4)
    with pytest.raises(LearningError, match=r"takes vectors \[n, 32\]"):
        Probe.fit(vectors, targets, 5).predict_proba(vectors[:, :8])


# -- on the vectors of a trained encoder -----------------------------------------------------------------------------


def test_a_prior_is_the_answer_until_there_are_labels():
    vectors, targets, anchors = blobs(40)
    head = Probe.fit(vectors, targets, 5)
    probe = Probe.fit(vectors[:0], EMPTY, 5, anchors=np.roll(anchors, 1, axis=0), prior=head)
    np.testing.assert_allclose(probe.predict_proba(vectors), head.predict_proba(vectors), atol=1e-5)
    assert probe.labels == 0


def test_labels_move_a_prior_that_is_wrong():
    vectors, targets, _ = blobs(60)
    head = Probe.fit(vectors, np.roll(np.arange(5), 1)[targets], 5)
    probe = Probe.fit(vectors, targets, 5, prior=head)
    assert accuracy(head, vectors, targets) < 0.1
    assert accuracy(probe, vectors, targets) > 0.9
    assert probe.temperature == head.temperature


def test_a_prior_for_other_labels_is_refused():
    vectors, targets, _ = blobs(10)
    with pytest.raises(LearningError, match="prior"):
        Probe.fit(vectors, targets, 5, prior=Probe.fit(vectors, targets, 6))


def test_a_strength_that_is_named_is_not_looked_for():
    vectors, targets, _ = blobs(40)
    found = [Probe.fit(vectors, targets, 5, strength=one) for one in (0.1, 7.0)]
    assert [one.cross.strength for one in found if one.cross is not None] == [0.1, 7.0]
    weak, strong = (float(np.abs(one.weights).mean()) for one in found)
    assert strong > 2 * weak
    again = Probe.fit(vectors, targets, 5, strength=7.0, warm=found[0])
    np.testing.assert_allclose(again.weights, found[1].weights, atol=0.02)
    few = [Probe.fit(vectors[:8], targets[:8], 5, strength=one) for one in (0.1, 7.0)]
    assert np.abs(few[1].weights).mean() > 2 * np.abs(few[0].weights).mean(), "of few labels, too"
