"""What is read of a store."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.recipe import find_recipe
from nextlabel.backend.reports.against_random import why_not
from nextlabel.backend.reports.project import build, class_balance
from nextlabel.backend.reports.project_data import gather
from nextlabel.backend.reports.project_page import headline
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.records import Annotation, AnnotationStatus, Changes
from tests.backend.reports.made import RECIPE, START, answer, make, slices, truth


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


def test_what_was_answered_before_we_came_is_in_no_share(folder: Path) -> None:
    with make(folder, 300, 0) as store:
        answer(store, {at: {"ann": "good"} for at in range(200)})
        store.draw_audit(0.7, 500)
        answer(store, {at: {"ben": "bad"} for at in range(200, 290)})
        found = gather(store, find_recipe(RECIPE).labeling())
        good, bad = class_balance(found)
    assert (len(found.before), found.drawn_from) == (200, 100)
    assert len(found.training) + len(found.audited) == 290
    assert (good.chosen, good.share and good.share.mean, bad.share and bad.share.mean) == (200, 0.0, 1.0)
    assert bad.left is not None
    assert bad.left.high == 10, "ten are still open"
    assert "200 of" in why_not(found)


def test_held_out_answers_stand_by_themselves(folder: Path) -> None:
    with make(folder, 300, 0) as store:
        answer(store, {at: {"ann": truth(at)} for at in range(300)})
        store.draw_audit(0.2, 500)
        metrics = {"labels": 240, "reserved_n": 60, "reserved_accuracy": 0.9}
        store.add_model("probe-1", "probe", 1, metrics, "nowhere")
        found = gather(store, find_recipe(RECIPE).labeling())
    assert (len(found.audited), len(found.training) + len(found.held_out)) == (0, 300)
    assert 30 < len(found.held_out) < 90
    report = build(found, "posts", None, "left out")
    assert report.curve == ()
    assert report.held_out is not None
    assert (report.held_out.audited, report.held_out.accuracy.mean) == (60, 0.9)
    told = dict(headline(report))
    assert "kept from training, not blind" in told["held-out accuracy"]
    assert "audit accuracy" not in told
    assert f"{len(found.held_out)} held out" in told["labelled"]
