"""Rows are brought to length 1 the same way everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from nextlabel.backend.numeric import unit_rows


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rows_come_out_at_length_1_and_rows_of_zeros_stay(dtype: str) -> None:
    rows: np.ndarray = np.random.default_rng(0).normal(size=(50, 384)).astype(dtype)
    rows[[3, 20]] = 0
    units = unit_rows(rows)
    assert units.dtype == np.float32
    assert not units[[3, 20]].any()
    np.testing.assert_allclose(np.linalg.norm(np.delete(units, [3, 20], axis=0), axis=1), 1, atol=1e-6)


def test_a_short_row_has_a_direction_too() -> None:
    row = np.array([[3e-12, 4e-12]], np.float32)
    np.testing.assert_allclose(unit_rows(row), [[0.6, 0.8]], rtol=1e-6)


def test_a_row_is_the_same_to_the_last_bit_as_versions_before_made_it() -> None:
    rows = np.random.default_rng(1).normal(size=(500, 384)).astype(np.float32)
    assert np.array_equal(unit_rows(rows), rows / np.linalg.norm(rows, axis=1, keepdims=True))
    assert np.array_equal(np.concatenate([unit_rows(rows[at : at + 1]) for at in range(500)]), unit_rows(rows))


def test_what_is_not_finite_is_not_made_to_look_as_if_it_were() -> None:
    assert np.isnan(unit_rows(np.array([[np.nan, 1.0], [1.0, 0.0]]))).any(axis=1).tolist() == [True, False]
