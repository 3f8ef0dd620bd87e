"""Which answers are likely wrong, by cleanlab's own methods on predictions of models that have not seen them.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021; for several
labels Thyagarajan et al., "Identifying Incorrect Annotations in Multi-Label Classification Data", 2022; for marks Wang
and Mueller, "Detecting Label Errors in Token Classification Data", 2022. The numbers are cleanlab's, and a test holds
them to that; what is here are the cases that it refuses.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nextlabel.connectors.errors import MissingExtra

from .opinions import Doubles, Indices

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LabelErrors:
    """Of n answers: which are ``likely`` wrong, bool [n], and how likely right each is, ``score`` float64 [n].

    A score is cleanlab's label quality: for one label, the probability that a model which has not seen the answer
    gives to it. The lowest are the likeliest errors.
    """

    likely: Flags
    score: Doubles


def of_single(predicted: npt.NDArray[np.floating], targets: Indices) -> LabelErrors:
    """``predicted`` floating [n, c], rows sum to 1, out-of-fold; ``targets`` int64 [n].

    Where only one label was ever given there is nothing to hold it against: no answer is likely wrong.
    Raises MissingExtra (cleanlab).
    """
    with _cleanlab():
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores

        if not len(targets):
            return LabelErrors(np.zeros(0, np.bool_), np.zeros(0))
        p = _rows_to_one(predicted)
        score = np.asarray(get_label_quality_scores(targets, p, method="self_confidence"), np.float64)
        likely: Flags = np.zeros(len(targets), np.bool_)
        if len(np.unique(targets)) > 1:
            likely = np.asarray(find_label_issues(targets, p, n_jobs=1), np.bool_)
        return LabelErrors(likely, score)


def of_several(predicted: npt.NDArray[np.floating], flags: Flags) -> LabelErrors:
    """``predicted`` floating [n, c], each in [0, 1], out-of-fold; ``flags`` bool [n, c]: the labels given.

    A label that everybody or nobody was given is not judged. Raises MissingExtra (cleanlab).
    """
    with _cleanlab():
        from cleanlab.multilabel_classification.filter import find_label_issues
        from cleanlab.multilabel_classification.rank import get_label_quality_scores

        p = np.asarray(predicted, np.float64)
        varied = np.flatnonzero(flags.any(axis=0) & ~flags.all(axis=0))
        if not len(varied):
            return LabelErrors(np.zeros(len(flags), np.bool_), np.ones(len(flags)))
        lists = [np.flatnonzero(row).tolist() for row in flags[:, varied]]
        score = np.asarray(get_label_quality_scores(lists, p[:, varied]), np.float64)
        likely = np.asarray(find_label_issues(lists, p[:, varied], n_jobs=1), np.bool_)
        return LabelErrors(likely, score)


def of_tokens(predicted: Sequence[npt.NDArray[np.floating]], tags: Sequence[Indices]) -> LabelErrors:
    """Of n texts: ``predicted`` floating [u, k] for the units of each, out-of-fold; ``tags`` int64 [u] of each.

    A text is likely wrong if one of its units is, and its score is that of its worst unit; 1 without a unit.
    Raises MissingExtra (cleanlab).
    """
    likely, score = np.zeros(len(tags), np.bool_), np.ones(len(tags))
    told = [row for row, one in enumerate(tags) if len(one)]
    if not told:
        return LabelErrors(likely, score)
    with _cleanlab():
        from cleanlab.token_classification.filter import find_label_issues
        from cleanlab.token_classification.rank import get_label_quality_scores

        lists, rows = [tags[row].tolist() for row in told], [_rows_to_one(predicted[row]) for row in told]
        score[told] = get_label_quality_scores(lists, rows)[0]
        if len(np.unique(np.concatenate([tags[row] for row in told]))) > 1:
            likely[[told[text] for text, _ in find_label_issues(lists, rows, n_jobs=1)]] = True
    return LabelErrors(likely, score)


def _rows_to_one(predicted: npt.NDArray[np.floating]) -> Doubles:
    """In double precision, where rows of float32 miss 1 by more than cleanlab allows."""
    p = np.asarray(predicted, np.float64)
    return np.asarray(p / p.sum(axis=1, keepdims=True), np.float64)


@contextmanager
def _cleanlab() -> Iterator[None]:
    """Import and use cleanlab: an error that says what to install, and none of its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImportError as error:
        raise MissingExtra(error.name or "cleanlab", "quality") from error
