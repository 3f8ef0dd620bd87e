"""The demo's figures: what came in against what was submitted, true accuracy beside a random twin's, the picture.

The run and its twins in random order are replayed with the probe and the embeddings of the run itself. The demo knows
all the answers, so accuracy here is the true accuracy on every record that had no label at that moment.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from nextlabel.backend.activation import SOFTMAX
from nextlabel.backend.encoders.base import label_anchors
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.service.opening import audit_share, open_cache, open_encoder, open_store
from nextlabel.backend.settings import Settings
from nextlabel.backend.store import Store
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import AnnotationStatus

from .annotators import PLATFORMS, DemoOptions, noisy

if TYPE_CHECKING:
    from nextlabel.backend.stack import PlatformServer

Ints = npt.NDArray[np.int64]

TWINS = 5
"""Random twins whose mean is shown: one alone says little."""
STEP = 10


@dataclass(frozen=True, slots=True)
class Curve:
    """True accuracy on the unlabelled rest after ``labels`` labels."""

    labels: list[int]
    accuracy: list[float]


@dataclass(frozen=True, slots=True)
class Material:
    """What a replay needs: vectors float32 [n, d], truth int64 [n], anchors float32 [c, d], audit bool [n]."""

    vectors: npt.NDArray[np.float32]
    truth: Ints
    anchors: npt.NDArray[np.float32]
    audit: npt.NDArray[np.bool_]

    def accuracy(self, probe: Probe, but: Sequence[int] | Ints) -> float:
        """True accuracy of ``probe`` on every record ``but`` these rows."""
        rest = np.setdiff1d(np.arange(len(self.truth)), but)
        predicted = probe.predict_proba(self.vectors[rest]).argmax(axis=1)
        return float((predicted == self.truth[rest]).mean())

    def curve(self, order: Sequence[int], given: Sequence[int], steps: Sequence[int]) -> Curve:
        """Replay answers ``given`` (classes) to the records ``order`` (rows), measured after each of ``steps``."""
        accuracy = []
        probe: Probe | None = None
        for step in steps:
            rows, targets = np.array(order[:step], np.int64), np.array(given[:step], np.int64)
            trained = ~self.audit[rows]
            classes = len(self.anchors)
            probe = Probe.fit(self.vectors[rows[trained]], targets[trained], classes, anchors=self.anchors, warm=probe)
            accuracy.append(self.accuracy(probe, order[:step]))
        return Curve(list(steps), accuracy)

    def random_twin(
        self,
        labels: Sequence[str],
        error_rates: Sequence[float],
        audit_share: float,
        seed: Sequence[int],
        steps: Sequence[int],
    ) -> Curve:
        """As many labels, by the same annotators and with the same audit share, in random order."""
        rng = np.random.default_rng(seed)
        n, names = steps[-1], list(labels)
        order = rng.permutation(len(self.truth))[:n]
        audit = np.zeros(len(self.truth), np.bool_)
        audit[rng.choice(order, round(audit_share * n), replace=False)] = True
        given = [
            names.index(noisy(names[self.truth[row]], names, error_rates[i % len(error_rates)], rng))
            for i, row in enumerate(order)
        ]
        return replace(self, audit=audit).curve(order.tolist(), given, steps)


@dataclass(frozen=True, slots=True)
class Figures:
    """What the demo reports; the JSON keys are the field names. Times in seconds, accuracies in [0, 1].

    ``accuracy`` and ``random_accuracy`` are true ones, on every record not yet labelled; ``audit_accuracy`` is
    what a real team would see: estimated from the answered part of the audit slice, with its 95% interval.
    ``slice_accuracy``, not in the JSON, is the true value of what it estimates: the accuracy on a random record that
    was not learned from. It lies below ``accuracy``, since the hard records are labelled first and so leave the rest.
    """

    platform: str
    labels: int
    accuracy: float
    random_accuracy: float
    audit_accuracy: float
    audit_interval: tuple[float, float]
    latency_p50_s: float
    latency_p95_s: float
    events_lost: int
    events_doubled: int
    slice_accuracy: float = field(repr=False)
    curve: Curve = field(repr=False)
    twin: Curve = field(repr=False)
    seconds_total: float = 0.0
    seconds_own: float = 0.0

    def to_json(self) -> str:
        """One line, without what only the table and the picture show."""
        values = {key: value for key, value in asdict(self).items() if key not in ("slice_accuracy", "curve", "twin")}
        values["audit_interval"] = [round(end, 4) for end in self.audit_interval]
        return json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()})

    def show(self, console: Console) -> None:
        """Print the table."""
        table = Table(title=f"nextlabel on {self.platform}", show_header=False, title_justify="left")
        low, high = self.audit_interval
        for name, value in (
            ("labels taken in", str(self.labels)),
            ("accuracy on the audit slice", f"{self.audit_accuracy:.3f}  (95%: {low:.3f} to {high:.3f})"),
            ("true accuracy on the whole audit slice", f"{self.slice_accuracy:.3f}"),
            ("true accuracy on all records not yet labelled", f"{self.accuracy:.3f}"),
            (f"the same in random order (mean of {TWINS})", f"{self.random_accuracy:.3f}"),
            ("label to reordered queue, p50 / p95", f"{self.latency_p50_s:.2f} s / {self.latency_p95_s:.2f} s"),
            ("events lost / doubled", f"{self.events_lost} / {self.events_doubled}"),
            ("seconds, all / ours", f"{self.seconds_total:.0f} / {self.seconds_own:.0f}"),
        ):
            table.add_row(name, value)
        console.print(table)


def measure(options: DemoOptions, server: PlatformServer, status: Mapping[str, Any], progress: Progress) -> Figures:
    """Compute the figures of a finished run, save ``demo.json`` and ``learning-curve.png`` in the demo's home."""
    settings = Settings.load(home=options.home)
    store = open_store(options.recipe, settings)
    try:
        lost, doubled = compare(PLATFORMS[server.platform].exported(server, status["project"]["id"]), store)
        run = gather(options, settings, store)
        curve, twin = learning_curves(run, options, settings, progress)
        model = current_probe(store, run.labels)
        accuracy = run.material.accuracy(model, run.rows)
        slice_accuracy = run.material.accuracy(model, np.flatnonzero(~run.material.audit))
    finally:
        store.close()
    audit = status["audit"]
    figures = Figures(
        platform=server.platform,
        labels=len(run.rows),
        accuracy=accuracy,
        random_accuracy=twin.accuracy[-1],
        audit_accuracy=audit.get("accuracy", 0.0),
        audit_interval=(audit.get("low", 0.0), audit.get("high", 1.0)),
        latency_p50_s=status["label_to_queue_p50"],
        latency_p95_s=status["label_to_queue_p95"],
        events_lost=lost,
        events_doubled=doubled,
        slice_accuracy=slice_accuracy,
        curve=curve,
        twin=twin,
    )
    draw(figures, options.home / "learning-curve.png")
    return figures


