"""Training after training, tick by tick, with a trainer that takes no time: however one ends, the next one begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.models.card import JobKind
from nextlabel.backend.models.registry import CHOSEN_SPACE, ModelStore, choose_version
from nextlabel.backend.questions import question_of
from nextlabel.backend.retraining import model_switch
from nextlabel.backend.retraining.candidates import FILE, TrainingPlan, TrainingSetup, candidates
from nextlabel.backend.retraining.embedding_space import OWN, EmbeddingSpaces
from nextlabel.backend.retraining.retrainer import TUNED_AT, Retrainer
from nextlabel.backend.store import Store
from nextlabel.backend.training.jobs import JOB_FILE
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Labeling, LabelKind
from tests.backend.memory_loop import LABELS
from tests.backend.retraining.steps import LABELING, Loop, Process, Trainings, spaces_in

SPEC = TrainingSpec(rung="fine-tune", start_at=1000)
TICKS = 60


class Step:
    """The slow step of one process, and its loop. ``until`` ticks both until something holds."""

    def __init__(self, store: Store, folder: Path, spec: TrainingSpec, labeling: Labeling) -> None:
        self.spaces: EmbeddingSpaces = spaces_in(folder, labeling)
        self.loop = Loop(self.spaces(OWN))
        setup = TrainingSetup(
            "animals", question_of(labeling), EncoderSpec("hashing"), spec, folder / "training", folder / "models"
        )
        self.trainings = Trainings()
        self.tuner = Retrainer(store, self.loop, self.spaces, setup, self.trainings, Process)  # type: ignore[arg-type]
        self.store, self.models, self.work = store, ModelStore(folder / "models"), folder / "training"

    @property
    def status(self) -> dict[str, object]:
        return self.tuner.status()

    def tick(self) -> None:
        self.tuner.tick()
        self.loop.go()

    def until(self, condition: Callable[[], object]) -> None:
        for _ in range(TICKS):
            if condition():
                return
            self.tick()
        raise AssertionError(f"it never came: {self.status}")

    def train(self) -> str:
        """Ask for a training, and wait for its end, and for the loop to be where it should be; the verdict."""
        before = self.status["ended"]
        self.tuner.ask()
        self.until(lambda: self.status["ended"] != before)
        self.tick()
        self.until(lambda: "moving_to" not in self.status)
        return str(self.status["verdict"])


Begin = Callable[..., Step]


@pytest.fixture
def begin(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
    monkeypatch.setattr(model_switch, "RETRY_S", 0.0)
    monkeypatch.setattr(Process, "outcome", "made")
    monkeypatch.setattr(Process, "started", [])
    return lambda spec=SPEC, labeling=LABELING: Step(store, tmp_path, spec, labeling)


def test_the_tenth_training_runs_whatever_became_of_those_before(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    step = begin()
    assert step.train().startswith("fine-tune-1 goes live")
    assert step.train().startswith("fine-tune-2 goes live")
    step.trainings.live = False
    assert step.train().startswith("fine-tune-3 is kept, not used")
    assert step.loop.space.version == "fine-tune-2"
    monkeypatch.setattr(Process, "outcome", "fails")
    assert step.train() == "no candidate could be trained"
    assert (step.status["error"], step.status["made"]) == ("no space is left", False)
    monkeypatch.setattr(Process, "outcome", "runs")
    step.tuner.ask()
    step.until(lambda: "candidate" in step.status)
    assert step.tuner.cancel()
    step.until(lambda: step.status["ended"] == 5)
    assert (step.status["verdict"], step.status["made"]) == ("cancelled", False)
    monkeypatch.setattr(Process, "outcome", "made")
    assert step.train().startswith("fine-tune-4 is kept, not used")
    assert "error" not in step.status, "what was wrong with an earlier one is over"
    step.store.set_meta(CHOSEN_SPACE, OWN)  # as a rollback does
    step.until(lambda: step.loop.space.version == OWN)
    step.trainings.live = True
    step.trainings.broken = LearningError("predictions.safetensors can't be read")
    assert step.train() == "what was trained can't be read"
    step.trainings.broken = None
    assert step.train().startswith("fine-tune-5 goes live")
    choose_version(step.store, step.models, "fine-tune-4")
    step.until(lambda: step.loop.space.version == "fine-tune-4")
    assert step.train().startswith("fine-tune-6 goes live")
    assert step.status["ended"] == 9
    assert set(step.spaces._open) == {OWN, "fine-tune-6"}
    again = begin()  # after a restart
    again.loop.space = again.spaces("fine-tune-6")
    assert again.train().startswith("fine-tune-7 goes live")
    assert again.loop.space.version == "fine-tune-7"


def test_labels_that_grow_bring_one_training_after_the_other(begin: Begin, store: Store) -> None:
    step = begin(SPEC.model_copy(update={"start_at": 10, "growth": 0.5}))
    step.loop.labels = 0
    for number, labels in enumerate((10, 15, 23, 35), start=1):
        step.loop.label(labels - 1)
        for _ in range(5):
            step.tick()
        assert step.status["ended"] == number - 1
        step.loop.label(labels)

        def goes_live(version: str = f"fine-tune-{number}") -> bool:
            return step.loop.space.version == version

        step.until(goes_live)
        assert store.get_meta(TUNED_AT) == str(labels)


def test_what_train_says_is_true(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    step = begin()
    step.trainings.few = "two labels with 2 answers each are needed"
    with pytest.raises(LearningError, match="two labels"):
        step.tuner.ask()
    assert "asked" not in step.status
    step.trainings.few = ""
    step.tuner.ask()
    assert step.status.get("asked") == "the training starts within seconds"
    monkeypatch.setattr(Process, "outcome", "runs")
    step.tick()
    assert "asked" not in step.status
    assert step.status["labels"] == 40
    step.tuner.ask()
    assert step.status["asked"] == "a training runs already; another one starts when it has ended"
    monkeypatch.setattr(Process, "outcome", "made")

    def ends() -> bool:
        """It has, or it is told to."""
        if step.status["ended"] == 1 or not step.tuner._process:
            return True
        step.tuner._process.cancel()
        return False

    step.until(ends)
    step.until(lambda: step.status["ended"] == 2)
    assert "asked" not in step.status


def test_asked_for_during_a_move_it_says_so_and_follows(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    step = begin()
    step.tuner.ask()
    step.until(lambda: step.status["ended"] == 1)
    step.tuner.tick()  # the loop is told, and does not come to it yet
    step.tuner.ask()
    for _ in range(3):
        step.tuner.tick()
        assert step.status["moving_to"] == "fine-tune-1"
        assert step.status["asked"] == "the training starts once all records are encoded for fine-tune-1"
    step.loop.go()
    step.until(lambda: step.status["ended"] == 2)


def test_answers_that_were_taken_back_end_the_waiting(begin: Begin) -> None:
    step = begin()
    step.tuner.ask()
    step.trainings.few = "two labels with 2 answers each are needed"
    step.tick()
    assert "asked" not in step.status
    assert "did not start: two labels with 2 answers" in str(step.status["error"])
    step.trainings.few = ""
    step.loop.label(41)
    step.tick()
    assert step.status["ended"] == 0, "it would start when nobody expects it any more"


def test_cancel_forgets_what_has_not_begun(begin: Begin) -> None:
    step = begin()
    step.tuner.ask()
    assert step.tuner.cancel()
    step.tick()
    assert step.status["ended"] == 0
    assert not Process.started
    assert not step.tuner.cancel()


def interrupted(begin: Begin, monkeypatch: pytest.MonkeyPatch, labeling: Labeling = LABELING) -> Step:
    """The service was stopped during a training."""
    monkeypatch.setattr(Process, "outcome", "runs")
    step = begin(labeling=labeling)
    step.tuner.ask()
    step.until(lambda: step.tuner._process is not None)
    step.tuner.stop()
    monkeypatch.setattr(Process, "outcome", "made")
    return step


def test_an_interrupted_training_for_the_same_labels_goes_on(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = TrainingPlan.read(interrupted(begin, monkeypatch).work)
    step = begin()
    step.loop.label(50)
    step.tick()
    assert plan is not None
    assert step.tuner._plan == plan
    step.until(lambda: step.status["ended"] == 1)


@pytest.mark.parametrize(
    "labeling",
    [
        Labeling(LabelKind.SINGLE, LABELS[::-1]),
        Labeling(LabelKind.SINGLE, (*LABELS, "moss")),
        Labeling(LabelKind.SINGLE, LABELS[1:]),
        Labeling(LabelKind.MULTI, LABELS),
    ],
    ids=["reordered", "added", "removed", "multi"],
)
def test_an_interrupted_training_for_other_labels_is_begun_anew(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, labeling: Labeling, capsys: pytest.CaptureFixture[str]
) -> None:
    old = interrupted(begin, monkeypatch)
    assert (old.work / "candidate-0").is_dir()
    step = begin(labeling=labeling)
    step.loop.labels = 0
    step.trainings.few = "the answers are not read yet"
    step.tick()
    step.tick()
    assert capsys.readouterr().out.count("a training that was interrupted is begun anew") == 1
    step.trainings.few = ""
    step.loop.label(50)
    step.tick()
    assert step.tuner._plan is not None
    assert (step.tuner._plan.labels, step.tuner._plan.names) == (50, labeling.labels)
    assert step.tuner._plan.is_for(labeling)
    step.until(lambda: step.status["ended"] == 1)
    assert step.train().startswith("fine-tune-2")


@pytest.mark.parametrize(
    "damage", ["not json", '{"log_seq": 1, "labels": 2, "held_out": [], "audit": [], "candidates": []}']
)
def test_a_plan_that_cannot_be_read_or_is_from_before_is_begun_anew(begin: Begin, damage: str) -> None:
    step = begin()
    step.work.mkdir()
    (step.work / FILE).write_text(damage)
    step.until(lambda: step.status["ended"] == 1)
    assert str(step.status["verdict"]).startswith("fine-tune-1 goes live")


@pytest.mark.parametrize("written", ['{"format": "nextlabel-training-2"}', "torn"])
def test_a_job_of_another_version_is_begun_anew(begin: Begin, monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    """An upgrade in the middle of a training: the plan counts, and what is left of the job goes."""
    folder = interrupted(begin, monkeypatch).work / "candidate-0"
    (folder / JOB_FILE).write_text(written)
    (folder / "scratch").mkdir()
    monkeypatch.setattr(Process, "outcome", "runs")
    step = begin()
    step.until(lambda: step.tuner._process is not None)
    assert (folder / JOB_FILE).read_text() == '{"job": "texts"}'
    assert not (folder / "scratch").exists()
    monkeypatch.setattr(Process, "outcome", "made")
    step.tuner.stand_by()  # what runs here never ends
    step.until(lambda: step.status["ended"] == 1)
    assert str(step.status["verdict"]).startswith("fine-tune-1 goes live")


def test_a_replica_that_leads_no_more_lets_go_and_takes_up_again(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Process, "outcome", "runs")
    step = begin()
    step.tuner.ask()
    step.until(lambda: step.tuner._process is not None)
    process = step.tuner._process
    step.tuner.stand_by()
    assert process is not None
    assert process.poll() == "failed"
    assert "labels" not in step.status
    monkeypatch.setattr(Process, "outcome", "made")
    step.until(lambda: step.status["ended"] == 1)
    assert len(Process.started) == 2, "the same training went on"
    step.tuner.stand_by()
    assert step.train().startswith("fine-tune-2 goes live")


def test_names_of_models_tell_rungs_of_another_kind_apart() -> None:
    """A project that turned from whole texts to spans does not train a classifier of texts on."""
    rungs: tuple[JobKind, ...] = ("few-shot", "fine-tune")
    assert [one.start for one in candidates(rungs, "fine-tune", "spans-1")] == [""]
    assert [one.start for one in candidates(rungs, "fine-tune", "fine-tune-1")] == ["", "fine-tune-1"]
