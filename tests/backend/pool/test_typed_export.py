"""Parquet and `datasets`: what pandas and load_from_disk make of them, and what goes to the hub."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nextlabel.backend.pool.typed_export import as_dataset, push_dataset, write_dataset, write_parquet
from nextlabel.backend.questions import question_of
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.records import Labeling, LabelKind

SPAN = {"start": 0, "end": 3, "label": "b", "text": "abc"}
ANSWERS: dict[LabelKind, tuple[list[Any], Any, Any]] = {
    LabelKind.SINGLE: (["b"], "b", 1),
    LabelKind.MULTI: (["b", "a"], ["b", "a"], [1, 0]),
    LabelKind.SPAN: ([SPAN], [{"start": 0, "end": 3, "label": "b"}], [{"start": 0, "end": 3, "label": 1}]),
}
KINDS = pytest.mark.parametrize("kind", list(ANSWERS))


def rows(kind: LabelKind) -> list[dict[str, Any]]:
    given = ANSWERS[kind][0]
    known = {"uid": "1", "answer": given, "likely": 0.9, "answers": 2, "agreement": 1.0, "adjudicated": False}
    said = {"prediction": given, "prediction_score": 0.8, "prediction_unseen": True, "model_version": "probe-1"}
    more = {"audit": True, "copy_of": None, "annotator.ann@x.org": given, "field.text": "abc", "metadata.n": 3}
    lone = {"uid": "2", "answer": None, "answers": 0, "adjudicated": False, "audit": "held-out", "metadata.n": "many"}
    return [known | said | more, lone]


@KINDS
def test_pandas_reads_the_parquet_file(tmp_path: Path, kind: LabelKind) -> None:
    import pandas

    path = tmp_path / "labels.parquet"
    assert write_parquet(rows(kind), path, question_of(Labeling(kind, ("a", "b")))) == 2
    frame = pandas.read_parquet(path)
    for name in ("answer", "prediction", "annotator.ann@x.org"):
        cell = frame[name][0]
        assert (list(cell) if kind is not LabelKind.SINGLE else cell) == ANSWERS[kind][1]
        assert frame[name][1] is None or frame[name].isna()[1]
    assert frame["audit"].tolist() == ["audit", "held-out"]
    assert frame["metadata.n"].tolist() == ["3", "many"], "of two types, so as texts"
    assert (frame["likely"][0], frame["answers"].tolist(), frame["adjudicated"].tolist()) == (0.9, [2, 0], [False] * 2)


@KINDS
def test_datasets_loads_the_folder_with_class_labels(tmp_path: Path, kind: LabelKind) -> None:
    import datasets

    folder = tmp_path / "labels"
    made = as_dataset(rows(kind), question_of(Labeling(kind, ("a", "b"))))
    assert write_dataset(made, folder) == 2
    assert write_dataset(made, folder) == 2, "one that we wrote is written anew"
    loaded = datasets.load_from_disk(folder)
    for name in ("answer", "prediction", "annotator.ann@x.org"):
        assert loaded[name][0] == ANSWERS[kind][2]
        feature = loaded.features[name]
        assert "names=['a', 'b']" in str(feature)
    assert loaded["uid"][:] == ["1", "2"]
    assert loaded["model_version"][:] == ["probe-1", None]
    assert [path.name for path in tmp_path.iterdir()] == ["labels"]


def test_labels_that_the_question_lacks_are_no_class(tmp_path: Path) -> None:
    given = [{"uid": "1", "answer": ["old"]}, {"uid": "2", "answer": ["b"]}]
    question = question_of(Labeling(LabelKind.SINGLE, ("a", "b")))
    assert as_dataset(given, question)["answer"][:] == [None, 1]
    write_parquet(given, tmp_path / "all.parquet", question)
    assert len(as_dataset([], question)) == 0


def test_another_folder_is_let_be(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("...")
    made = as_dataset([{"uid": "1"}], question_of(Labeling(LabelKind.SINGLE, ("a", "b"))))
    with pytest.raises(ConfigError, match="is there already"):
        write_dataset(made, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "..."


def test_the_hub_gets_it_private_and_a_refusal_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    made = as_dataset([{"uid": "1"}], question_of(Labeling(LabelKind.SINGLE, ("a", "b"))))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(ConfigError, match="HF_TOKEN"):
        push_dataset(made, "me/labels")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_1")
    sent: list[tuple[str, bool]] = []

    def push(_: object, repository: str, *, private: bool, commit_message: str) -> SimpleNamespace:
        sent.append((repository, private))
        if repository == "no":
            raise ValueError("not a name")
        return SimpleNamespace(repo_url="https://huggingface.co/datasets/me/labels")

    monkeypatch.setattr("datasets.Dataset.push_to_hub", push)
    assert push_dataset(made, "me/labels") == "https://huggingface.co/datasets/me/labels"
    assert push_dataset(made, "me/labels", private=False)
    assert sent == [("me/labels", True), ("me/labels", False)]
    with pytest.raises(ConfigError, match=r"could not be uploaded .*not a name.*OWNER/NAME"):
        push_dataset(made, "no")
