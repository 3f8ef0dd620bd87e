"""What the strategy asks again: how much of it, of whom, and what is left of it after a failure or a restart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.models.registry import CHOSEN_SPACE
from nextlabel.backend.queue import ranking
from nextlabel.backend.queue.overlap import ASKED
from nextlabel.backend.queue.publishing import QueueSizes
from nextlabel.backend.retraining.embedding_space import note_trained_on
from nextlabel.backend.selection import get_strategy
from nextlabel.backend.service.service import Service
from nextlabel.backend.store import Store
from nextlabel.connectors.errors import PlatformError, PlatformUnavailable
from nextlabel.connectors.records import Annotation, AnnotationStatus, QueueEntry
from nextlabel.connectors.testing import MemoryConnector
from tests.backend import memory_loop
from tests.backend.memory_loop import LABELS, SUBJECTS, ServiceFactory
from tests.backend.retraining.train.test_embedding_space import trained
from tests.backend.running import settled, started, tell
from tests.waiting import wait_for

SMALL = QueueSizes(head=30, tail=0)


def truth(platform: MemoryConnector, remote_id: str) -> str:
    text = platform.pushed[remote_id].fields["text"]
    return next(label for subject, label in zip(SUBJECTS, LABELS, strict=True) if subject in text)


def take(service: Service, store: Store, *answers: Annotation) -> None:
    tell(service, store, *answers)
    wait_for(lambda: settled(service, store))


def disagreement(platform: MemoryConnector, known: int = 30) -> list[Annotation]:
    """``known`` records answered, the first five of them by two who disagree, and by three people in all."""
    chosen = platform.queue()[:known]
    wrong = {label: LABELS[at - 1] for at, label in enumerate(LABELS)}
    given = [platform.annotate(one, truth(platform, one), ("ann", "eve")[at % 2]) for at, one in enumerate(chosen)]
    return given + [platform.annotate(one, wrong[truth(platform, one)], "bob") for one in chosen[:5]]


def two_disagree(service: Service, platform: MemoryConnector, store: Store, known: int = 30) -> list[str]:
    """Take such answers in; returns their records."""
    given = disagreement(platform, known)
    take(service, store, *given)
    return list(dict.fromkeys(one.remote_id for one in given))


def outstanding(platform: MemoryConnector) -> dict[str, int]:
    """What was asked again and waits, with the answers that it has."""
    given: dict[str, set[str]] = {}
    for one in platform.answers.values():
        if one.status is AnnotationStatus.SUBMITTED:
            given.setdefault(one.remote_id, set()).add(one.annotator)
    return {one: len(given[one]) for one, wanted in platform.asked_again.items() if len(given[one]) < wanted}


def test_the_strategy_asks_again_a_few_at_a_time_and_blind(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, poll_interval=60, sizes=SMALL, strategy="activelab", opinions=5)
    chosen = two_disagree(service, platform, store)
    waiting = outstanding(platform)
    assert 1 <= len(waiting) <= 5
    assert set(waiting) <= set(chosen)
    assert service.status().asked_again == len(waiting)
    _, queue = platform.published[-1]
    places = {entry.remote_id: entry for entry in queue}
    assert set(waiting) <= set(places)
    assert all(places[one].suggestion is None for one in waiting)
    assert all(entry.suggestion for entry in queue if entry.remote_id not in chosen and not is_audit(store, entry))
    assert {item.record.uid: item.opinions for item in store.records() if item.opinions} == {
        platform.pushed[one].uid: 1 + answers for one, answers in waiting.items()
    }


def is_audit(store: Store, entry: QueueEntry) -> bool:
    return next(item.audit for item in store.records() if item.remote_id == entry.remote_id)


def test_second_opinions_neither_pile_up_nor_crowd_out_new_records(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    """One person labels on and answers nothing that was asked again: it is others' turn."""
    service = started(
        make_service, platform, poll_interval=60, sizes=SMALL, strategy="activelab", opinions=5, audit_share=0.0
    )
    two_disagree(service, platform, store, known=24)
    shares = []
    for _ in range(12):
        answered = {one.remote_id for one in platform.answers.values()}
        new = [entry.remote_id for entry in platform.published[-1][1] if entry.remote_id not in answered]
        first = platform.published[-1][1][:10]
        shares.append(np.mean([entry.remote_id in answered for entry in first]))
        assert len(outstanding(platform)) <= 5
        take(service, store, platform.annotate(new[0], truth(platform, new[0]), "ann"))
    assert 0 < np.mean(shares) <= 0.5
    assert len(platform.asked_again) <= 5


def test_what_is_answered_makes_room_for_another(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, poll_interval=60, sizes=SMALL, strategy="activelab", opinions=3)
    two_disagree(service, platform, store)
    for _ in range(8):
        for one in outstanding(platform):
            given = {item.annotator for item in platform.answers.values() if item.remote_id == one}
            free = sorted({"ann", "bob", "eve"} - given)
            assert free, "nobody is left who could be asked"
            take(service, store, platform.annotate(one, truth(platform, one), free[0]))
    assert len(platform.asked_again) > 5
    assert max(platform.asked_again.values()) <= 3


