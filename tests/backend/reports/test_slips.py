"""An audit figure that annotators' slips make is told as such: three people, one wrong in every third answer."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nextlabel.backend.cli.status_words import audited
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.models.card import AUDIT, measured
from nextlabel.backend.pool.pool import PoolState
from nextlabel.backend.questions import question_of
from nextlabel.backend.recipe import find_recipe
from nextlabel.backend.reports.project import build
from nextlabel.backend.reports.project_data import Gathered, Slips, gather
from nextlabel.backend.reports.project_page import headline, page, to_ask_others
from nextlabel.backend.retraining.embedding_space import EmbeddingSpaces
from nextlabel.backend.retraining.model import Learner
from nextlabel.backend.store import Store
from tests.backend.reports.made import RECIPE, answer, make, slices, truth

OTHER = {"good": "bad", "bad": "good"}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A hundred audit records and four hundred others, answered by one of three in turn; cy slips on every third."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEXTLABEL_HOME", str(tmp_path / "home"))
    with make(tmp_path, 500, 100) as made:
        chosen, audit = slices(made)
        given = {at: {("ann", "ben", "cy")[place % 3]: truth(at)} for place, at in enumerate([*chosen, *audit])}
        for at in [at for at in audit if "cy" in given[at]][::3]:
            given[at] = {"cy": OTHER[truth(at)]}
        answer(made, given)
        yield made


def learned(store: Store, folder: Path) -> Gathered:
    """The project as a report sees it, after the loop's learner has fitted a model of it."""
    labeling = find_recipe(RECIPE).labeling()
    question, touched = question_of(labeling), store.touched(0)
    spaces = EmbeddingSpaces(
        question,
        lambda _: load_encoder("hashing"),
        lambda encoder: EmbeddingCache.open(folder / "vectors", encoder),
        folder / "models",
    )
    learner = Learner(question, spaces, store, folder / "probes")
    space = learner.space()
    items, pool = list(store.get_remote(list(touched)).values()), PoolState(question)
    texts = [labeling.content(item.record) for item in items]
    pool.add(items, space.cache.ensure(texts, load_encoder("hashing")))
    pool.answer(touched)
    learner.fit(pool, store.head(), space, None)
    return gather(store, labeling)


def test_slips_are_told_with_whose_they_are_and_what_would_be_without_them(store: Store, tmp_path: Path) -> None:
    found = learned(store, tmp_path)
    made = build(found, "posts", None, "left out", "my posts.yaml")
    assert found.slips is not None
    assert 9 <= found.slips.answers <= 12
    assert list(found.slips.people) == ["cy"], "nobody else slips"
    assert set(found.slips.uids) <= {item.record.uid for item in store.records() if item.audit}
    assert made.curve[-1].accuracy.mean < 0.9
    assert made.without_slips is not None
    assert made.without_slips.mean > 0.97
    told = dict(headline(made))["audit answers in doubt"]
    assert "by cy" in told
    assert shlex.split(to_ask_others(made)) == ["nextlabel", "relabel", "my posts.yaml", *found.slips.uids]
    assert "Audit answers in doubt" in page(made, [])
    assert " ".join(found.slips.uids) in page(made, [])
    assert made.to_json()["slips"]["answers"] == found.slips.answers
    status = audited(measured(store.models()[0].metrics, AUDIT))
    assert f"takes {found.slips.answers} of the answers for slips" in status


def test_the_line_that_asks_others_is_one_for_a_shell_whatever_ids_are(store: Store) -> None:
    uids = ("-17", "it's 4; rm x", "$(y)")
    gathered = replace(gather(store, find_recipe(RECIPE).labeling()), slips=Slips(3, {"cy": (3, 9)}, uids))
    line = to_ask_others(build(gathered, "posts", None, "left out", "posts.yaml"))
    assert shlex.split(line) == ["nextlabel", "relabel", "posts.yaml", "--", *uids]


@pytest.mark.parametrize("odd", [None, 3, {}, {"people": 1}, {"people": {"a": [1, 2]}, "records": 5, "answers": "x"}])
def test_an_odd_row_tells_of_no_slips(store: Store, odd: object) -> None:
    store.add_model("probe-1", "probe", 1, {"slips": odd}, "/nowhere")
    assert gather(store, find_recipe(RECIPE).labeling()).slips is None
