"""``nextlabel report`` on stores whose answers are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nextlabel.backend.evaluation.remaining import exact_total
from nextlabel.backend.models.registry import SPACE_IN_USE
from nextlabel.backend.store import Store
from tests.backend.reports.made import RECIPE, add_model, answer, make, slices, truth

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One division into folds is enough here: the rest would be time."""
    monkeypatch.setattr("nextlabel.backend.reports.against_random.REPEATS", 1)


def test_the_epochs_of_the_encoder_in_use_are_in_the_page(nextlabel: Run, folder: Path) -> None:
    with make(folder, 60, 10) as store:
        chosen, audit = slices(store)
        answer(store, {at: {"ann": truth(at)} for at in [*chosen[:20], *audit]})
        store.set_meta(SPACE_IN_USE, "fine-tune-1")
    assert read(nextlabel, "--quick")["epochs"] == [], "its files are gone"
    (home,) = (path.parent for path in folder.rglob("store.sqlite"))
    trained = home / "models" / "fine-tune-1" / "training.json"
    trained.parent.mkdir(parents=True)
    history = [{"epoch": 1.0, "loss": 0.7, "macro_f1": 0.5}, {"epoch": 2.0, "loss": 0.4, "macro_f1": 0.6}]
    trained.write_text(json.dumps({"history": history}))
    found = read(nextlabel, "--quick", "--out", "page.html")
    assert found["epochs"] == history
    assert "Loss by epoch" in (folder / "page.html").read_text()


def read(nextlabel: Run, *more: str) -> dict[str, Any]:
    """The report as JSON."""
    done = nextlabel("report", RECIPE, "--json", *more)
    assert done.code == 0, done.err
    return json.loads(done.out.splitlines()[-1])


def everything(store: Store) -> list[Any]:
    """All that the store holds of what matters."""
    counts, current = store.counts(), store.current_model()
    return [counts, store.models(), current, store.head(), store.get_meta(SPACE_IN_USE), *store.records()]


def test_everything_that_can_be_said(nextlabel: Run, folder: Path) -> None:
    with make(folder, 200, 60) as store:
        chosen, audit = slices(store)
        answer(store, {at: {"ann": truth(at)} for at in chosen[:60]})
        answer(store, {at: {"ann": truth(at), "bob": truth(at)} for at in audit})
        for labels in (10, 20, 40, 60):
            add_model(store, labels, 0.6 + labels / 300, labels)
        before = everything(store)
        found = read(nextlabel, "--out", "page.html")
        assert everything(store) == before
    assert found["silent"] == {}
    assert (found["records"], found["labelled"]) == (200, {"chosen": 60, "audit": 60, "held_out": 0})
    assert (found["answers"], found["annotators_seen"]) == (180, 2)
    assert [(one["labels"], round(one["accuracy"]["mean"], 3)) for one in found["curve"]] == [
        (20, 0.667), (40, 0.733), (60, 0.8)
    ]  # fmt: skip
    assert (found["agreement"]["records"], found["agreement"]["pairs"]["mean"]) == (60, 1.0)
    assert [one["rank"] for one in found["annotators"]] == [1, 2]
    bad, hits = found["balance"][1], sum(truth(at) == "bad" for at in audit)
    learned = sum(truth(at) == "bad" for at in chosen[:60])
    low, high = (total / 200 for total in exact_total(200, 60, hits))
    assert (bad["label"], bad["chosen"], bad["audit"]) == ("bad", learned, hits)
    assert bad["share"] == {"mean": pytest.approx(hits / 60), "low": pytest.approx(low), "high": pytest.approx(high)}
    assert bad["left"]["mean"] == pytest.approx(200 * hits / 60 - learned - hits)
    saved = found["saved"]
    assert saved["at_labels"] == 48
    assert saved["random_curve"][0]["accuracy"] == saved["chosen_curve"][0]["accuracy"], "both start from the names"
    assert saved["random_curve"][-1]["labels"] == 48
    assert saved["chosen_curve"][-1]["accuracy"]["mean"] > 0.7, "the words tell the labels"
    assert {one["criterion"] for one in found["stop"]} == {"small gain"}
    page = (folder / "page.html").read_text()
    assert page.count("<svg") == 3
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert saved["verdict"].removeprefix("to ") in page


