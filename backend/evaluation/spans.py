"""Parts of texts that are marked: held-out span F1, with an interval by text, and how it grows with the labels.

What is measured is what the loop proposes from the first labels on: the probe on token vectors of the encoder as it is.
A span counts as found if start, end and label are all right.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.data.examples import assign_folds, read_alike, together
from nextlabel.backend.data.marked import MarkedRows, labels_in, read_marked
from nextlabel.backend.data.span_examples import SpanExamples, longest_apart
from nextlabel.backend.encoders.base import HASHING
from nextlabel.backend.encoders.load import remarks_on_cut
from nextlabel.backend.intervals import Interval, percentiles, resample
from nextlabel.backend.models.spans.encoder import TokenCache, TokenVectors, load_span_encoder
from nextlabel.backend.models.spans.metrics import SpanLists, micro_f1, runs_interval, span_counts
from nextlabel.backend.models.spans.probe import SpanProbe
from nextlabel.backend.numeric import plain
from nextlabel.backend.training.spec import ProgressReport, TrainingProgress
from nextlabel.connectors.content import text_of
from nextlabel.connectors.errors import ConfigError

from .comparison import Difference
from .crossvalidation import FoldDone, FoldReport, check_folds
from .curve import LEAST, PARTS, SHARES
from .run import Request
from .span_errors import WrongText, kinds_of, surest_wrong

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SpanLabel:
    """Figures of one label: how many spans of it there are, and of those proposed. nan where there is nothing."""

    label: str
    precision: float
    recall: float
    f1: Interval
    support: int


@dataclass(frozen=True, slots=True)
class SpanPoint:
    """Span F1 after learning from so many texts."""

    labels: int
    f1: Interval


@dataclass(frozen=True, slots=True)
class SpanEvaluation:
    """Figures of held-out spans, and what a reader has to know about them.

    ``f1`` over all labels is the mean over seeds, with the interval by text, or by group; ``by_label``, ``kinds`` (see
    span_errors) and ``wrong``, the texts with what was surest and wrong, are of the first seed. ``curve`` is empty
    where none was asked for, or where texts are too few; ``gain``: what its last step brought, paired.
    """

    request: Request
    labels: tuple[str, ...]
    f1: Interval
    by_label: tuple[SpanLabel, ...]
    kinds: dict[str, int]
    wrong: tuple[WrongText, ...]
    curve: tuple[SpanPoint, ...]
    gain: Difference | None
    remarks: tuple[str, ...]
    how: str
    texts: int
    spans: int
    digest: str
    seconds: float

    @property
    def verdict(self) -> str | None:
        """A sentence for whoever wonders whether to mark on; None where the data don't support one."""
        if self.gain is None or not self.gain.low > 0:
            return None
        before, after = self.curve[-2:]
        return (
            f"from {before.labels:,} to {after.labels:,} texts, span F1 rose by {self.gain.mean:.3f} "
            f"({self.gain.low:.3f} to {self.gain.high:.3f}): more labels are likely to help"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values: the figure first, with mean, low and high."""
        from importlib.metadata import version

        gain = self.gain
        return {
            "span_f1": self.f1.to_json(),
            "by_label": plain(self.by_label),
            "kinds": self.kinds,
            "learning_curve": None
            if gain is None
            else {
                "points": plain(self.curve),
                "last_gain": Interval(gain.mean, gain.low, gain.high).to_json(),
                "more_labels_help": gain.low > 0 or None,
            },
            "rung": self.request.rung,
            "encoder": self.request.encoder,
            "seeds": 1 if self.request.fixed else self.request.seeds,
            "n": self.texts,
            "spans": self.spans,
            "labels": list(self.labels),
            "how": self.how,
            "remarks": list(self.remarks),
            "data": self.request.data,
            "data_sha256": self.digest,
            "seconds": round(self.seconds, 2),
            "nextlabel": version("nextlabel"),
        }


@dataclass(frozen=True, slots=True)
class Fold:
    """Rows to test on, int64, and those to learn from."""

    tested: Rows
    learned: Rows


def evaluate_spans(
    request: Request, *, on_fold: FoldReport | None = None, on_step: ProgressReport | None = None
) -> SpanEvaluation:
    """Read the data, mark every text by a probe that has not seen it, nor a copy of it, nor its group, and count.

    Raises DataError, LearningError, ConfigError (a setting that can't be), MissingExtra.
    """
    if request.rung != "probe":
        raise ConfigError(f"rung {request.rung!r}: spans are evaluated with the probe on token vectors; leave it out")
    started = time.monotonic()
    examples, rows, layouts, how = _laid_out(request)
    vectors = _tokens(examples, request, on_step)
    bearing = examples.bears
    predicted: list[SpanLists] = []
    grown: dict[float, list[SpanLists]] = {}
    tested, total, done = np.concatenate([fold.tested for fold in layouts[0]]), sum(map(len, layouts)), 0
    tested.sort()
    for seed, folds in enumerate(layouts):
        found: list[Any] = [()] * len(examples)
        shares: dict[float, list[Any]] = {}
        for fold in folds:
            _predict(vectors, examples, fold.learned, fold.tested, found)
            for share, part in _shares(examples, bearing, fold.learned, seed).items() if request.wants_curve else ():
                _predict(vectors, examples, part, fold.tested, shares.setdefault(share, [()] * len(examples)))
            done += 1
            if on_fold is not None:
                on_fold(FoldDone(seed, 0, done, total, False, 0.0))
        predicted.append([found[row] for row in tested])
        for share, marks in shares.items():
            grown.setdefault(share, []).append([marks[row] for row in tested])
    truth = [examples.spans[row] for row in tested]
    groups = None if (codes := together(examples.texts, examples.groups)) is None else codes[tested]
    curve, gain = _curve(grown, predicted, truth, groups, [len(fold.learned) for fold in layouts[0]])
    cut = [] if request.encoder == HASHING else remarks_on_cut(request.encoder_spec, list(map(text_of, examples.texts)))
    return SpanEvaluation(
        request=request,
        labels=examples.labels,
        f1=runs_interval(predicted, truth, groups=groups),
        by_label=tuple(_by_label(label, predicted[0], truth, groups) for label in examples.labels),
        kinds=kinds_of(predicted[0], truth),
        wrong=surest_wrong([examples.texts[row] for row in tested], predicted[0], truth),
        curve=curve,
        gain=gain,
        remarks=(*rows.all_remarks(), *cut),
        how=how,
        texts=len(tested),
        spans=sum(map(len, truth)),
        digest=rows.digest(),
        seconds=time.monotonic() - started,
    )


def _laid_out(request: Request) -> tuple[SpanExamples, MarkedRows, list[list[Fold]], str]:
    """All texts, and for each seed what is learned and tested."""
    columns, grouped = request.columns, request.columns.group is not None
    rows = read_marked(request.data, columns, request.reading)
    if request.fixed:
        names = request.parts or ("", "")
        other = (
            None if request.test is None else read_marked(request.test, replace(columns, split=None), request.reading)
        )
        parts = [rows, other] if other is not None else [rows.where([name], request.columns.split) for name in names]
        both = MarkedRows(rows.name, blank=rows.blank, unlabelled=rows.unlabelled)
        for column in ("texts", "spans", "groups", "splits", "faulty", "remarks"):
            setattr(both, column, [one for part in parts for one in getattr(part, column)])
        if other is None:
            both.faulty, both.remarks = rows.faulty, rows.remarks
        size = len(parts[0].texts)
        both.remarks = [*both.remarks, *_leaks(*parts)]
        fold = Fold(np.arange(size, len(both.texts)), np.arange(size))
        how = f"learned from {size:,} texts, tested on the rest"
        return both.examples(labels_in(both), grouped), both, [[fold]], how
    rows = rows.where(request.only, request.columns.split) if request.only else rows
    examples = rows.examples(labels_in(rows), grouped)
    codes = None if request.random_folds else together(examples.texts, examples.groups)
    check_folds(len(examples), request.folds, codes)
    layouts = []
    for seed in range(request.seeds):
        fold_of = assign_folds(examples.bears, request.folds, np.random.default_rng(seed), codes)
        layouts.append(
            [Fold(np.flatnonzero(fold_of == one), np.flatnonzero(fold_of != one)) for one in np.unique(fold_of)]
        )
    kind = "at random, groups and copies split" if request.random_folds else "groups and copies of a text kept whole"
    return examples, rows, layouts, f"{len(layouts[0])} folds, {kind}, {request.seeds} seeds"


def _leaks(learned: MarkedRows, tested: MarkedRows) -> list[str]:
    """Texts and groups that are on both sides."""
    known, groups = set(map(read_alike, learned.texts)), set(learned.groups) - {""}
    texts = sum(read_alike(text) in known for text in tested.texts)
    shared = sum(group in groups for group in tested.groups)
    size = f"of the {len(tested.texts):,} texts to test on are"
    found = [f"{texts:,} {size} also learned from: that flatters"] if texts else []
    return found + ([f"{shared:,} {size} of a group that is also learned from: this flatters"] if shared else [])


def _tokens(examples: SpanExamples, request: Request, on_step: ProgressReport | None) -> list[TokenVectors]:
    """A vector for every unit of every text; texts are encoded once and kept."""
    encoder = load_span_encoder(request.encoder_spec)
    cache, began = TokenCache.open(request.cache / "embeddings", encoder), time.monotonic()

    def told(done: int, total: int) -> None:
        if on_step is not None:
            on_step(TrainingProgress("embedding", done, total, seconds=time.monotonic() - began))

    return cache.tokens(cache.ensure(examples.texts, encoder, told)).texts()


def _predict(
    vectors: Sequence[TokenVectors], examples: SpanExamples, learned: Rows, tested: Rows, found: list[Any]
) -> None:
    """Put into ``found`` what a probe of ``learned`` marks in ``tested``."""
    spans = [longest_apart(examples.spans[row]) for row in learned]
    probe = SpanProbe.fit([vectors[row] for row in learned], spans, examples.labels)
    for row, one in zip(tested, probe.predict([vectors[row] for row in tested]), strict=True):
        found[row] = one.spans


def _shares(examples: SpanExamples, bearing: npt.NDArray[np.bool_], learned: Rows, seed: int) -> dict[float, Rows]:
    """Growing shares of ``learned`` below the whole, each within the next, labels spread evenly, groups whole."""
    part = examples.take(learned)
    codes = together(part.texts, part.groups)
    parts = min(PARTS, len(part) if codes is None else len(np.unique(codes)))
    part_of = assign_folds(bearing[learned], parts, np.random.default_rng([seed, len(learned)]), codes)
    found = {share: learned[part_of < max(1, round(share * parts))] for share in SHARES[:-1]}
    return {share: rows for share, rows in found.items() if len(rows) >= LEAST and bearing[rows].any()}


def _curve(
    grown: dict[float, list[SpanLists]],
    predicted: Sequence[SpanLists],
    truth: SpanLists,
    groups: Rows | None,
    learned: Sequence[int],
) -> tuple[tuple[SpanPoint, ...], Difference | None]:
    size = float(np.mean(learned))
    shares = sorted(grown)
    if not shares:
        return (), None
    points = [SpanPoint(round(share * size), runs_interval(grown[share], truth, groups=groups)) for share in shares]
    points.append(SpanPoint(round(size), runs_interval(predicted, truth, groups=groups)))
    before, after = ([span_counts(one, truth) for one in runs] for runs in (grown[shares[-1]], predicted))
    ones = np.ones((1, len(truth)))
    mean = float((micro_f1(after, ones) - micro_f1(before, ones))[0, 0])
    gains = resample(lambda drawn: micro_f1(after, drawn) - micro_f1(before, drawn), len(truth), groups=groups)[:, 0]
    low, high = percentiles(gains)
    known = gains[np.isfinite(gains)]
    return tuple(points), Difference(mean, low, high, float((known < 0).mean()) if len(known) else float("nan"))


def _by_label(label: str, predicted: SpanLists, truth: SpanLists, groups: Rows | None) -> SpanLabel:
    only = [[[span for span in spans if span.label == label] for spans in texts] for texts in (predicted, truth)]
    found, said, there = span_counts(*only).sum(axis=0)
    return SpanLabel(
        label,
        float(found / said) if said else float("nan"),
        float(found / there) if there else float("nan"),
        runs_interval([only[0]], only[1], groups=groups),
        int(there),
    )
