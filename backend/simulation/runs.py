"""All strategies with all seeds, several at a time; what is finished stays finished, whenever the run is killed."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, is_dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

from nextlabel.backend.blas import one_blas_thread
from nextlabel.backend.files import write_atomically
from nextlabel.backend.selection import get_strategy
from nextlabel.connectors.errors import ConfigError, LearningError

from .data import Material
from .replay import FULL, Curve, Plan, deal, replay

RANDOM = "random"


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
    def of(cls, root: Path, material: Material, plan: Plan) -> Curves:
        """The folder for them under ``root``."""
        from importlib.metadata import version

        told = json.dumps([version("nextlabel"), material.digest, plan.to_json()])
        return cls(root / hashlib.sha256(told.encode()).hexdigest()[:24])

    def path(self, strategy: str, seed: int) -> Path:
        """Where a curve is, or will be: another place once a strategy's defaults have changed."""
        safe = re.sub(r"[^\w.-]", "_", strategy)
        chooser = None if strategy == FULL else get_strategy(strategy)
        told = repr(chooser) if is_dataclass(chooser) else strategy
        return self.folder / f"{safe}-{hashlib.sha256(told.encode()).hexdigest()[:6]}-{seed}.json"

    def find(self, strategy: str, seed: int) -> Curve | None:
        """A finished curve, None if there is none or it can't be read."""
        try:
            return Curve.from_json(self.path(strategy, seed).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def keep(self, curve: Curve) -> None:
        """Write it, whole or not at all."""
        write_atomically(self.path(curve.strategy, curve.seed), curve.to_json().encode())


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
) -> Runs:
    """Replay every strategy, and random, with seeds 0 to ``seeds`` - 1, ``jobs`` at a time.

    Finished curves are kept under ``folder`` and taken from there, unless ``fresh``. With several jobs, each is a
    process of its own with one BLAS thread, and the vectors are mapped from a file that all share. Raises ConfigError
    (unknown strategy, budget larger than the pool, no seed), LearningError if a process was killed.
    """
    names = list(dict.fromkeys([*strategies, RANDOM]))
    for name in names:
        get_strategy(name)
    if seeds < 1:
        raise ConfigError(f"seeds is {seeds}; 1 is the least, and intervals take 2 or more")
    for seed in range(seeds):
        deal(material, plan, seed)  # complains now, not after an hour in another process
    kept = Curves.of(folder, material, plan)
    wanted = [(name, seed) for name in (FULL, *names) for seed in range(seeds)]
    found = {} if fresh else {one: curve for one in wanted if (curve := kept.find(*one)) is not None}
    left = [one for one in wanted if one not in found]
    if report is not None:
        report(Finished(len(found), len(wanted), True))

    def finished(curve: Curve) -> None:
        found[curve.strategy, curve.seed] = curve
        if report is not None:
            report(Finished(len(found), len(wanted), False))

    if jobs < 2 or len(left) < 2:
        with one_blas_thread():  # more of them wait for each other as soon as anything else runs here
            for name, seed in left:
                curve = replay(material, plan, name, seed)
                kept.keep(curve)
                finished(curve)
    else:
        _spread(material, plan, left, kept, min(jobs, len(left)), finished)
    curves = {name: [found[name, seed] for seed in range(seeds)] for name in names}
    return Runs(curves, [found[FULL, seed].scores[-1] for seed in range(seeds)])


def _spread(
    material: Material,
    plan: Plan,
    tasks: Sequence[tuple[str, int]],
    kept: Curves,
    jobs: int,
    finished: Callable[[Curve], None],
) -> None:
    """The tasks in ``jobs`` processes. Interrupted, the processes end after their round, and nothing is lost."""
    place = kept.folder / "material"
    material.save(place)
    spawn = multiprocessing.get_context("spawn")
    stop = spawn.Event()
    workers = ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_begin, initargs=(place, plan, kept, stop))
    try:
        for future in as_completed([workers.submit(_work, *task) for task in tasks]):
            finished(future.result())
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


class _Worker:
    """What a process of the simulation holds."""

    material: Material
    plan: Plan
    kept: Curves
    stop: Event


def _begin(place: Path, plan: Plan, kept: Curves, stop: Event) -> None:
    """Set up a process: one BLAS thread, Ctrl-C left to the parent, no life without it."""
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threadpool_limits(1)
    _Worker.material, _Worker.plan, _Worker.kept, _Worker.stop = Material.load(place), plan, kept, stop


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(strategy: str, seed: int) -> Curve:
    curve = replay(_Worker.material, _Worker.plan, strategy, seed, _Worker.stop.is_set)
    _Worker.kept.keep(curve)
    return curve
