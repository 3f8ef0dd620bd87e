"""The worker: killed at any moment it goes on, and nothing half-done is ever taken for a model."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.encoders.model_folder import ModelFolder, read_folder
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.training import process as training_process
from nextlabel.backend.training.jobs import TrainingJob
from nextlabel.backend.training.process import TrainingProcess
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.connectors.errors import LearningError, StoreError
from tests.backend.training.conftest import made_up
from tests.waiting import wait_for

PATIENCE_S = 240.0  # a busy machine


def make_job(tiny: ModelFolder, tmp_path: Path, **changes: Any) -> TrainingJob:
    options: dict[str, Any] = {
        "held_out": made_up(30, 1),
        "predict": ["aa bb", "zz", ""],
        "checkpoint_seconds": 0.0,
    }
    spec = changes.pop("spec", TrainingSpec(epochs=3, patience=0, learning_rate=1e-3, head_learning_rate=1e-2))
    name, cache = changes.pop("encoder", str(tiny.path)), tmp_path / "cache"
    read_folder(tiny.path, cache=cache)  # here, where the libraries are loaded, and not in each worker
    encoder = EncoderSpec(name, changes.pop("engine", "torch"), cache_dir=cache)
    return TrainingJob(kind="fine-tune", encoder=encoder, examples=made_up(60), spec=spec, **(options | changes))


def wait(what: Callable[[TrainingProcess], bool], process: TrainingProcess) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what(process):
        assert time.monotonic() < deadline, process.progress()
        time.sleep(0.02)


def finish(process: TrainingProcess) -> None:
    wait(ended, process)
    assert process.poll() == "done", process.error


def begun(process: TrainingProcess) -> bool:
    """Whether it trains (or has ended, which the test will notice)."""
    told = process.progress()
    return process.poll() != "running" or (told is not None and told.stage != "tokenising")


def ended(process: TrainingProcess) -> bool:
    return process.poll() != "running"


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_killed_at_any_moment_it_goes_on_and_ends_whole(tiny: ModelFolder, tmp_path: Path) -> None:
    job, work = (
        make_job(tiny, tmp_path, spec=TrainingSpec(epochs=60, patience=0)),  # not through before it is killed
        tmp_path / "work",
    )
    rng, steps = np.random.default_rng(0), []
    process = TrainingProcess.start(work, job)
    for _ in range(2):
        wait(begun, process)
        time.sleep(float(rng.uniform(0, 0.6)))
        told = process.progress()
        steps.append(0 if told is None else told.step)
        if process.pid is not None and process.poll() == "running":
            os.killpg(process.pid, signal.SIGKILL)
            wait(ended, process)
            assert not process.model.exists()
            assert process.poll() == "failed"
            assert "SIGKILL" in process.error
        process = TrainingProcess.resume(work)
    finish(process)
    training = json.loads((process.model / "training.json").read_text())
    assert [entry["epoch"] for entry in training["history"]] == list(range(1, 61)), steps
    encoder = load_encoder(str(process.model), "torch", cache_dir=tmp_path / "cache")
    from safetensors.numpy import load_file

    expected = Probe.load(process.model / "head.safetensors").predict_proba(encoder.encode(list(job.predict)))
    np.testing.assert_allclose(load_file(process.predictions)["probabilities"], expected, atol=2e-3)
    assert not (work / "scratch").exists()
    assert TrainingProcess.resume(work).poll() == "done"


def test_while_one_trains_a_second_is_refused_and_cancelling_ends_it_soon(
    tiny: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = TrainingSpec(epochs=100_000, patience=0)
    process = TrainingProcess.start(tmp_path / "work", make_job(tiny, tmp_path, spec=spec, checkpoint_seconds=1e9))
    monkeypatch.setattr(training_process, "LOCK_WAIT_S", 0.5)
    with pytest.raises(LearningError, match="another process is training"):
        TrainingProcess.resume(tmp_path / "work")
    wait(begun, process)
    started = time.monotonic()
    process.cancel(grace_s=60)
    assert time.monotonic() - started < 30
    assert (process.poll(), process.error) == ("failed", "the training was cancelled")
    assert "stopped before its end" in (tmp_path / "work" / "error.txt").read_text()
    assert not process.model.exists()
    process.cancel()  # again, and nothing happens


def test_a_worker_ends_with_its_parent(tiny: ModelFolder, tmp_path: Path) -> None:
    make_job(tiny, tmp_path, spec=TrainingSpec(epochs=100_000)).save(tmp_path / "work")
    code = (
        "import sys, time; from pathlib import Path\n"
        "from nextlabel.backend.training.process import TrainingProcess\n"
        "print(TrainingProcess.resume(Path(sys.argv[1])).pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "work")], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not gone(pid)
        parent.kill()
    wait_for(lambda: gone(pid))


def test_a_job_that_cannot_be_done_says_why(tiny: ModelFolder, tmp_path: Path) -> None:
    process = TrainingProcess.start(tmp_path / "work", make_job(tiny, tmp_path, encoder="./no/such/model"))
    wait(ended, process)
    assert process.poll() == "failed"
    assert "there is no such folder" in process.error


def test_a_worker_that_crashes_leaves_the_end_of_its_log(tiny: ModelFolder, tmp_path: Path) -> None:
    make_job(tiny, tmp_path).save(tmp_path / "work")
    process = TrainingProcess.resume(tmp_path / "work")
    os.kill(process.pid or 0, signal.SIGSEGV)
    wait(ended, process)
    assert "SIGSEGV" in process.error
    assert str(tmp_path / "work" / "worker.log") in process.error


def test_a_full_disk_is_named(tiny: ModelFolder, tmp_path: Path) -> None:
    process = TrainingProcess.start(tmp_path / "work", make_job(tiny, tmp_path))
    assert process.pid is not None
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))  # less than a checkpoint takes
    wait(ended, process)
    assert process.poll() == "failed"
    assert "no space is left" in process.error
    assert not process.model.exists()
    again = TrainingProcess.resume(tmp_path / "work")  # there is space again
    finish(again)


def test_a_folder_that_cannot_be_written_to_is_named(tiny: ModelFolder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't use the folder"):
        TrainingProcess.start(tmp_path / "file" / "work", make_job(tiny, tmp_path))


def test_a_folder_with_a_job_is_not_overwritten(tiny: ModelFolder, tmp_path: Path) -> None:
    make_job(tiny, tmp_path).save(tmp_path / "work")
    with pytest.raises(LearningError, match="resume it"):
        TrainingProcess.start(tmp_path / "work", make_job(tiny, tmp_path))
    with pytest.raises(LearningError, match="no training to go on with"):
        TrainingProcess.resume(tmp_path / "other")


def test_the_parent_loads_no_torch() -> None:
    code = (
        "import sys, nextlabel.backend.training.process as p\n"
        "print(sorted({'torch', 'transformers', 'accelerate', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
