"""What ``nextlabel simulate`` does: from a labelled file to curves, figures and a recommendation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from nextlabel.backend.data.examples import Examples
from nextlabel.backend.data.labelled import remarks_on_joined, to_examples
from nextlabel.backend.data.reading import NOTHING_SAID, ReadingOptions
from nextlabel.backend.encoders.base import EncoderOptions, label_anchors
from nextlabel.backend.encoders.cache import EmbeddingCache, Progress
from nextlabel.backend.encoders.load import load, remarks_on_cut
from nextlabel.backend.encoders.pictures import read_pictures
from nextlabel.backend.evaluation.rungs import check_head, check_images, no_such_rung, trained_rungs
from nextlabel.backend.intervals import Interval
from nextlabel.backend.numeric import plain
from nextlabel.backend.training.spec import TrainedRungName, TrainingSpec
from nextlabel.connectors.errors import ConfigError
from nextlabel.connectors.records import Labeling

from .arms import RANDOM, Arm
from .data import Answered, Asked, Material, read_answers, tested_rows
from .plan import Plan, Target
from .replay import deal
from .retraining import Retraining, Step
from .runs import Finished, Runs, run
from .statistics import Summary, summarise

DEFAULT = ("margin-diverse", "margin", "badge", "representative", RANDOM)
"""What is compared unless somebody says otherwise: what recipes use, and what differs from it."""
FEW_SEEDS = 5


@dataclass(frozen=True, slots=True)
class Price:
    """What a label costs: ``per_label`` in any currency, ``seconds`` of a person's time; None where nobody said."""

    per_label: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("cost per label", self.per_label), ("seconds per label", self.seconds)):
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"{name} is {value}; it must be a number above 0")

    def of(self, labels: Interval) -> dict[str, dict[str, float | None]]:
        """Money and hours for so many labels, each with mean, low and high."""
        rates = {"money": self.per_label, "hours": None if self.seconds is None else self.seconds / 3600}
        return {
            name: Interval(rate * labels.mean, rate * labels.low, rate * labels.high).to_json()
            for name, rate in rates.items()
            if rate is not None
        }


@dataclass(frozen=True, slots=True)
class Request(EncoderOptions):
    """What to replay on what, and what reads it.

    ``parts`` are the values of the split column: records to choose from, and to test on. Without them every seed
    draws its own test records. ``strategies`` are written as Arm.parse reads them. ``rung``: `probe`, or what is
    trained of the encoder as ``training`` says, in every replay. ``reading`` is what was said about the file.
    ``fresh`` replays curves anew that are kept in the cache. Raises ConfigError for a rung that the encoder does not
    have, and for fusion without images.
    """

    data: str
    asked: Asked
    strategies: tuple[str, ...] = DEFAULT
    plan: Plan = field(default_factory=Plan)
    seeds: int = FEW_SEEDS
    target: Target = field(default_factory=Target)
    price: Price = field(default_factory=Price)
    parts: tuple[str, str] | None = None
    reading: ReadingOptions = NOTHING_SAID
    jobs: int = 1
    fresh: bool = False
    rung: Literal["probe"] | TrainedRungName = "probe"
    training: TrainingSpec = field(default_factory=TrainingSpec)

    def __post_init__(self) -> None:
        check_images(self.rung, self.asked.columns.image)
        rungs = ("probe", *trained_rungs(self.encoder))
        if self.rung not in rungs:
            raise no_such_rung(self.rung, self.encoder, rungs)
        check_head(self.rung, self.encoder, self.training.head)


@dataclass(frozen=True, slots=True)
class Simulation:
    """Figures, the curves they come from, and what a reader has to know about them.

    ``counts``: ``pool`` and ``tested`` are how many records seed 0 chooses from and is tested on. ``learner`` and
    ``cold``, in words: what learns, and what it begins with where no label is given to start with.
    """

    request: Request
    labels: tuple[str, ...]
    summary: Summary
    runs: Runs
    remarks: tuple[str, ...]
    counts: dict[str, int]
    digest: str
    seconds: float
    learner: str = "the probe"
    cold: str = "a cold start from the labels' names"

    def to_json(self) -> dict[str, Any]:
        """Plain values: the strategies' figures first, each with mean, low and high."""
        from importlib.metadata import version

        asked, summary = self.request, self.summary
        price = asked.price
        return {
            "strategies": {
                name: {**one.to_json(), "cost_to_target": price.of(one.labels_to_target.interval)}
                for name, one in summary.strategies.items()
            },
            "recommended": summary.recommended,
            "why": summary.why,
            "beat_random": summary.better,
            "lose_to_random": summary.worse,
            "metric": asked.plan.metric,
            "target": {"asked": str(asked.target), **summary.target.to_json()},
            "full_data_score": summary.full.to_json(),
            **{key: value for key, value in asked.plan.to_json().items() if key != "metric"},
            "seeds": asked.seeds,
            "cost_of_budget": price.of(Interval(*[float(asked.plan.budget)] * 3)),
            "curves": {
                "labels": list(summary.labels),
                **{
                    name: {
                        "score": plain(one.curve),
                        "lead_over_random": plain(one.lead),
                    }
                    for name, one in summary.strategies.items()
                },
            },
            "runs": {name: [curve.scores for curve in curves] for name, curves in self.runs.curves.items()},
            "records": {name: [curve.records for curve in curves] for name, curves in self.runs.curves.items()},
            "labels": list(self.labels),
            **self.counts,
            "remarks": list(self.remarks),
            "encoder": asked.encoder,
            "rung": asked.rung,
            "data": asked.data,
            "data_sha256": self.digest,
            "cpu_seconds": round(self.runs.cpu_seconds, 2),
            "seconds": round(self.seconds, 2),
            "nextlabel": version("nextlabel"),
        }


