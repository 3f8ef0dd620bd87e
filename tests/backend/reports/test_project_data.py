"""What is read of a store."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.recipe import find_recipe
from nextlabel.backend.reports.project import class_balance
from nextlabel.backend.reports.project_data import gather
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.records import Annotation, AnnotationStatus, Changes
from tests.backend.reports.made import RECIPE, START, answer, make, slices


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_labels_are_learned_in_the_order_of_their_first_answers(folder: Path) -> None:
    with make(folder, 40, 10) as store:
        chosen, audit = slices(store)
        first, second, third, lost = chosen[3], chosen[1], chosen[2], chosen[0]
        skip = Annotation("s", f"r{third}", "ann", (), AnnotationStatus.SKIPPED, START)
        store.append(Changes(annotations=(skip,)))
        for at in (first, second, audit[0], third, lost):
            answer(store, {at: {"ann": "good"}})
        again = Annotation(
            f"{first}-ann", f"r{first}", "ann", ("bad",), AnnotationStatus.SUBMITTED, START + timedelta(days=2)
        )
        store.append(Changes(annotations=(again,)))
        store.mark_gone([f"r{lost}"])
        found = gather(store, find_recipe(RECIPE).labeling())
    assert found.training.tolist() == [first, second, third]
    assert found.pool.targets(found.training).tolist() == [1, 0, 0], "a changed answer counts as it is now"
    assert found.audited.tolist() == [audit[0]]
    assert (found.records, found.people, found.skips) == (39, 1, 1)
    assert (found.first, found.last) == (START, START + timedelta(days=2))


def test_labels_of_records_that_are_gone_are_no_labels(folder: Path) -> None:
    with make(folder, 10, 2) as store:
        answer(store, {0: {"ann": "good"}})
        store.mark_gone(["r0"])
        with pytest.raises(ConfigError, match="no record has a label yet"):
            gather(store, find_recipe(RECIPE).labeling())


def test_copies_are_not_counted_as_records(folder: Path) -> None:
    with make(folder, 30, 0) as store:
        (folder / "posts.csv").write_text((folder / "posts.csv").read_text() + "30,same thing\n31,same thing\n")
        store.add_records(find_recipe(RECIPE).read())
        answer(store, {at: {"ann": "good"} for at in range(5)})
        found = gather(store, find_recipe(RECIPE).labeling())
        balance = class_balance(found)
    assert found.records == 31
    assert np.array_equal(found.training, np.arange(5))
    assert [(one.label, one.chosen, one.share) for one in balance] == [("good", 5, None), ("bad", 0, None)]
