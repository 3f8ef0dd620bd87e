"""All strategies with all seeds, several at a time; what is finished stays finished, whenever the run is killed."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from functools import partial
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from queue import Empty

from nextlabel.backend.blas import one_blas_thread
from nextlabel.backend.files import write_atomically
from nextlabel.connectors.errors import ConfigError, LearningError

from .arms import FULL, RANDOM, Arm
from .data import Material
from .plan import Plan
from .replay import Curve, Project, deal, replay, stay
from .retraining import Retraining, Step

LOOK_S = 0.5
"""Seconds between two looks at what processes tell."""
Told = Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class Runs:
    """The curves of every strategy, a curve per seed in the order of the seeds, and what all labels give, by seed."""

    curves: dict[str, list[Curve]]
    full: list[float]

    @property
    def cpu_seconds(self) -> float:
        """What the curves have cost, those of earlier runs included."""
        return sum(curve.seconds for curves in self.curves.values() for curve in curves)


@dataclass(frozen=True, slots=True)
class Finished:
    """One curve is there: ``done`` of ``total``; ``kept`` if an earlier run has left it."""

    done: int
    total: int
    kept: bool


@dataclass(frozen=True, slots=True)
class Curves:
    """Finished curves under ``folder``, which belongs to one material and one plan."""

    folder: Path

    @classmethod
    def of(cls, root: Path, material: Material, plan: Plan, retraining: Retraining | None = None) -> Curves:
        """The folder for them under ``root``."""
        from importlib.metadata import version

        trained = [] if retraining is None else retraining.told()
        told = json.dumps([version("nextlabel"), material.digest, plan.to_json(), *trained])
        return cls(root / hashlib.sha256(told.encode()).hexdigest()[:24])

    def path(self, strategy: str, seed: int) -> Path:
        """Where a curve is, or will be: another place once a strategy's defaults have changed."""
        safe, arm = re.sub(r"[^\w.-]", "_", strategy), Arm.parse(strategy)
        chooser = None if arm.strategy == FULL else arm.chooser()
        told = f"{chooser!r} {strategy}" if is_dataclass(chooser) else strategy
        return self.folder / f"{safe}-{hashlib.sha256(told.encode()).hexdigest()[:6]}-{seed}.json"

    def find(self, strategy: str, seed: int) -> Curve | None:
        """A finished curve, None if there is none or it can't be read."""
        try:
            return Curve.from_json(self.path(strategy, seed).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def keep(self, curve: Curve) -> None:
        """Write it, whole or not at all; what its trainings left is not needed any more."""
        write_atomically(self.path(curve.strategy, curve.seed), curve.to_json().encode())
        shutil.rmtree(self.trainings(curve.strategy, curve.seed), ignore_errors=True)

    def trainings(self, strategy: str, seed: int) -> Path:
        """Where a replay keeps what its trainings came to, until its curve is finished."""
        return self.path(strategy, seed).with_suffix(".trainings")


@dataclass(frozen=True, slots=True)
class Tasks:
    """What every replay of a run has in common."""

    material: Material
    plan: Plan
    kept: Curves
    retraining: Retraining | None = None
    project: type[Project] = Project

    def replay(
        self, strategy: str, seed: int, stopped: Callable[[], bool] = lambda: False, told: Told = lambda step: None
    ) -> Curve:
        """One curve, which is kept."""
        retrain = stay
        if self.retraining is not None:
            place = self.kept.trainings(strategy, seed)
            retrain = self.retraining.of(strategy, seed, place, stopped, told)
        curve = replay(self.material, self.plan, strategy, seed, stopped, retrain, self.project)
        self.kept.keep(curve)
        return curve


def run(
    material: Material,
    plan: Plan,
    strategies: Sequence[str],
    seeds: int,
    folder: Path,
    *,
    jobs: int = 1,
    fresh: bool = False,
    report: Callable[[Finished], None] | None = None,
    retraining: Retraining | None = None,
    told: Told = lambda step: None,
    project: type[Project] = Project,
) -> Runs:
    """Replay every strategy, and random, with seeds 0 to ``seeds`` - 1, ``jobs`` at a time.

    Finished curves are kept under ``folder`` and taken from there, unless ``fresh``. With several jobs, each is a
    process of its own with one BLAS thread, and the vectors are mapped from a file that all share. ``retraining``: what
    is trained of the encoder in each; ``told`` hears how far that is. ``project``: what learns in each.
    Raises ConfigError (unknown strategy, budget larger than the pool, no seed), LearningError if a process was killed
    or a training failed.
    """
    names = list(dict.fromkeys([*(Arm.parse(name).name for name in strategies), RANDOM]))
    if seeds < 1:
        raise ConfigError(f"seeds is {seeds}; 1 is the least, and intervals take 2 or more")
    for seed in range(seeds):
        deal(material, plan, seed)  # complains now, not after an hour in another process
    kept = Curves.of(folder, material, plan, retraining)
    tasks = Tasks(material, plan, kept, retraining, project)
    wanted = [(name, seed) for name in (FULL, *names) for seed in range(seeds)]
    found = {} if fresh else {one: curve for one in wanted if (curve := kept.find(*one)) is not None}
    left = [one for one in wanted if one not in found]
    if report is not None:
        report(Finished(len(found), len(wanted), True))

    def finished(curve: Curve) -> None:
        found[curve.strategy, curve.seed] = curve
        if report is not None:
            report(Finished(len(found), len(wanted), False))

    if fresh:
        for one in left:
            shutil.rmtree(kept.trainings(*one), ignore_errors=True)
    if jobs < 2 or len(left) < 2:
        with one_blas_thread():  # more of them wait for each other as soon as anything else runs here
            for name, seed in left:
                finished(tasks.replay(name, seed, told=told))
    else:
        _spread(tasks, left, min(jobs, len(left)), finished, told)
    curves = {name: [found[name, seed] for seed in range(seeds)] for name in names}
    return Runs(curves, [found[FULL, seed].scores[-1] for seed in range(seeds)])


def _spread(
    tasks: Tasks, left: Sequence[tuple[str, int]], jobs: int, finished: Callable[[Curve], None], told: Told
) -> None:
    """What is left in ``jobs`` processes. Interrupted, the processes end after their round, and nothing is lost."""
    place = tasks.kept.folder / "material"
    tasks.material.save(place)
    spawn = multiprocessing.get_context("spawn")
    stop, news = spawn.Event(), spawn.Queue()
    load = partial(type(tasks.material).load, place)
    shared = (load, tasks.plan, tasks.kept, tasks.retraining, tasks.project, stop, news)
    workers = ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_begin, initargs=shared)
    try:
        for curve in _as_finished([workers.submit(_work, *one) for one in left], news, told):
            finished(curve)
    except BrokenProcessPool:
        raise LearningError(
            "a process of the simulation was killed, mostly for lack of memory: run the same command again, it goes on "
            "where it was; with --jobs 1 it needs the least memory"
        ) from None
    finally:
        stop.set()
        workers.shutdown(wait=True, cancel_futures=True)
    for file in place.glob("*.npy"):
        file.unlink()


def _as_finished(waiting: Sequence[Future[Curve]], news: Queue[Step], told: Told) -> Iterator[Curve]:
    """The curves as they come; what processes tell in between goes to ``told``."""
    left = set(waiting)
    while left:
        done, left = wait(left, LOOK_S, FIRST_COMPLETED)
        with suppress(Empty):
            while True:
                told(news.get_nowait())
        for one in done:
            yield one.result()


class _Worker:
    """What a process of the simulation holds."""

    tasks: Tasks
    stop: Event
    news: Queue[Step]


def _begin(
    load: Callable[[], Material],
    plan: Plan,
    kept: Curves,
    retraining: Retraining | None,
    project: type[Project],
    stop: Event,
    news: Queue[Step],
) -> None:
    """Set up a process: one BLAS thread, Ctrl-C left to the parent, no life without it."""
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threadpool_limits(1)
    news.cancel_join_thread()  # what nobody reads any more holds up no end
    _Worker.tasks, _Worker.stop, _Worker.news = Tasks(load(), plan, kept, retraining, project), stop, news


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(strategy: str, seed: int) -> Curve:
    return _Worker.tasks.replay(strategy, seed, _Worker.stop.is_set, _Worker.news.put)
