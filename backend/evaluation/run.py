"""What ``nextlabel evaluate`` does: from a data file and what was asked to figures that can be believed."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.data.labelled import (
    LabelledColumns,
    LabelledRows,
    labels_of,
    read_labelled,
    remarks_on_folds,
    remarks_on_test,
    to_examples,
)
from nextlabel.backend.data.reading import NOTHING_SAID, ReadingOptions
from nextlabel.backend.encoders.base import EncoderOptions
from nextlabel.backend.encoders.head_names import HEADS, HeadSpec
from nextlabel.backend.encoders.load import content_of_encoder, remarks_on_cut
from nextlabel.backend.encoders.pictures import read_pictures
from nextlabel.backend.training.spec import ProgressReport, RungName, TrainingProgress, TrainingSpec
from nextlabel.connectors.errors import ConfigError

from .crossvalidation import Fit, FoldDone, HeldOut, cross_validate, hold_out
from .curve import LearningCurve, learn_on_shares, learning_curve
from .ladder import make_rung
from .rungs import TRAINED, Rung, check_head, check_images
from .summary import Summary, positive_of, summarise


@dataclass(frozen=True, slots=True)
class About:
    """What a page says beside the figures, all of it plain text: heading, line below, facts by name, what to know."""

    title: str
    subtitle: str
    facts: Mapping[str, str]
    remarks: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Request(EncoderOptions):
    """What to evaluate on what, and what reads it.

    ``parts`` are the values of the split column to learn from and to test on; ``only`` are values of it, and rows
    with none of them are not looked at. ``test`` is a file to test on, ``reading`` what was said about both files;
    ``fresh`` fits folds anew that are kept in the cache.
    ``curve`` asks for a learning curve, or not; None leaves it to the rung: the probe is cheap enough.
    ``positive``: of two labels, the one that average precision is told of; by default the rarer. ``head``: of another
    package, for a rung that trains a text encoder. Raises ConfigError for a curve of zero-shot, which learns nothing,
    for fusion without pictures, and for a head that is not installed or not trained.
    """

    data: str
    columns: LabelledColumns
    rung: RungName | Literal["auto"] = "probe"
    folds: int = 5
    seeds: int = 1
    random_folds: bool = False
    parts: tuple[str, str] | None = None
    only: tuple[str, ...] = ()
    test: str | None = None
    reading: ReadingOptions = NOTHING_SAID
    fresh: bool = False
    curve: bool | None = None
    positive: str | None = None
    head: HeadSpec | None = None

    def __post_init__(self) -> None:
        if self.curve and self.rung == "zero-shot":
            raise ConfigError("zero-shot learns from no label, so it has no learning curve; take probe or above")
        check_images(self.rung, self.columns.image)
        check_head(self.rung, self.encoder, "" if self.head is None else self.head.name)

    @property
    def fixed(self) -> bool:
        """Whether rows to test on are named, so that there are no folds."""
        return self.parts is not None or self.test is not None

    @property
    def wants_curve(self) -> bool:
        """Whether a learning curve is to be made."""
        return self.rung == "probe" if self.curve is None else self.curve

    @property
    def keep(self) -> Path | None:
        """Where finished fits are looked for and left; None for neither."""
        return None if self.fresh else self.cache / "folds"

    def fit(self, seed: int, on_step: ProgressReport | None) -> Fit:
        """What learns from examples, with ``seed`` for all that is random in it."""
        rung = self.rung_of(seed)
        return lambda train: rung.fit(train, on_step)

    def spec(self, seed: int) -> TrainingSpec:
        """How it is trained."""
        return TrainingSpec(rung=self.rung, seed=seed, **(self.head.keys if self.head is not None else {}))

    def rung_of(self, seed: int) -> Rung:
        """The rung that is asked for, with ``seed`` for all that is random in it."""
        return make_rung(
            self.rung,
            self.encoder,
            self.spec(seed),
            engine=self.engine,
            max_length=self.max_length,
            windows=self.windows,
            cache_dir=self.cache,
            images=self.images,
        )

    def name(self, seed: int) -> str:
        """All that makes a fit beside its examples; for a folder of a model, what is in it."""
        from importlib.metadata import version

        encoder = self.encoder_spec
        if self.rung in TRAINED:
            encoder = replace(encoder, engine="torch")
        content = content_of_encoder(encoder, self.cache)
        spec = self.spec(seed).model_dump(mode="json")
        head = [] if self.head is None else [HEADS.identity(self.head.name)]
        return json.dumps([version("nextlabel"), content, self.engine, self.max_length, self.windows, spec, *head])


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures, the predictions they come from, and what a reader has to know about them.

    ``curve`` is None where none was asked for, or where the texts are too few for a second point. ``learned``: what the
    models learned from, where other texts were tested on; None where each text is in all folds but one.
    """

    request: Request
    found: HeldOut
    summary: Summary
    curve: LearningCurve | None
    remarks: tuple[str, ...]
    how: str
    counts: dict[str, int]
    digest: str
    seconds: float
    learned: Examples | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values: the figures first, each of them with mean, low and high."""
        from importlib.metadata import version

        asked, figures = self.request, self.summary.to_json()
        headline = {key: figures.pop(key) for key in self.summary.headline}
        return {
            **headline,
            "rung": asked.rung,
            "chosen": self.chosen(),
            "encoder": asked.encoder,
            "head": None if asked.head is None else asked.head.keys,
            "folds": 1 if asked.fixed else _folds(asked, self.found.examples),
            "seeds": asked.seeds,
            "n": len(self.found.examples),
            "labels": list(self.found.examples.labels),
            **self.found.examples.activation.header,
            **self.counts,
            "random_folds": asked.random_folds,
            "remarks": list(self.remarks),
            "data": asked.data,
            "data_sha256": self.digest,
            "seconds": round(self.seconds, 2),
            "nextlabel": version("nextlabel"),
            "learning_curve": None if self.curve is None else self.curve.to_json(),
            "epochs": self.epochs(),
            **{("fold_scores" if key == "folds" else key): value for key, value in figures.items()},
        }

    def epochs(self) -> list[dict[str, Any]]:
        """What was measured after each epoch, by seed and fold; nothing where nothing is trained in epochs."""
        return [
            {"seed": run.seed, "fold": int(fold), **entry}
            for run in self.found.runs
            for fold, history in zip(np.unique(run.fold_of), run.histories, strict=False)
            for entry in history
        ]

    def chosen(self) -> dict[str, int]:
        """How many folds have a model of each rung."""
        return dict(Counter(one.rung for one in self.summary.folds if one.rung))

    @property
    def rung(self) -> str:
        """The rung asked for, and what it came to where the ladder chose."""
        asked, chosen = self.request.rung, self.chosen()
        if asked != "auto" or not chosen:
            return asked
        if len(chosen) == 1:
            return f"{asked}: {next(iter(chosen))}"
        return f"{asked}: " + ", ".join(
            f"{rung} in {count} of {sum(chosen.values())}" for rung, count in chosen.items()
        )

    def about(self) -> About:
        """What the page says beside the figures."""
        asked, examples = self.request, self.found.examples
        facts = {
            "Data": asked.data if asked.test is None else f"{asked.data}, tested on {asked.test}",
            "Columns": f"text {asked.columns.text!r}, label {asked.columns.label!r}"
            + (f", picture {asked.columns.image!r}" if asked.columns.image else "")
            + (f", group {asked.columns.group!r}" if asked.columns.group else "")
            + (f", only {' and '.join(asked.only)} in {asked.columns.split!r}" if asked.only else ""),
            "Evaluated on": f"{len(examples):,} texts, {len(examples.labels)} labels",
            "How": self.how,
            "Rung": self.rung,
            "Encoder": f"{asked.encoder} (engine {asked.engine}, {asked.max_length} tokens"
            + (f" a window, {asked.windows} windows)" if asked.windows > 1 else ")"),
            **({} if asked.head is None else {"Head": str(asked.head)}),
            "Data hash": f"sha256 {self.digest[:16]}…",
            "Versions": _versions(),
            "Time": f"{sum(run.seconds for run in self.found.runs):,.0f} s to fit and predict the folds",
        }
        return About(Path(asked.data).name, f"{asked.rung} · {asked.encoder}", facts, self.remarks)


def read_examples(request: Request, on_step: ProgressReport | None = None) -> tuple[Examples, LabelledRows]:
    """What is labelled in the data, and the rows that it was read from. Errors as in evaluate."""
    rows = _read(request.data, request.columns, request, on_step)
    rows = rows.where(request.only, request.columns.split) if request.only else rows
    return to_examples(rows, labels_of(rows), request.columns.group is not None), rows


def evaluate(
    request: Request,
    *,
    on_fold: Callable[[FoldDone], None] | None = None,
    on_step: ProgressReport | None = None,
) -> Evaluation:
    """Read the data, predict every text by a model that has not seen it, and work out the figures.

    Raises DataError, LearningError, ConfigError (a setting that can't be), MissingExtra.
    """
    request.rung_of(0)  # what can't be trained is said before pictures are read
    rows = _read(request.data, request.columns, request, on_step)
    grouped = request.columns.group is not None
    started = time.monotonic()
    if request.fixed:
        train, test = _parts(rows, request, on_step)
        found, examples = _held_out(train, test, request, on_fold, on_step)
        learned: Examples | None = examples
        remarks, how = (
            remarks_on_test(train, test, grouped),
            f"learned from {len(examples):,} texts, tested on the rest",
        )
        digest = rows.digest() if request.test is None else train.digest()[:32] + test.digest()[:32]
        shown = test
    else:
        rows = rows.where(request.only, request.columns.split) if request.only else rows
        examples = to_examples(rows, labels_of(rows), grouped)
        positive_of(examples, request.positive)  # what can't be is said before the work
        found, learned = _crossed(examples, request, on_fold, on_step), None
        remarks, how, digest, shown = (
            remarks_on_folds(rows, examples, request.folds, request.random_folds),
            _how(request, examples),
            rows.digest(),
            rows,
        )
    curve = None
    if request.wants_curve:
        grown = learn_on_shares(
            found,
            lambda seed: (request.fit(seed, on_step), request.name(seed)),
            train=learned,
            random_folds=request.random_folds,
            keep=request.keep,
            report=on_fold,
        )
        curve = learning_curve(grown)
        if curve is None:
            remarks.append("no learning curve: half of the texts would be too few to learn from")
    counts = {
        "groups": 0 if found.examples.groups is None else len(np.unique(found.examples.groups)),
        "copies": shown.copies(),
        "blank": rows.blank,
        "unlabelled": rows.unlabelled,
    }
    remarks = [*rows.left_out(), *remarks, *rows.remarks, *remarks_on_cut(request.encoder_spec, found.examples.texts)]
    seconds = time.monotonic() - started
    return Evaluation(
        request,
        found,
        summarise(found, request.positive),
        curve,
        tuple(remarks),
        how,
        counts,
        digest,
        seconds,
        learned,
    )


def _crossed(
    examples: Examples, request: Request, on_fold: Callable[[FoldDone], None] | None, on_step: ProgressReport | None
) -> HeldOut:
    """One cross-validation a seed, which makes the folds and seeds the training."""
    parts = []
    for seed in range(request.seeds):

        def told(one: FoldDone, before: int = seed) -> None:
            if on_fold is not None:
                total = one.total * request.seeds
                on_fold(replace(one, done=before * one.total + one.done, total=total))

        parts.append(
            cross_validate(
                examples,
                request.fit(seed, on_step),
                folds=request.folds,
                seeds=(seed,),
                random_folds=request.random_folds,
                keep=request.keep,
                name=request.name(seed),
                report=told,
            )
        )
    return replace(parts[0], runs=tuple(run for part in parts for run in part.runs))


def _held_out(
    train: LabelledRows,
    test: LabelledRows,
    request: Request,
    on_fold: Callable[[FoldDone], None] | None,
    on_step: ProgressReport | None,
) -> tuple[HeldOut, Examples]:
    """Predictions of the test set, one run per seed of the training, and the examples learned from."""
    several = train.several or test.several  # a file with lists of labels, and one without
    train, test = replace(train, several=several), replace(test, several=several)
    labels, grouped = labels_of(train, test), request.columns.group is not None
    among = [*train.groups, *test.groups]
    learned, tested = (to_examples(part, labels, grouped, among) for part in (train, test))
    positive_of(tested, request.positive)
    parts = []
    for seed in range(request.seeds):
        started = time.monotonic()
        parts.append(
            hold_out(
                learned,
                tested,
                request.fit(seed, on_step),
                keep=request.keep,
                name=request.name(seed),
                seed=seed,
            )
        )
        if on_fold is not None:
            seconds, history = time.monotonic() - started, parts[-1].runs[0].histories[0]
            on_fold(FoldDone(seed, 0, seed + 1, request.seeds, False, seconds, history=history))
    return replace(parts[0], runs=tuple(run for part in parts for run in part.runs)), learned


def _read(source: str, columns: LabelledColumns, request: Request, on_step: ProgressReport | None) -> LabelledRows:
    """The rows of ``source`` but for those whose picture can't be read; a remark says which."""
    rows, began = read_labelled(source, columns, request.reading), time.monotonic()

    def told(done: int, total: int) -> None:
        if on_step is not None:
            on_step(TrainingProgress("embedding", done, total, seconds=time.monotonic() - began))

    rows.texts, kept, remarks = read_pictures(rows.texts, request.encoder_spec, request.cache / "embeddings", told)
    return replace(rows.take(kept.tolist()), remarks=[*remarks, *rows.remarks]) if remarks else rows


def _parts(rows: LabelledRows, request: Request, on_step: ProgressReport | None) -> tuple[LabelledRows, LabelledRows]:
    """The rows to learn from and those to test on."""
    if request.test is not None:
        columns = replace(request.columns, split=None)
        return rows, _read(request.test, columns, request, on_step)
    names = request.parts or ("", "")
    train, test = (rows.where([name], request.columns.split) for name in names)
    return train, test


def _how(request: Request, examples: Examples) -> str:
    if request.random_folds:
        kind = "at random, groups and copies split"
    elif examples.groups is not None:
        kind = f"stratified, {len(np.unique(examples.groups)):,} groups of {request.columns.group!r} kept whole"
    else:
        kind = "stratified, copies of a text kept together"
    seeds = "" if request.seeds == 1 else f", mean of {request.seeds} seeds"
    return f"{_folds(request, examples)} folds, {kind}{seeds}"


def _folds(request: Request, examples: Examples) -> int:
    """How many folds there are: no more than there are rows, or groups to keep whole."""
    groups = None if request.random_folds else examples.together()
    return min(request.folds, len(examples) if groups is None else len(np.unique(groups)))


def _versions() -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("nextlabel", "numpy", "scikit-learn", "torch", "transformers", "onnxruntime"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
