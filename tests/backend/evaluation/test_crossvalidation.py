"""Folds of anything that can be fitted: nobody is tested on what it has seen, and a killed run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.evaluation import cross_validate, hold_out
from nextlabel.backend.evaluation.crossvalidation import FoldDone
from nextlabel.backend.evaluation.summary import summarise
from nextlabel.connectors.content import Readable, text_of
from nextlabel.connectors.errors import LearningError


@dataclass
class Parrot:
    """Knows the answer to every text it was fitted on, and nothing else. Counts its fits, and dies at one if told."""

    dies_at: int = 0
    seen: list[Examples] = field(default_factory=list)

    def __call__(self, train: Examples) -> Parrot.Fitted:
        self.seen.append(train)
        if len(self.seen) == self.dies_at:
            raise KeyboardInterrupt
        return self.Fitted(train)

    @dataclass
    class Fitted:
        train: Examples

        def predict_proba(self, texts: Sequence[Readable]) -> np.ndarray:
            classes = len(self.train.labels)
            known = dict(zip(self.train.texts, self.train.targets, strict=True))
            out = np.full((len(texts), classes), 1 / classes, np.float32)
            for row, text in enumerate(texts):
                if text in known:
                    out[row] = np.eye(classes)[known[text]] if np.ndim(known[text]) == 0 else known[text]
            return out


def examples(rows: int = 40, copies: int = 1, groups: np.ndarray | None = None) -> Examples:
    texts = tuple(f"text {at}" for at in range(rows) for _ in range(copies))
    targets = np.repeat(np.arange(rows) % 3, copies)
    return Examples(texts, targets, ("a", "b", "c"), groups=groups)


def test_nobody_is_tested_on_a_text_that_it_has_read():
    parrot = Parrot()
    found = cross_validate(examples(copies=2), parrot, folds=4, seeds=(0, 1))
    assert len(parrot.seen) == 8
    assert all((run.predicted == np.float32(1 / 3)).all() for run in found.runs), "copies must not be split"
    for run in found.runs:
        assert sorted(np.unique(run.fold_of)) == [0, 1, 2, 3]
    assert (found.runs[0].fold_of != found.runs[1].fold_of).any()


def test_random_folds_show_what_leaks():
    found = cross_validate(examples(copies=2), Parrot(), folds=4, random_folds=True)
    assert (found.runs[0].predicted.max(axis=1) == 1.0).mean() > 0.5


def test_groups_are_never_split():
    groups = np.arange(80) // 8
    made = examples(copies=2, groups=groups)
    found = cross_validate(made, Parrot(), folds=5)
    for group in range(10):
        assert len(set(found.runs[0].fold_of[groups == group])) == 1
    assert found.groups is groups


def test_copies_are_a_group_only_where_there_are_any():
    assert examples().together() is None
    codes = examples(rows=2, copies=2).together()
    assert codes is not None
    assert codes.tolist() == [0, 0, 2, 2]


def test_groups_that_have_a_text_in_common_are_one():
    groups = np.repeat(np.arange(20), 4)
    made = examples(80, groups=groups)
    shared = list(made.texts)
    shared[5], shared[9] = "Ok thanks", " ok  THANKS"  # of groups 1 and 2, and no encoder need tell them apart
    joined = replace(made, texts=tuple(shared))
    codes = joined.together()
    assert codes is not None
    assert len(set(codes[4:12])) == 1
    assert len(set(codes)) == 19
    alone = replace(joined, groups=None).together()
    assert alone is not None
    assert alone.tolist() == [5 if at == 9 else at for at in range(80)]
    (run,) = cross_validate(joined, Parrot(), folds=5).runs
    assert len(set(run.fold_of[4:12])) == 1
    assert (run.predicted == np.float32(1 / 3)).all()
    everybody = replace(made, texts=tuple("ok" if at % 4 == 0 else text for at, text in enumerate(made.texts)))
    with pytest.raises(LearningError, match="text in common"):
        cross_validate(everybody, Parrot())


def test_a_killed_run_goes_on(tmp_path: Path):
    made, killed = examples(), Parrot(dies_at=4)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(made, killed, keep=tmp_path, name="parrot")
    told: list[FoldDone] = []
    again = Parrot()
    found = cross_validate(made, again, keep=tmp_path, name="parrot", report=told.append)
    assert len(again.seen) == 2, "three folds were done before"
    assert [one.kept for one in told] == [True, True, True, False, False]
    assert [one.done for one in told] == [1, 2, 3, 4, 5]
    assert {one.total for one in told} == {5}
    fresh = cross_validate(made, Parrot())
    assert (found.runs[0].predicted == fresh.runs[0].predicted).all()


def test_a_fold_is_not_taken_for_another(tmp_path: Path):
    cross_validate(examples(), Parrot(), keep=tmp_path, name="parrot")
    for changed, name in ((examples(41), "parrot"), (examples(), "parrot 2")):
        parrot = Parrot()
        cross_validate(changed, parrot, keep=tmp_path, name=name)
        assert len(parrot.seen) == 5
    other = examples()
    other.targets[0] = 1
    parrot = Parrot()
    cross_validate(other, parrot, keep=tmp_path, name="parrot")
    assert len(parrot.seen) >= 4, "all the folds that were fitted on the changed answer"


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"x"), lambda path: path.write_bytes(b"")])
def test_a_fold_file_that_can_not_be_read_is_made_anew(tmp_path: Path, spoil):
    cross_validate(examples(), Parrot(), keep=tmp_path)
    for path in tmp_path.iterdir():
        spoil(path)
    parrot = Parrot()
    cross_validate(examples(), parrot, keep=tmp_path)
    assert len(parrot.seen) == 5
    parrot = Parrot()
    cross_validate(examples(), parrot, keep=tmp_path)
    assert parrot.seen == []


def test_a_fixed_test_set_is_one_fold(tmp_path: Path):
    whole = examples()
    parrot = Parrot()
    found = hold_out(whole.take(range(30)), whole.take(range(20, 40)), parrot, keep=tmp_path)
    assert len(parrot.seen) == 1
    assert found.examples.texts == whole.texts[20:]
    assert (found.runs[0].predicted.max(axis=1) == 1.0).tolist() == [True] * 10 + [False] * 10
    assert [one.rows for one in summarise(found).folds] == [20]


@pytest.mark.parametrize(
    ("made", "folds", "says"),
    [
        (examples(), 1, "folds"),
        (examples(1), 5, "label more"),
        (examples(groups=np.zeros(40, np.int64)), 5, "one group"),
    ],
)
def test_what_can_not_be_held_out_is_refused(made: Examples, folds: int, says: str):
    with pytest.raises(LearningError, match=says):
        cross_validate(made, Parrot(), folds=folds)


def test_more_folds_than_rows_are_as_many_as_there_are_rows():
    found = cross_validate(examples(3), Parrot(), folds=10)
    assert len(np.unique(found.runs[0].fold_of)) == 3


def test_predictions_of_the_wrong_shape_or_not_finite_are_refused():
    class Broken:
        def __init__(self, train: Examples) -> None:
            pass

        def predict_proba(self, texts: Sequence[Readable]) -> np.ndarray:
            return np.full((len(texts), 3), np.nan, np.float32)

    with pytest.raises(LearningError, match="finite"):
        cross_validate(examples(), Broken)
    with pytest.raises(LearningError, match="no seed"):
        cross_validate(examples(), Parrot(), seeds=())
    with pytest.raises(LearningError, match="need some"):
        hold_out(examples(3), examples(3).take([]), Parrot())


def test_a_summary_says_it_all_and_counts_errors_by_how_sure_they_are():
    whole = Examples(("x", "y", "z", "w"), np.array([0, 1, 0, 1]), ("no", "yes"))

    class Sure:
        def __init__(self, train: Examples) -> None:
            pass

        def predict_proba(self, texts: Sequence[Readable]) -> np.ndarray:
            yes = [{"x": 0.9, "y": 0.8, "z": 0.6, "w": 0.1}[text_of(text)] for text in texts]
            return np.column_stack([1 - np.array(yes), yes]).astype(np.float32)

    found = summarise(cross_validate(whole, Sure, folds=2))
    assert [(one.text, one.answer, one.said) for one in found.errors] == [
        ("x", ("no",), ("yes",)),
        ("w", ("yes",), ("no",)),
        ("z", ("no",), ("yes",)),
    ]
    assert found.headline["accuracy"].mean == 0.25
    told = found.to_json()
    assert told["accuracy"]["mean"] == 0.25
    assert sum(fold["rows"] for fold in told["folds"]) == 4
    assert told["confusion"] == [[0, 2], [1, 1]]


def test_a_summary_of_several_labels_a_text():
    rng = np.random.default_rng(0)
    whole = Examples(tuple(map(str, range(30))), rng.uniform(size=(30, 3)) < 0.5, ("a", "b", "c"))
    found = summarise(cross_validate(whole, Parrot(), folds=3, random_folds=True))
    assert found.confusion.shape == (3, 2, 2)
    assert len(found.errors) <= 30
    assert all(set(one.answer) != set(one.said) for one in found.errors)
