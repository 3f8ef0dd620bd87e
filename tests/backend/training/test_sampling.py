"""What an epoch shows: every text once, or every label equally often; the same from the same seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from nextlabel.backend.data.examples import rarest_label
from nextlabel.backend.training.texts import EpochBatches, epoch_rows

TARGETS = np.array([0] * 50 + [1] * 7 + [2] * 20, np.int64)


def test_without_resampling_every_text_comes_once() -> None:
    assert sorted(epoch_rows(TARGETS, "none", np.random.default_rng(0))) == list(range(77))


def test_under_sampling_takes_as_many_of_each_as_the_rarest_has_and_others_each_time() -> None:
    rng = np.random.default_rng(0)
    first, second = epoch_rows(TARGETS, "under", rng), epoch_rows(TARGETS, "under", rng)
    assert Counter(TARGETS[first].tolist()) == {0: 7, 1: 7, 2: 7}
    assert len(set(first.tolist())) == 21
    assert set(first.tolist()) != set(second.tolist())


def test_over_sampling_shows_all_and_the_rare_evenly_again() -> None:
    rows = epoch_rows(TARGETS, "over", np.random.default_rng(0))
    assert Counter(TARGETS[rows].tolist()) == {0: 50, 1: 50, 2: 50}
    counts = Counter(rows.tolist())
    assert set(counts) == set(range(77))
    assert {counts[row] for row in range(50, 57)} == {7, 8}


def test_several_labels_count_for_the_rarest() -> None:
    targets = np.array([[1, 1], [1, 0], [1, 0], [0, 0]], np.bool_)
    assert rarest_label(targets).tolist() == [1, 0, 0, -1]


@pytest.mark.parametrize("resample", ["none", "under", "over"])
def test_batches_are_whole_of_like_length_and_the_same_from_the_same_seed(resample: str) -> None:
    rng = np.random.default_rng(1)
    lengths = rng.integers(3, 64, len(TARGETS)).tolist()
    made = [EpochBatches(lengths, TARGETS, batch_size=8, resample=resample, seed=5) for _ in range(2)]  # type: ignore[arg-type]
    batches = list(made[0])
    assert len(batches) == len(made[0])
    assert batches == list(made[1])
    assert all(len(batch) == 8 for batch in batches) or sum(len(batch) != 8 for batch in batches) == 1
    made[1].set_epoch(1)
    assert list(made[1]) != batches
    padded = sum(max(lengths[row] for row in batch) * len(batch) for batch in batches)
    assert padded < 1.3 * sum(lengths[row] for batch in batches for row in batch)
    assert max(max(lengths[row] for row in batch) for batch in batches) == max(lengths[row] for row in batches[0])


def test_another_seed_gives_other_batches() -> None:
    lengths = [5] * len(TARGETS)
    one, other = (list(EpochBatches(lengths, TARGETS, batch_size=8, seed=seed)) for seed in (1, 2))
    assert one != other