def simulate(
    request: Request,
    *,
    on_text: Progress | None = None,
    on_curve: Callable[[Finished], None] | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Simulation:
    """Read the data, embed it once, replay every strategy with every seed, and work out the figures.

    ``on_text`` is told of texts embedded, ``on_curve`` of curves finished, ``on_step`` of trainings. Raises DataError,
    ConfigError (a setting that can't be), LearningError, SelectionError, MissingExtra.
    """
    for name in request.strategies:
        Arm.parse(name)
    started = time.monotonic()
    found = read_answers(request.data, request.asked, request.reading)
    if request.parts is not None:
        found = found.where(request.parts, request.asked.columns.split)
    texts, seen, unread = read_pictures(found.rows.texts, request.encoder_spec, request.cache / "embeddings", on_text)
    found.rows.texts = texts
    found = found.take(seen.tolist()) if unread else found
    labels = found.labels()
    examples = to_examples(found.rows, labels, request.asked.columns.group is not None)
    material = _material(request, examples, found, on_text)
    first = deal(material, request.plan, 0)
    runs = run(
        material,
        request.plan,
        request.strategies,
        request.seeds,
        request.cache / "simulate",
        jobs=request.jobs,
        fresh=request.fresh,
        report=on_curve,
        retraining=_retraining(request, examples),
        told=on_step,
    )
    counts = {
        "n": len(material),
        "pool": len(first.pool),
        "tested": len(first.test),
        "groups": 0 if examples.groups is None else len(np.unique(examples.groups)),
        "copies": found.rows.copies(),
        "blank": found.rows.blank,
        "unlabelled": found.rows.unlabelled,
        "answers": sum(map(len, found.votes)) or len(found.rows.texts),
        "most_answers": material.answers.shape[1] if found.votes else 1,
        "disagreements": found.disagreements(),
        "tied": found.tied,
    }
    remarks = [*unread, *_remarks(request, found, counts, material, examples)]
    return Simulation(
        request,
        labels,
        summarise(runs, request.target),
        runs,
        tuple(remarks),
        counts,
        found.rows.digest(),
        time.monotonic() - started,
    )


def _material(
    request: Request,
    examples: Examples,
    found: Answered,
    on_text: Progress | None,
) -> Material:
    """The records as vectors."""
    encoder = load(request.encoder_spec)
    cache = EmbeddingCache.open(request.cache / "embeddings", encoder)
    rows = cache.ensure(examples.texts, encoder, on_text)
    vectors = cache.matrix[rows]
    anchors = label_anchors(Labeling(examples.activation.kind, examples.labels), encoder)
    answers = found.answers(examples.labels) if found.votes else examples.targets[:, None]
    people = found.people() if found.votes else None
    tested = tested_rows(found.rows.splits, request.parts)
    return Material(vectors, anchors, examples.targets, answers, examples.together(), tested, people)


def _retraining(request: Request, examples: Examples) -> Retraining | None:
    """What is trained in every replay, if anything."""
    if request.rung == "probe":
        return None
    labeling = Labeling(examples.activation.kind, examples.labels)
    how = (request.encoder_spec, request.training, request.rung)
    return Retraining(examples.texts, labeling, *how, groups=examples.together())


def _remarks(
    request: Request, found: Answered, counts: dict[str, int], material: Material, examples: Examples
) -> list[str]:
    """What flatters, what is missing, and what the figures can't say."""
    remarks = found.rows.left_out()
    if not request.parts:
        remarks += remarks_on_joined(examples)
    if counts["copies"] and request.asked.columns.group is None and request.parts is None:
        remarks.append(f"{counts['copies']:,} rows repeat the text of another; copies are never split by a test")
    if found.tied:
        remarks.append(
            f"{found.tied:,} records have no majority among their answers; the answer rarer in all was taken for right"
        )
    remarks += remarks_on_chance(request, material)
    return [*remarks, *found.rows.remarks, *remarks_on_cut(request.encoder_spec, examples.texts)]


def remarks_on_chance(request: Request, material: Material) -> list[str]:
    """Seeds that are few, and what stands on both sides of a split that was given."""
    remarks = []
    if request.seeds < 2:
        remarks.append("one seed gives no intervals: nothing can be shown with it")
    elif request.seeds < FEW_SEEDS:
        remarks.append(f"{request.seeds} seeds give wide intervals; 5 or more are usual")
    if material.tested is not None and material.groups is not None:
        learned = set(material.groups[~material.tested].tolist())
        if shared := sum(group in learned for group in material.groups[material.tested].tolist()):
            what = "of a group that" if request.asked.columns.group else "copies of a text that"
            remarks.append(f"{shared:,} of the records to test on are {what} is also chosen from: this flatters")
    return remarks
