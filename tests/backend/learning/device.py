"""The device that trainings of the tests run on: ``NEXTLABEL_TEST_DEVICE=cuda`` runs the same tests on a GPU."""

from __future__ import annotations

import os

DEVICE = os.environ.get("NEXTLABEL_TEST_DEVICE", "cpu")