def compare(platform: Mapping[str, str], store: Store) -> tuple[int, int]:
    """(lost, doubled): answers of the platform that our log lacks or has otherwise; answers that we count too often."""
    ours = [(one.id, one.value[0]) for one in store.answers() if one.status is AnnotationStatus.SUBMITTED]
    lost = sum((one, label) not in set(ours) for one, label in platform.items())
    times = Counter(one for one, _ in ours)
    doubled = sum(count - 1 for count in times.values()) + sum(one not in platform for one in times)
    return lost, doubled


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: the pool, and in order of time the rows that were labelled and the classes given."""

    material: Material
    rows: list[int]
    given: list[int]
    labels: tuple[str, ...]


def gather(options: DemoOptions, settings: Settings, store: Store) -> Run:
    """Collect what the run left behind. Copies of an earlier record are no part of the pool."""
    labeling, answers = options.recipe.labeling(), options.recipe.truth()
    encoder = open_encoder(options.recipe, settings)
    cache = open_cache(options.recipe, settings, encoder)
    pool = [item for item in store.records() if item.duplicate_of is None and not item.gone]
    index = {label: i for i, label in enumerate(labeling.labels)}
    material = Material(
        vectors=cache.take(cache.lookup([labeling.content(item.record) for item in pool])),
        truth=np.array([index[answers[item.record.uid]] for item in pool], np.int64),
        anchors=label_anchors(labeling, encoder),
        audit=np.array([item.audit for item in pool], np.bool_),
    )
    by_remote = {item.remote_id: row for row, item in enumerate(pool)}
    given = sorted(store.answers(), key=lambda one: one.updated_at)
    return Run(
        material,
        [by_remote[one.remote_id] for one in given],
        [index[str(one.value[0])] for one in given],
        labeling.labels,
    )


def current_probe(store: Store, labels: tuple[str, ...]) -> Probe:
    """The model in force, for single ``labels``. Raises LearningError if there is none."""
    row = store.current_model()
    probe = None if row is None else Probe.load(row.path).aligned(labels, SOFTMAX)
    if probe is None:
        raise LearningError("the run made no model")
    return probe


def learning_curves(run: Run, options: DemoOptions, settings: Settings, progress: Progress) -> tuple[Curve, Curve]:
    """True accuracy after every tenth label: of the run as it was, and of its twins in random order (mean)."""
    total = len(run.rows)
    steps = sorted({*range(STEP, total, STEP), total})
    bar = progress.add_task("Curves: the run and its random twins", total=1 + TWINS)
    curve = run.material.curve(run.rows, run.given, steps)
    progress.advance(bar)
    share = audit_share(options.recipe, settings)
    twins = []
    for twin in range(TWINS):
        seed = (options.seed, twin)
        twins.append(run.material.random_twin(run.labels, options.error_rates, share, seed, steps).accuracy)
        progress.advance(bar)
    return curve, Curve(steps, np.mean(twins, axis=0).tolist())


def draw(figures: Figures, path: Path) -> None:
    """The two learning curves as a picture."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    axes.plot(figures.curve.labels, figures.curve.accuracy, label="nextlabel's order", linewidth=2)
    axes.plot(figures.twin.labels, figures.twin.accuracy, label=f"random order (mean of {TWINS})", linestyle="--")
    axes.set_xlabel("labels taken in")
    axes.set_ylabel("true accuracy on the unlabelled rest")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
