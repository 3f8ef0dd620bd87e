"""The slow step for spans: a real trainer in a process of its own, on an encoder small enough to train in seconds."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.models.registry import ModelStore, choose_version, roll_back
from nextlabel.backend.models.spans.encoder import load_span_encoder
from nextlabel.backend.retraining.candidates import Candidate, candidates
from nextlabel.backend.service.service import Service
from nextlabel.backend.store import Store
from nextlabel.backend.training.spec import RungName, TrainingSpec
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Labeling, LabelKind, Record, Span
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import ServiceFactory
from tests.backend.retraining.train.test_retraining import ended, wait
from tests.backend.tiny_bert import tiny_bert

LABELS = ("even", "odd")
MARKED = "word9"
QUICK = TrainingSpec(
    start_at=100, epochs=14, patience=0, learning_rate=6e-3, head_learning_rate=6e-3, held_out=0.2, dropout=0.0
)
COUNT = 220


def text(number: int) -> str:
    """Eight words. One is marked, and another, anywhere, tells how: a token's neighbours don't."""
    dice = random.Random(number)
    words = [f"word{dice.randrange(10, 200)}" for _ in range(8)]
    marked, tells = dice.sample(range(8), 2)
    words[marked], words[tells] = MARKED, f"word{number % 2}"
    return " ".join(words)


def truth(number: int, swapped: bool = False) -> tuple[Span, ...]:
    start = text(number).split().index(MARKED)
    at = len(" ".join(text(number).split()[:start])) + bool(start)
    return (Span(at, at + len(MARKED), LABELS[(number + swapped) % 2]),)


@pytest.fixture
def records() -> list[Record]:
    return [Record(f"u{i}", {"text": text(i)}) for i in range(COUNT)]


@pytest.fixture
def platform() -> MemoryConnector:
    return MemoryConnector(Labeling(LabelKind.SPAN, LABELS))


@pytest.fixture
def begin(make_service: ServiceFactory, store: Store, tmp_path: Path) -> Callable[..., Service]:
    """Start a service that can train."""
    if not (tmp_path / "tiny").exists():
        tiny_bert(tmp_path / "tiny", spread=0.1)

    def start(spec: TrainingSpec = QUICK) -> Service:
        service = make_service(
            encoder=str(tmp_path / "tiny"),
            spec=spec,
            trained=lambda folder: load_span_encoder(EncoderSpec(str(folder), max_length=32, cache_dir=tmp_path)),
            rungs=("spans",),
        )
        service.start()
        wait(lambda: service.status().generation != "")
        return service

    return start


def number(record: Record) -> int:
    return int(record.uid[1:])


def answer(platform: MemoryConnector, most: int, swapped: bool = False) -> None:
    some = list(platform.pushed.items())[:most]
    platform.annotate_all({remote_id: truth(number(record), swapped) for remote_id, record in some})


def right(service: Service) -> float:
    said = asyncio.run(service.predict([Record("", {"text": text(n)}) for n in range(1000, 1100)]))
    return sum(one is not None and one.value == truth(1000 + n) for n, one in enumerate(said)) / len(said)


def suggested(platform: MemoryConnector, version: str) -> list[bool]:
    """Of the queue in force, whether each suggestion of ``version`` is right."""
    return [
        entry.suggestion.value == truth(number(platform.pushed[entry.remote_id]))
        for entry in platform.published[-1][1]
        if entry.suggestion is not None and entry.suggestion.model_version.endswith(version)
    ]


def test_the_encoder_is_trained_goes_live_and_stays_until_it_is_rolled_back(
    begin: Callable[..., Service], platform: MemoryConnector, store: Store, tmp_path: Path
) -> None:
    service = begin()
    answer(platform, 180)
    wait(lambda: service.status().labelled == 180)
    before = right(service)
    wait(lambda: ended(service))
    assert "spans-1 goes live" in service.status().training["verdict"]
    wait(lambda: service.status().model_version.endswith("-spans-1"))
    after = right(service)
    assert after > max(before, 0.9)
    wait(lambda: suggested(platform, "-spans-1"))
    said = suggested(platform, "-spans-1")
    assert sum(said) > 0.8 * len(said)
    models = ModelStore(tmp_path / "models")
    [entry] = models.entries()
    assert entry.card is not None
    assert (entry.card.rung, entry.card.labels, sum(entry.card.counts.values())) == (
        "spans",
        LABELS,
        180 - heldback(store),
    )
    assert {(figure.name, figure.measured_on) for figure in entry.card.figures} == {
        (name, where) for name in ("accuracy", "span F1") for where in ("held-out", "audit")
    }
    assert 0 < entry.card.figures[2].low <= entry.card.figures[2].value
    # It learns on, and a restart goes on with it.
    platform.annotate(platform.queue()[0], truth(number(platform.pushed[platform.queue()[0]])))
    wait(lambda: service.status().model_version == "probe-181-spans-1")
    before_restart = right(service)
    service.stop()
    again = begin()
    assert again.status().model_version == "probe-181-spans-1"
    assert right(again) == before_restart
    # Back, and there again.
    assert roll_back(store, models).startswith("probe-")
    wait(lambda: not again.status().model_version.endswith("spans-1"))
    assert right(again) < after
    assert choose_version(store, models, "spans-1").kind == "spans"
    wait(lambda: again.status().model_version.endswith("-spans-1"))
    assert right(again) == before_restart


def heldback(store: Store) -> int:
    """Of the first 180 records, those that nothing is trained on."""
    return sum(item.audit or item.lot >= 1 - QUICK.held_out for item in store.records() if item.position < 180)


def test_a_model_that_is_worse_is_kept_and_not_used(
    begin: Callable[..., Service], platform: MemoryConnector, store: Store
) -> None:
    """Trained on swapped answers that were put right before it ended."""
    service = begin(QUICK.model_copy(update={"start_at": 10 * COUNT}))
    answer(platform, COUNT, swapped=True)
    wait(lambda: service.status().generation_log_head >= COUNT)
    service.train()  # by itself it might start on some of them, too few to learn the wrong thing
    wait(lambda: service.status().training.get("pid"))
    trainer = service.status().training["pid"]
    os.killpg(trainer, signal.SIGSTOP)  # or it may be done before the loop has heard of the right answers
    answer(platform, COUNT)
    wait(lambda: service.status().generation_log_head >= 2 * COUNT)
    os.killpg(trainer, signal.SIGCONT)
    wait(lambda: ended(service))
    assert "spans-1 is kept, not used" in service.status().training["verdict"]
    row = next(row for row in store.models() if row.version == "spans-1")
    assert row.metrics["goes_live"] is False
    assert row.metrics["held_out_span_f1"] < row.metrics["held_out_span_f1_before"]
    assert not service.status().model_version.endswith("spans-1")


def test_a_trainer_that_is_killed_goes_on(begin: Callable[..., Service], platform: MemoryConnector) -> None:
    service = begin(QUICK.model_copy(update={"epochs": 20}))  # long enough to be caught at work
    answer(platform, 180)
    wait(lambda: service.status().training.get("stage"))
    wait(lambda: service.status().training.get("pid"))
    trainer = service.status().training["pid"]
    os.killpg(trainer, signal.SIGKILL)
    wait(lambda: service.status().training.get("pid") != trainer)  # its successor may be quick, and gone already
    wait(lambda: ended(service))
    assert "spans-1 goes live" in service.status().training["verdict"]


def test_what_cannot_be_trained_says_so(begin: Callable[..., Service], platform: MemoryConnector) -> None:
    service = begin()
    for remote_id in list(platform.pushed)[:20]:
        platform.annotate(remote_id, ())
    wait(lambda: service.status().labelled == 20)
    with pytest.raises(LearningError, match="5 texts with a span of one label"):
        service.train()


@pytest.mark.parametrize("rung", ["auto", "fine-tune"])
def test_the_next_training_also_goes_on_from_the_model_in_use(rung: RungName | Literal["auto"]) -> None:
    assert candidates(("spans",), rung, "") == [Candidate("spans", "")]
    assert candidates(("spans",), rung, "spans-7") == [Candidate("spans", ""), Candidate("spans", "spans-7")]
