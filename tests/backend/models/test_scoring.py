"""A pool on disk through a probe."""

from __future__ import annotations

import numpy as np
import pytest

from nextlabel.backend.models import probe as scoring
from nextlabel.backend.models.probe import Probe, score_pool


@pytest.fixture
def pool(tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "CHUNK", 64)
    rng = np.random.default_rng(0)
    matrix = np.memmap(tmp_path / "vectors", np.float16, "w+", shape=(1000, 12))
    matrix[:] = rng.normal(size=matrix.shape)
    return Probe.fit(matrix[:60], rng.integers(0, 3, 60), 3), matrix


@pytest.mark.parametrize(
    "rows",
    [
        np.arange(1000),
        np.arange(100, 300),
        np.random.default_rng(1).permutation(1000),
        np.delete(np.arange(1000), [5, 500]),
        np.array([7, 7, 7]),
        np.arange(300)[::-1],
        np.array([0, 2, 1, 3]),  # as far apart as if they lay side by side
        np.empty(0, np.int64),
    ],
    ids=["all", "stretch", "shuffled", "gaps", "repeated", "backwards", "swapped", "none"],
)
def test_any_rows_in_any_order(pool, rows):
    probe, matrix = pool
    scores = score_pool(probe, matrix, rows)
    assert scores.shape == (len(rows), 3)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, probe.predict_proba(np.asarray(matrix)[rows]), atol=1e-6)


def test_a_slice_or_nothing_means_a_stretch(pool):
    probe, matrix = pool
    np.testing.assert_array_equal(score_pool(probe, matrix), probe.predict_proba(matrix))
    np.testing.assert_array_equal(score_pool(probe, matrix, slice(10, 90)), probe.predict_proba(matrix[10:90]))


def test_a_record_that_is_not_embedded_is_not_scored_as_the_last_row(pool):
    probe, matrix = pool
    with pytest.raises(IndexError, match="not embedded"):
        score_pool(probe, matrix, np.array([3, -1]))
