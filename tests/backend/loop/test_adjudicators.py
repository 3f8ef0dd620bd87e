"""Somebody settles records for good: what is learned, what is asked no more, and what happens if they think again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.loop.agreement import Agreement
from nextlabel.backend.pool.pool import PoolState
from nextlabel.backend.questions import question_of
from nextlabel.backend.questions.choice import ChoiceHead
from nextlabel.backend.queue.overlap import CLOSED
from nextlabel.backend.queue.publishing import QueueSizes
from nextlabel.backend.retraining.candidates import Labelled, Training, TrainingSetup
from nextlabel.backend.retraining.embedding_space import EmbeddingSpace
from nextlabel.backend.retraining.model import fitted
from nextlabel.backend.store import Store
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.connectors.errors import ConfigError, PlatformUnavailable
from nextlabel.connectors.records import Labeling, LabelKind
from nextlabel.connectors.testing import MemoryConnector
from tests.backend import memory_loop
from tests.backend.loop import test_agreement
from tests.backend.loop.test_agreement import fill, given
from tests.backend.memory_loop import LABELS, ServiceFactory
from tests.backend.pool.test_pool import answer
from tests.backend.queue.test_second_opinions import outstanding, take, truth, two_disagree
from tests.backend.running import started
from tests.waiting import wait_for

LEAD = ("lead@example.com",)
SMALL = QueueSizes(head=30, tail=0)


def test_what_is_settled_is_learned_and_asked_no_more(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, sizes=SMALL, strategy="activelab", opinions=5, adjudicators=LEAD)
    two_disagree(service, platform, store)
    waiting = next(iter(outstanding(platform)))
    label = LABELS[LABELS.index(truth(platform, waiting)) - 2]  # against everybody else
    before = service.status()
    take(service, store, platform.annotate(waiting, label, "lead"))
    take(service, store, platform.annotate(waiting, truth(platform, waiting), "zoe"))
    wait_for(lambda: service.status().settled == 1 and service.status().state == "idle")
    after = service.status()
    assert after.label_counts[label] == before.label_counts[label] + 1
    assert waiting not in [entry.remote_id for entry in platform.published[-1][1]]
    uid = platform.pushed[waiting].uid
    with pytest.raises(ConfigError, match="is settled for good"):
        service.ask_again([uid])
    assert after.last_error == ""


def test_the_platform_is_told_and_told_again_if_it_was_a_mistake(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    platform.overlap = 3
    platform.fail_next["settle"] = PlatformUnavailable("away")
    first = make_service(adjudicators=LEAD)
    first.start()
    wait_for(lambda: platform.published and first.status().state == "idle")
    record = platform.queue()[0]
    one = platform.annotate(record, LABELS[0], "lead")
    take(first, store, one)
    wait_for(lambda: first.status().settled == 1 and "settle" not in platform.fail_next)
    assert platform.settled == set(), "it was away"
    first.stop()

    second = started(make_service, platform, adjudicators=LEAD)
    wait_for(lambda: platform.settled == {record} and store.get_meta(CLOSED) not in (None, "[]"))
    assert platform.next("bob") != record
    platform.take_back(one.id)
    wait_for(lambda: platform.settled == set() and second.status().settled == 0)
    assert platform.asked_again[record] == 3


def test_who_adjudicates_and_is_not_there_is_told(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, adjudicators=("the boss",))
    take(service, store, platform.annotate(platform.queue()[0], LABELS[0], "ann"))
    wait_for(lambda: "ann@example.com" in service.status().last_error)
    assert service.status().last_error.startswith("adjudicators: the boss can't be found")


def test_the_probe_does_not_doubt_it(space: EmbeddingSpace) -> None:
    """Answers of a person against all the model knows are believed less; an adjudicator's are not."""
    answers = {at: [given(at, "ann")] for at in range(40)}
    against = {at: "dog" if at % 2 == 0 else "cat" for at in (4, 9, 16, 23, 30)}
    weights = []
    for settles in (False, True):
        said = {at: [replace(answer(f"r{at}", label, by="lead"), is_truth=settles)] for at, label in against.items()}
        pool = fill(PoolState(question_of(Labeling(LabelKind.SINGLE, ("cat", "dog")))), space, answers | said)
        head = fitted(pool, "probe-1", 1, space).head
        assert isinstance(head, ChoiceHead)
        found = head.predict(space.cache, pool.rows[np.array(list(against))])
        said_so = np.array([label == "dog" for label in against.values()]).astype(int)
        weights.append(found[np.arange(len(against)), said_so].mean())
    assert weights[1] > weights[0] + 0.005


def test_the_model_in_use_does_not_doubt_it_where_a_trained_one_is_judged(
    space: EmbeddingSpace, tmp_path: Path
) -> None:
    """It is fitted once more for that, without what is held out, and is to be the model that the loop would have."""
    answers = {at: [given(at, "ann")] for at in range(40)}
    against = {at: "dog" if at % 2 == 0 else "cat" for at in (4, 9, 16, 23, 30)}
    question = question_of(Labeling(LabelKind.SINGLE, ("cat", "dog")))
    found = []
    for settles in (False, True):
        said = {at: [replace(answer(f"r{at}", label, by="lead"), is_truth=settles)] for at, label in against.items()}
        pool = fill(PoolState(question), space, answers | said)
        training, nobody = pool.training(), pool.audited()
        targets, none = pool.targets(training), pool.targets(nobody)
        labelled = Labelled(
            1, space, training, targets, targets, pool.is_settled(training), pool.rows[training],
            pool.sampling_keys[training], nobody, none, pool.rows[nobody],
        )  # fmt: skip
        setup = TrainingSetup("p", question, EncoderSpec("e"), TrainingSpec(), tmp_path, tmp_path)
        before = Training(setup)._before(labelled, np.array([0, 1]), nobody)["held_out"]
        kept = np.arange(2, len(training))
        settled = pool.is_settled(training)[kept]
        head = question.fit(space, pool.rows[training[kept]], targets[kept], settled=settled)
        assert np.array_equal(before, head.predict(space.cache, pool.rows[training[:2]]))
        found.append(before)
    assert not np.array_equal(found[0], found[1]), "doubted and not doubted are not the same model"


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("method", ["crowdlab", "dawid-skene", "majority"])
def test_no_consensus_outweighs_it(space: EmbeddingSpace, method: str, soft: bool) -> None:
    answers = {at: [given(at, "ann"), given(at, "eve")] for at in range(30)}
    wrong = {0: "dog", 1: "cat", 2: "dog"}
    for at, label in wrong.items():
        answers[at].append(replace(answer(f"r{at}", label, by="lead"), is_truth=True))
    pool = fill(PoolState(question_of(Labeling(LabelKind.SINGLE, ("cat", "dog")))), space, answers)
    Agreement(method, soft).settle(pool, space)  # type: ignore[arg-type]
    settled = np.array(list(wrong))
    assert pool.targets(settled).tolist() == [1, 0, 1]
    if soft:
        assert pool.learned_targets(pool.training())[:3].tolist() == [[0, 1], [1, 0], [0, 1]]
    assert pool.is_settled(np.arange(5)).tolist() == [True, True, True, False, False]
    assert not set(settled.tolist()) & set(pool.closed(9).tolist())
    assert pool.counts()["settled"] == 3


make_service, platform, records = memory_loop.make_service, memory_loop.platform, memory_loop.records
store, space = memory_loop.store, test_agreement.space
