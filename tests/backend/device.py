"""The device that trainings of the tests run on: ``NEXTLABEL_TEST_DEVICE=cuda`` runs the same tests on a GPU."""

from __future__ import annotations

import os

DEVICE = os.environ.get("NEXTLABEL_TEST_DEVICE", "cpu")
CLOSE = 1e-3 if DEVICE == "cpu" else 3e-2  # between probabilities that should be equal: a GPU trains in half precision
