"""Which records of a project are asked about again."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.recipe import find_recipe
from nextlabel.backend.reports.project_issues import ProjectIssues, project_issues
from nextlabel.backend.store import Store
from nextlabel.connectors.records import Annotation, AnnotationStatus, Changes
from tests.backend.reports.made import RECIPE, START, answer, make, slices, truth

pytest.importorskip("cleanlab")
OTHER = {"good": "bad", "bad": "good"}


def looked_through(store: Store, folder: Path) -> ProjectIssues:
    encoder = load_encoder("hashing")
    return project_issues(store, find_recipe(RECIPE).labeling(), encoder, EmbeddingCache.open(folder / "v", encoder))


def test_the_records_of_likely_errors_are_sent_but_for_those_that_are_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEXTLABEL_HOME", str(tmp_path / "home"))
    with make(tmp_path, 90, 10) as store:
        chosen, audit = slices(store)
        wrong = {chosen[2], chosen[40], audit[3]}
        answer(store, {at: {"ann": OTHER[truth(at)] if at in wrong else truth(at)} for at in [*chosen, *audit]})
        found = looked_through(store, tmp_path)
        assert set(found.to_send()) == {str(at) for at in wrong}
        assert set(found.to_send().values()) == {1}
        assert list(found.to_send(top=1)) == list(found.to_send())[:1]
        at = chosen[2]
        settled = Annotation(
            f"{at}-judge",
            f"r{at}",
            "judge",
            (OTHER[truth(at)],),
            AnnotationStatus.SUBMITTED,
            START + timedelta(days=1),
            is_truth=True,
        )
        store.append(Changes(annotations=(settled,)))
        assert set(looked_through(store, tmp_path).to_send()) == {str(one) for one in wrong - {at}}