def test_criteria_look_at_the_audit_slice_and_at_open_records(nextlabel: Run, folder: Path) -> None:
    from nextlabel.backend.recipe import find_recipe
    from nextlabel.backend.service.opening import open_cache, open_encoder
    from nextlabel.backend.settings import Settings

    with make(folder, 300, 100) as store:
        chosen, audit = slices(store)
        answer(store, {at: {"ann": truth(at)} for at in [*chosen[:110], *audit]})
        recipe, settings = find_recipe(RECIPE), Settings.load()
        encoder = open_encoder(recipe, settings)
        texts = [recipe.labeling().content(item.record) for item in store.records()]
        open_cache(recipe, settings, encoder).ensure(texts, encoder)
        stop = {one["criterion"]: one for one in read(nextlabel)["stop"]}
        assert set(stop) == {"small gain", "stable predictions", "confidence"}
        assert "the last 4 models agree on 100 records" in stop["stable predictions"]["reason"]
        assert stop["confidence"]["figure"] < 1
        store.set_meta(SPACE_IN_USE, "fine-tune-1")
        found = read(nextlabel)
        assert found["trained_model"] == "fine-tune-1"
        assert {one["criterion"] for one in found["stop"]} == {"small gain"}, "the refitted probes are not in use"
        assert found["saved"] is not None


def test_little_is_said_of_little(nextlabel: Run, folder: Path) -> None:
    with make(folder, 100, 40) as store:
        chosen, audit = slices(store)
        answer(store, {at: {"ann": truth(at)} for at in [*chosen[:30], *audit[:19]]})
        answer(store, {chosen[0]: {"bob": "good"}})
        add_model(store, 30, 0.9, 19)
    found = read(nextlabel)
    assert set(found["silent"]) == {"saved", "curve", "agreement", "annotators", "balance"}
    assert found["saved"] is None
    assert found["agreement"] is None
    assert found["curve"] == []
    assert all(one["share"] is None and one["left"] is None for one in found["balance"])
    assert all(one["agreement"] is None for one in found["annotators"])
    assert [one["stop"] for one in found["stop"]] == [False]
    done = nextlabel("report", RECIPE, "--out", "page.html")
    assert done.code == 0, done.err
    assert "19 of it are answered: it takes 50" in " ".join(done.out.replace("│", " ").split())
    assert "1 records have answers of two people" in " ".join(done.out.replace("│", " ").split())
    page = (folder / "page.html").read_text()
    assert "<svg" not in page
    assert page.count("Not known: ") >= 2


def test_answers_that_are_all_the_same_are_no_test(nextlabel: Run, folder: Path) -> None:
    with make(folder, 120, 50) as store:
        chosen, audit = slices(store)
        answer(store, {at: {"ann": "good"} for at in audit})
        answer(store, {at: {"ann": truth(at)} for at in chosen[:19]})
        assert "19 labels to learn from are too few" in read(nextlabel)["silent"]["saved"]
        answer(store, {chosen[30]: {"ann": "bad"}})
        found = read(nextlabel)
    assert "are the same" in found["silent"]["saved"]
    rare = next(one for one in found["stop"] if one["criterion"] == "few remaining: bad")
    assert f"{found['balance'][1]['chosen']} positives are found" in rare["reason"]
    assert rare["stop"] is (found["balance"][1]["left"]["high"] == 0)


def test_quick_fits_nothing(nextlabel: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("no encoder is needed")

    with make(folder, 120, 60) as store:
        chosen, audit = slices(store)
        answer(store, {at: {"ann": truth(at)} for at in [*chosen[:40], *audit]})
    monkeypatch.setattr("nextlabel.backend.service.opening.open_encoder", refuse)
    assert read(nextlabel, "--quick")["silent"]["saved"] == "left out by --quick"


def test_several_labels(nextlabel: Run, folder: Path) -> None:
    with make(folder, 140, 60, kind="multi") as store:
        chosen, audit = slices(store)
        answer(store, {at: {"ann": [truth(at)] if at % 2 else ["good", "bad"]} for at in [*chosen[:40], *audit]})
    found = read(nextlabel)
    assert found["saved"]["at_labels"] == 40
    assert set(found["silent"]) == {"agreement", "annotators", "curve"}
    assert found["annotators"] is None
    both = sum(at % 2 == 0 or truth(at) == "bad" for at in audit)
    assert found["balance"][1]["share"]["mean"] == pytest.approx(both / 60)


def test_a_missing_encoder_leaves_the_rest(nextlabel: Run, folder: Path) -> None:
    with make(folder, 120, 60) as store:
        chosen, audit = slices(store)
        answer(store, {at: {"ann": truth(at)} for at in [*chosen[:40], *audit]})
    text = (folder / RECIPE).read_text().replace("encoder: hashing", "encoder: ./not-there")
    (folder / RECIPE).write_text(text)
    found = read(nextlabel)
    assert "the encoder can't be used" in found["silent"]["saved"]
    assert found["balance"][0]["share"] is not None


def test_what_can_go_wrong_is_said(nextlabel: Run, folder: Path) -> None:
    assert "nothing was run for reviews yet" in nextlabel("report", "reviews.yaml").err
    make(folder, 20, 5).close()
    done = nextlabel("report", RECIPE)
    assert (done.code, "no record has a label yet" in done.err) == (1, True)
    assert "must end in .html" in nextlabel("report", RECIPE, "--out", "page.pdf").err
    assert "there is no folder" in nextlabel("report", RECIPE, "--out", "nowhere/page.html").err
