"""The slow step: train the encoder in a process of its own, and use the result if it is not worse.

Level-triggered like the loop: the labels have grown enough since the last training, so there should be another one.
The plan and every candidate lie on disk, so that a service that was killed goes on where the training is. Nothing
here ever waits for the loop, and the loop never waits for this: a new model is announced through the store, and the
ModelSwitch brings the loop to it.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from nextlabel.backend.models.registry import CHOSEN_SPACE, SPACE_IN_USE, ModelStore
from nextlabel.backend.store import Store
from nextlabel.backend.training.jobs import JOB_FILE, MODEL, job_type
from nextlabel.backend.training.process import TrainingProcess
from nextlabel.connectors.content import Readable
from nextlabel.connectors.errors import LearningError

from .candidates import Answered, Labelled, Loop, Training, TrainingPlan, TrainingSetup
from .embedding_space import OWN, TRAINED_ON_FILE, EmbeddingSpaces, note_trained_on
from .model import KEPT_PROBES
from .model_switch import ModelSwitch

log = structlog.get_logger(__name__)

IDLE = 2.0
"""Seconds between two looks at whether the labels have grown enough."""
LONG = 60.0
"""Seconds between two looks of a service that ends."""
WATCH = 0.5
"""Seconds between two looks at a training that runs."""
KEPT_MODELS = 5
"""Trained models that stay on the disk, besides those in use."""
MOST_KILLS = 30
"""Times that a killed trainer is started again in one training: if memory is short, it will be killed every time."""
TUNED_AT = "tuned_at"
"""Where the store keeps how many labels the last training knew of, however it ended."""


class Retrainer:
    """The trainings of one project. ``tick`` belongs to one thread, everything else may be called from any."""

    def __init__(
        self,
        store: Store,
        loop: Loop,
        spaces: EmbeddingSpaces,
        setup: TrainingSetup,
        training: Training | None = None,
        process: type[TrainingProcess] = TrainingProcess,
    ) -> None:
        self._store, self._loop, self._setup, self._trainer = store, loop, setup, process
        self._training = training or Training(setup)
        self._plan: TrainingPlan | None = None
        self._process: TrainingProcess | None = None
        self._switch = ModelSwitch(store, loop, spaces, setup, setup.work.with_name("embedding"))
        self._asked = False
        self._cancelled = False
        self._stopped = False
        self._moving = False  # at the last tick: nothing is begun until the loop has moved
        self._left = False  # the plan on disk is for other labels, or can't be read, and that was told
        self._error = ""
        self._verdict = ""
        self._ended = 0
        self._made = True
        self._kills = 0
        self._looked = -1  # the pool's revision at the last look at whether a training is due
        self._lock = threading.Lock()  # around the process: who stops the service must find the one that runs
        self._telling = threading.Lock()  # around what status tells together: asked for, begun, ended

    # -- called from elsewhere ---------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Train now, however little the labels have grown; after the training that runs, or the move that goes on.

        Raises LearningError if nothing can be trained here.
        """
        if reason := self._setup.reason or self._training.too_few(self._loop.labelled()):
            raise LearningError(reason)
        with self._telling:
            self._asked = True

    def cancel(self) -> bool:
        """End the training that runs, and forget it until the labels have grown again; whether there was one.

        So is one that was asked for and has not begun. A model that was chosen and is not in use yet, because its
        records are being encoded, is not used then.
        """
        stays = self._switch.cancel()
        with self._telling:
            asked, self._asked = self._asked, False
            self._cancelled = self._plan is not None
            return self._cancelled or asked or stays

    def stop(self, grace_s: float = 10.0) -> None:
        """The service ends: the training is interrupted, and goes on at the next start. See TrainingProcess.cancel."""
        self._stopped = True
        self._switch.stop(grace_s)
        with self._lock:
            if self._process is not None:
                self._process.cancel(grace_s)

    def stand_by(self) -> None:
        """Another replica leads: what was begun here is interrupted, and goes on when this one leads again."""
        self._switch.stand_by()
        with self._lock:
            if self._process is not None:
                self._process.cancel()
            self._process = None
        with self._telling:
            self._plan, self._asked, self._cancelled, self._moving = None, False, False, False

    def status(self) -> dict[str, Any]:
        """What is trained just now, how many have ended since the start, and how the last one did.

        ``asked``: when the training that was asked for begins. ``made``: whether the last one made a model.
        """
        with self._telling:
            plan, asked = self._plan, self._asked
            process: TrainingProcess | None = self._process
            found: dict[str, Any] = {"ended": self._ended, "made": self._made}
        if asked:
            found["asked"] = self._begins(plan)
        if plan is not None:
            found |= {"labels": plan.labels}
            if (number := self._open(plan)) is not None:
                found["candidate"] = f"{plan.candidates[number].rung} ({number + 1} of {len(plan.candidates)})"
        if (target := self._switch.target) is not None:
            found["moving_to"] = target or self._setup.encoder.name
        process = process or self._switch.process
        if process is not None and process.poll() == "running":
            found["pid"] = process.pid
        progress = process.progress() if process is not None else None
        if progress is not None:
            found |= {"stage": progress.stage, "step": progress.step, "steps": progress.steps}
            found |= {"epoch": progress.epoch, "seconds": progress.seconds, "epochs": list(progress.history)}
        error = self._error or self._switch.error
        texts = {"verdict": self._verdict, "error": error, "unable": self._setup.reason}
        return found | {name: text for name, text in texts.items() if text}

    def _begins(self, plan: TrainingPlan | None) -> str:
        if plan is not None:
            return "a training runs already; another one starts when it has ended"
        if self._moving:
            model = self._switch.target or "the recipe's own encoder"
            return f"the training starts once all records are encoded for {model}"
        return "the training starts within seconds"

    # -- one thread's work -------------------------------------------------------------------------------------------

    def tick(self) -> float:
        """The next piece of work. Returns seconds to sleep."""
        self._moving = self._switch.tick()
        if self._setup.reason or self._stopped:
            return WATCH if self._moving else IDLE
        if self._cancelled:
            self._end("cancelled", made=False)
        if self._moving and self._process is None:
            return WATCH  # two at once would take turns on the same cores, and be judged against what is on its way out
        if self._plan is None:
            self._plan = self._kept_plan() or self._start_plan()
        if self._plan is None:
            return IDLE
        if self._process is None:
            return self._next(self._plan)
        return self._watch(self._plan, self._process)

    def _kept_plan(self) -> TrainingPlan | None:
        """The plan of a training that was interrupted. One for other labels is left, and a new one takes its place."""
        try:
            plan = TrainingPlan.read(self._setup.work)
            if plan is None or plan.is_for(self._setup.question.labeling):
                return plan
            reason = "it was for other labels, or in another order"
        except LearningError as error:
            reason = str(error)
        if not self._left:
            self._left = True
            log.warning("a training that was interrupted is begun anew", reason=reason)
        return None

    def _start_plan(self) -> TrainingPlan | None:
        """A plan if a training is due."""
        revision, wanted = self._loop.pool.revision, self._asked or self._left
        if revision == self._looked and not wanted:
            return None
        self._looked = revision  # read before the labels: what changes in between is looked at again
        labelled = self._loop.labelled()
        too_few = self._training.too_few(labelled)
        if self._asked and too_few:  # answers were taken back since
            self._forget_asking(too_few)
        if not (wanted or self._is_due(len(labelled.training))) or too_few:
            return None
        plan = TrainingPlan.of(labelled, self._setup, self._store.get_meta(CHOSEN_SPACE) or OWN)
        shutil.rmtree(self._setup.work, ignore_errors=True)
        self._setup.work.mkdir(parents=True)
        plan.write(self._setup.work)
        with self._telling:
            self._plan, self._asked, self._left, self._error = plan, False, False, ""
        log.info("training starts", labels=plan.labels, held_out=len(plan.held_out), candidates=len(plan.candidates))
        return plan

    def _forget_asking(self, reason: str) -> None:
        with self._telling:
            self._asked, self._error = False, f"the training that was asked for did not start: {reason}"
        log.warning("the training that was asked for does not start", reason=reason)

    def _is_due(self, labels: int) -> bool:
        before = int(self._store.get_meta(TUNED_AT) or 0)
        spec = self._setup.spec
        return labels >= max(spec.start_at, before * (1 + spec.growth))

    # -- candidates --------------------------------------------------------------------------------------------------

    def _folder(self, candidate: int) -> Path:
        return self._setup.work / f"candidate-{candidate}"

    def _is_done(self, candidate: int) -> bool:
        return (self._folder(candidate) / MODEL).is_dir()

    def _next(self, plan: TrainingPlan) -> float:
        """Start the first candidate that is not finished, or decide."""
        number = self._open(plan)
        if number is None:
            self._decide(plan)
            return 0.0
        with self._lock:
            if self._stopped:
                return LONG
            folder = self._folder(number)
            self._process = self._trainer.resume(folder) if self._begun(folder) else self._begin(plan, number)
        return WATCH

    def _begun(self, folder: Path) -> bool:
        """Whether there is a job to go on with. One of another version is begun anew."""
        if not (folder / JOB_FILE).is_file():
            return False
        try:
            job_type(folder)
        except LearningError as error:
            log.warning("a training that was interrupted is begun anew", reason=str(error))
            shutil.rmtree(folder, ignore_errors=True)
            return False
        return True

    def _open(self, plan: TrainingPlan) -> int | None:
        """The first candidate that is neither finished nor failed."""
        numbers = (number for number in range(len(plan.candidates)) if str(number) not in plan.failed)
        return next((number for number in numbers if not self._is_done(number)), None)

    def _begin(self, plan: TrainingPlan, number: int) -> TrainingProcess:
        labelled = self._loop.labelled()
        held_out = np.isin(labelled.training, plan.held_out)
        train = ~held_out & ~np.isin(labelled.training, plan.audit)
        candidate = plan.candidates[number]
        start = self._setup.models / candidate.start if candidate.start else None
        note_trained_on(self._folder(number), labelled.training[train], start)
        job = self._training.job(
            candidate,
            self._answered(labelled, train),
            self._answered(labelled, held_out),
            self._texts([*plan.held_out, *plan.audit]),
        )
        return self._trainer.start(self._folder(number), job)

    def _answered(self, labelled: Labelled, which: npt.NDArray[np.bool_]) -> Answered:
        return Answered(self._texts(labelled.training[which].tolist()), labelled.targets[which])

    def _texts(self, positions: Sequence[int]) -> list[Readable]:
        found = {item.position: item.record for item in self._store.at(list(positions))}
        return [self._setup.question.labeling.content(found[at]) for at in positions]

    def _watch(self, plan: TrainingPlan, process: TrainingProcess) -> float:
        state = process.poll()
        if state == "running" or self._stopped:
            return WATCH
        with self._lock:
            self._process = None
        number = self._open(plan)
        if process.killed and self._kills < MOST_KILLS:
            self._kills += 1
            log.warning("the trainer was killed, and is started again", reason=process.error)
        elif state == "failed" and number is not None:
            log.warning("training failed", candidate=plan.candidates[number], reason=process.error)
            self._error = process.error
            self._plan = plan.without(number, process.error)
            self._plan.write(self._setup.work)
        return 0.0

    # -- the decision ------------------------------------------------------------------------------------------------

    def _decide(self, plan: TrainingPlan) -> None:
        finished = [number for number in range(len(plan.candidates)) if self._is_done(number)]
        if not finished:
            self._end("no candidate could be trained", made=False)
            return
        labelled = self._loop.labelled()
        try:
            choice = self._training.choose(plan, {number: self._folder(number) for number in finished}, labelled)
            folder, candidate = self._folder(choice.candidate), plan.candidates[choice.candidate]
            card = self._training.card(folder, candidate, choice)
        except LearningError as error:
            self._error = str(error)
            self._end("what was trained can't be read", made=False)
            return
        if (lessons := folder / TRAINED_ON_FILE).exists():
            shutil.copyfile(lessons, folder / MODEL / TRAINED_ON_FILE)
        entry = ModelStore(self._setup.models).add(folder / MODEL, card)
        verdict = choice.verdict
        metrics = {"labels": plan.labels, **verdict.figures, "goes_live": verdict.goes_live, "reason": verdict.reason}
        self._store.add_model(entry.version, candidate.rung, plan.log_seq, metrics, str(entry.path))
        version = entry.version
        log.info("training ended", model=version, goes_live=verdict.goes_live, reason=verdict.reason)
        if verdict.goes_live:
            self._store.set_meta(CHOSEN_SPACE, version)
            self._error = ""
        self._prune()
        self._end(f"{version} {'goes live' if verdict.goes_live else 'is kept, not used'}: {verdict.reason}")

    def _prune(self) -> None:
        """Keep what is in use, what the kept probes stand on, and the newest."""
        stood_on = {row.base for row in self._store.models(KEPT_PROBES)}
        in_use = stood_on | {self._store.get_meta(name) or OWN for name in (CHOSEN_SPACE, SPACE_IN_USE)}
        if removed := ModelStore(self._setup.models).prune(KEPT_MODELS, in_use - {OWN}):
            log.info("old models removed", versions=removed)

    def _end(self, verdict: str, *, made: bool = True) -> None:
        with self._lock:
            if self._process is not None:
                self._process.cancel()
            self._process = None
        self._kills = 0
        if self._plan is not None:
            self._store.set_meta(TUNED_AT, str(self._plan.labels))
        shutil.rmtree(self._setup.work, ignore_errors=True)
        with self._telling:
            self._plan, self._cancelled = None, False
            self._verdict, self._made, self._ended = verdict, made, self._ended + 1
        log.info("training over", result=verdict)