@pytest.mark.parametrize("noted", [True, False])
def test_a_trained_encoder_is_not_asked_about_what_it_has_learned(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store, tmp_path: Path, noted: bool
) -> None:
    service = started(
        make_service, platform, poll_interval=60, sizes=SMALL, strategy="activelab", opinions=3, audit_share=0.0
    )
    chosen = two_disagree(service, platform, store)
    positions = {one: item.position for one, item in store.get_remote(chosen).items()}
    learned = [one for at, one in enumerate(chosen) if at % 2]  # of the five disputed ones, two
    trained(tmp_path / "models", "fine-tune-1")
    if noted:
        note_trained_on(tmp_path / "models" / "fine-tune-1", [positions[one] for one in learned], None)
    before = set(platform.asked_again)
    store.set_meta(CHOSEN_SPACE, "fine-tune-1")
    wait_for(lambda: service.status().model_version.endswith("-fine-tune-1") and settled(service, store))
    for _ in range(6):
        for one in outstanding(platform):
            given = {item.annotator for item in platform.answers.values() if item.remote_id == one}
            take(service, store, platform.annotate(one, truth(platform, one), min({"ann", "bob", "eve"} - given)))
    news = set(platform.asked_again) - before
    assert bool(news) == noted
    assert not news & set(learned)


def test_one_annotator_alone_is_asked_nothing_again(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, poll_interval=60, sizes=SMALL, strategy="activelab", opinions=5)
    chosen = platform.queue()[:30]
    take(service, store, *(platform.annotate(one, truth(platform, one)) for one in chosen))
    for one in platform.queue()[:3]:
        take(service, store, platform.annotate(one, truth(platform, one)))
    assert platform.asked_again == {}
    assert not {entry.remote_id for entry in platform.published[-1][1]} & set(chosen)


@pytest.mark.parametrize("options", [{"opinions": 0}, {"opinions": 5, "strategy": "margin"}])
def test_without_opinions_or_another_strategy_nothing_is_asked_again(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store, options: dict[str, object]
) -> None:
    options = {"strategy": "activelab", **options}
    service = started(make_service, platform, poll_interval=60, sizes=SMALL, **options)
    two_disagree(service, platform, store)
    assert platform.asked_again == {}


def test_what_was_asked_is_known_after_a_restart_and_not_taken_for_asked_by_hand(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    options = {"poll_interval": 60, "sizes": SMALL, "strategy": "activelab", "opinions": 5}
    service = started(make_service, platform, **options)
    two_disagree(service, platform, store)
    before, queue = dict(platform.asked_again), [entry.remote_id for entry in platform.published[-1][1]]
    service.stop()
    service = started(make_service, platform, **options)
    assert platform.asked_again == before, "the same answers, and room for no more"
    assert [entry.remote_id for entry in platform.published[-1][1]] == queue
    assert set(service._controller._overlap.own().tolist()) == {
        int(at) for at in json.loads(store.get_meta(ASKED) or "")
    }
    # The last one is asked about by hand: it comes first from now on.
    last = [one for one in queue if one in before][-1]
    service.ask_again([platform.pushed[last].uid], 3)
    wait_for(lambda: platform.published[-1][1][0].remote_id == last)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_crash_between_the_platform_and_the_store_loses_nothing(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"poll_interval": 60, "sizes": SMALL, "strategy": "activelab", "opinions": 5}
    service = started(make_service, platform, **options)
    with monkeypatch.context() as broken:
        broken.setattr(Store, "ask_again", lambda *_: (_ for _ in ()).throw(SystemExit))
        tell(service, store, *disagreement(platform))
        wait_for(lambda: platform.asked_again)
        service.stop()
    asked = dict(platform.asked_again)
    assert not any(item.opinions for item in store.records())
    platform.asked_again.clear()
    service = started(make_service, platform, **options)
    assert platform.asked_again.items() >= asked.items()
    assert service.status().asked_again == len(platform.asked_again)


@pytest.mark.parametrize("failure", [PlatformUnavailable("down"), PlatformError("no", status=422, body="")])
def test_a_platform_that_does_not_ask_again_holds_up_nothing(
    make_service: ServiceFactory,
    platform: MemoryConnector,
    store: Store,
    failure: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nextlabel.backend.queue.overlap.RETRY_S", 0.0)
    service = started(make_service, platform, poll_interval=60, sizes=SMALL, strategy="activelab", opinions=5)
    platform.fail_next["ask_again"] = failure
    chosen = two_disagree(service, platform, store)
    assert platform.asked_again == {}
    assert "no second opinions" in service.status().last_error
    assert service.status().asked_again == 0
    assert platform.published[-1][1], "the queue went out all the same"
    assert not {entry.remote_id for entry in platform.published[-1][1]} & set(chosen)
    wanted = json.loads(store.get_meta(ASKED) or "{}")
    new = next(one for one in platform.queue() if one not in chosen)
    take(service, store, platform.annotate(new, truth(platform, new)))
    assert {f"r-u{at}" for at in wanted} <= set(platform.asked_again), "asked with the next queue"
    assert service.status().last_error == ""


def test_who_skips_what_was_asked_holds_up_nobody(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, poll_interval=60, sizes=SMALL, strategy="activelab", opinions=5)
    two_disagree(service, platform, store)
    waiting = outstanding(platform)
    given = {(one.remote_id, one.annotator) for one in platform.answers.values()}
    nobody = [(one, who) for one in waiting for who in ("ann", "bob", "eve") if (one, who) not in given]
    take(service, store, *(platform.annotate(one, None, who, AnnotationStatus.SKIPPED) for one, who in nobody))
    assert set(outstanding(platform)) > set(waiting), "others are asked about"


def test_a_mixture_asks_again_within_the_share_of_its_part(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = get_strategy("mixture", shares={"activelab": 0.3, "random": 0.7})
    monkeypatch.setattr(memory_loop, "get_strategy", lambda name: mixed)
    service = started(make_service, platform, poll_interval=60, sizes=SMALL, opinions=5)
    two_disagree(service, platform, store)
    assert 1 <= len(outstanding(platform)) <= 0.3 * ranking.AMONG + 1
    new = [entry for entry in platform.published[-1][1] if entry.remote_id not in platform.asked_again]
    assert len(new) > 10
