"""What annotators agree on, in the pool: what is learned, and what the audit slice keeps out of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import save_file

from nextlabel.backend.activation import SOFTMAX
from nextlabel.backend.annotators.consensus import Method, agree
from nextlabel.backend.encoders.base import EncoderSpec, label_anchors
from nextlabel.backend.encoders.cache import EmbeddingCache
from nextlabel.backend.encoders.load import load_encoder
from nextlabel.backend.loop.agreement import Agreement
from nextlabel.backend.models.probe import Probe
from nextlabel.backend.pool.pool import PoolState, Positions
from nextlabel.backend.questions import question_of
from nextlabel.backend.questions.choice import ChoiceHead
from nextlabel.backend.retraining.candidates import Candidate, Labelled, Training, TrainingPlan, TrainingSetup
from nextlabel.backend.retraining.embedding_space import OWN, EmbeddingSpace
from nextlabel.backend.retraining.model import fitted
from nextlabel.backend.store import Store
from nextlabel.backend.training.jobs import PREDICTIONS
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.connectors.records import Annotation, Labeling, LabelKind
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import ServiceFactory
from tests.backend.pool.test_pool import answer, stored
from tests.backend.queue.test_second_opinions import disagreement
from tests.backend.running import settled, started, tell
from tests.waiting import wait_for

LABELS = ("cat", "dog")
SIZE, AUDITED = 60, 40
GOOD = ("ann", "eve")


def text(at: int) -> str:
    return f"a {LABELS[at % 2]} near house {at}"


@pytest.fixture
def space(tmp_path: Path) -> EmbeddingSpace:
    encoder = load_encoder("hashing")
    cache = EmbeddingCache.open(tmp_path, encoder)
    return EmbeddingSpace(OWN, encoder, cache, label_anchors(Labeling(LabelKind.SINGLE, LABELS), encoder))


def given(at: int, who: str) -> Annotation:
    """Who is not ``GOOD`` answers by the number of the record, which tells nothing."""
    right = LABELS[at % 2]
    return answer(f"r{at}", right if who in GOOD else LABELS[at // 2 % 2], by=who)


def fill(pool: PoolState, space: EmbeddingSpace, answers: dict[int, list[Annotation]]) -> PoolState:
    items = [stored(at, audit=at >= AUDITED, lot=at / SIZE) for at in range(SIZE)]
    pool.add(items, space.cache.ensure([text(at) for at in range(SIZE)], space.encoder))
    pool.answer({f"r{at}": some for at, some in answers.items()})
    return pool


def crowd_of(labeling: Labeling, space: EmbeddingSpace) -> PoolState:
    """Who is good answers most, who is bad too, later, so that ties go to them."""
    answers = {at: [given(at, "ann")] for at in range(SIZE)}
    for at in range(SIZE):
        answers[at] += [given(at, "eve")] if at % 3 == 0 else []
        answers[at] += [given(at, "zed")] if at % 2 or at % 3 else []
    return fill(PoolState(question_of(labeling)), space, answers)


@pytest.fixture
def crowd(space: EmbeddingSpace) -> PoolState:
    return crowd_of(Labeling(LabelKind.SINGLE, LABELS), space)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    fits: list[int] = []
    whole = EmbeddingSpace.fit

    def fit(self: EmbeddingSpace, vectors: npt.NDArray[np.float32], *rest: Any, **options: Any) -> Probe:
        fits.append(len(vectors))
        return whole(self, vectors, *rest, **options)

    monkeypatch.setattr(EmbeddingSpace, "fit", fit)
    return fits


def right(pool: PoolState, positions: Positions) -> float:
    return float((pool.targets(positions) == positions % 2).mean())


@pytest.mark.parametrize("method", ["crowdlab", "dawid-skene"])
def test_what_is_learned_is_agreed_with_held_out_predictions(
    crowd: PoolState, space: EmbeddingSpace, method: Method
) -> None:
    majority = right(crowd, crowd.training())
    said = crowd.targets(crowd.training()).tolist()
    audit = crowd.targets(crowd.audited()).tolist()
    Agreement(method).settle(crowd, space)
    assert majority < 0.9
    assert right(crowd, crowd.training()) > majority + 0.05
    assert crowd.targets(crowd.training(), settled=False).tolist() == said, "models are judged by it"
    if method == "crowdlab":
        assert crowd.targets(crowd.audited()).tolist() == audit, "a model must not have a say in what it is audited on"
    else:
        everything = np.concatenate([crowd.audited(), crowd.training()])
        alone = agree(crowd.opinions(everything), method).labels[: len(audit)]
        assert crowd.targets(crowd.audited()).tolist() == alone.tolist()
    model = fitted(crowd, "m", 1, space)
    assert model.head.predict(space.cache, crowd.rows[:2]).argmax(axis=1).tolist() == [0, 1]


def test_the_audit_slice_is_the_same_whatever_the_model_says(
    crowd: PoolState, space: EmbeddingSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for liar in (0, 1):
        one_sided = np.eye(2, dtype=np.float32)[[liar] * AUDITED]
        monkeypatch.setattr(Probe, "held_out_proba", lambda *_, say=one_sided: say)
        for method in ("crowdlab", "dawid-skene"):
            crowd.agreed = None
            Agreement(method, soft=True).settle(crowd, space)
            found.append((method, crowd.targets(crowd.audited()).tolist(), crowd.targets(crowd.training()).tolist()))
    assert [one[1] for one in found[:2]] == [one[1] for one in found[2:]]
    assert found[0][2] != found[2][2], "the labels that are learned do go by the model"


def test_probabilities_are_learned_where_they_are_wanted(crowd: PoolState, space: EmbeddingSpace) -> None:
    Agreement("crowdlab", soft=True).settle(crowd, space)
    soft = crowd.learned_targets(crowd.training())
    assert soft.shape == (AUDITED, 2)
    assert np.allclose(soft.sum(axis=1), 1)
    assert ((soft > 0.01) & (soft < 0.99)).any()
    head = fitted(crowd, "m", 1, space).head
    assert isinstance(head, ChoiceHead)
    assert head.probe.labels == AUDITED
    crowd.agreed = None
    majority = crowd.targets(crowd.training()).tolist()
    Agreement("majority", soft=True).settle(crowd, space)
    assert crowd.targets(crowd.training()).tolist() == majority
    assert set(np.unique(crowd.learned_targets(crowd.training()))) == {0.0, 1 / 3, 0.5, 2 / 3, 1.0}


def test_the_majority_and_single_answers_take_no_fit(
    crowd: PoolState, space: EmbeddingSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = counted(monkeypatch)
    Agreement().settle(crowd, space)
    assert crowd.agreed is None
    alone = fill(PoolState(crowd.question), space, {at: [given(at, "ann")] for at in range(SIZE)})
    for method in ("crowdlab", "dawid-skene"):
        Agreement(method, soft=True).settle(alone, space)
        assert alone.agreed is None
        assert alone.learned_targets(alone.training()).tolist() == [at % 2 for at in range(AUDITED)]
    assert fits == []
    agreement = Agreement("crowdlab")
    agreement.settle(crowd, space)
    agreement.settle(crowd, space)
    assert fits == [AUDITED], "nothing has changed since"
    crowd.answer({"r0": [given(0, "zed")]})
    agreement.settle(crowd, space)
    assert fits == [AUDITED] * 2


def test_in_a_trained_space_people_agree_without_a_model(
    crowd: PoolState, space: EmbeddingSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior = Probe(np.ones((2, space.encoder.dimension), np.float32), np.zeros(2, np.float32), SOFTMAX)
    trained = EmbeddingSpace("fine-tune-1", space.encoder, space.cache, space.anchors, prior)
    fits = counted(monkeypatch)
    for method in ("crowdlab", "dawid-skene"):
        crowd.agreed = None
        Agreement(method).settle(crowd, trained)
        expected = agree(crowd.opinions(crowd.training()), method).labels
        assert crowd.targets(crowd.training()).tolist() == expected.tolist()
    assert fits == []


def test_of_several_labels_each_is_agreed_on(space: EmbeddingSpace) -> None:
    pool = crowd_of(Labeling(LabelKind.MULTI, LABELS), space)
    audit = pool.targets(pool.audited()).tolist()
    truth = np.array([[at % 2 == 0, at % 2 == 1] for at in range(AUDITED)])
    majority = (pool.targets(pool.training()) == truth).mean()
    Agreement("crowdlab").settle(pool, space)
    found = pool.targets(pool.training())
    assert found.dtype == np.bool_
    assert (found == truth).mean() > majority + 0.05
    assert pool.targets(pool.audited()).tolist() == audit


def test_the_same_log_makes_the_same_model_again(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    """Whatever an earlier process knew: what is learned comes from the log."""
    options = {"poll_interval": 60, "consensus": "crowdlab", "soft": True}
    service = started(make_service, platform, **options)
    tell(service, store, *disagreement(platform, 40))
    wait_for(lambda: settled(service, store))
    found = []
    for _ in range(2):
        service.stop()
        service = started(make_service, platform, **options)
        pool, model = service._controller.pool, service._controller.model
        assert model is not None
        assert isinstance(model.head, ChoiceHead)
        found.append((pool.learned_targets(pool.training()), model.head.probe.layer))
        labelled = service._controller.labelled()
        assert labelled.majority.tolist() == pool.targets(pool.training(), settled=False).tolist()
    assert all(np.array_equal(one, other) for one, other in zip(*found, strict=True))
    assert found[0][0].ndim == 2


def test_models_are_judged_by_what_people_said(crowd: PoolState, space: EmbeddingSpace, tmp_path: Path) -> None:
    """What is learned is agreed on with the model in use, which would be its own judge."""
    said = crowd.targets(crowd.training())
    Agreement("crowdlab").settle(crowd, space)
    training, audited = crowd.training(), crowd.audited()
    held_out = training[said != crowd.targets(training)]
    assert len(held_out)
    labelled = Labelled(
        log_seq=1,
        space=space,
        training=training,
        targets=crowd.targets(training),
        majority=said,
        settled=crowd.is_settled(training),
        rows=crowd.rows[training],
        sampling_keys=crowd.sampling_keys[training],
        audited=audited[:0],
        audit_targets=crowd.targets(audited[:0]),
        audit_rows=crowd.rows[audited[:0]],
    )
    predicted = np.eye(2, dtype=np.float32)[crowd.targets(held_out, settled=False)]
    save_file({"probabilities": predicted}, tmp_path / PREDICTIONS)
    spec = TrainingSpec()
    tuning = TrainingSetup("p", crowd.question, EncoderSpec("e"), spec, tmp_path, tmp_path)
    plan = TrainingPlan(1, len(training), tuple(held_out.tolist()), (), (Candidate("fine-tune", ""),))
    choice = Training(tuning).choose(plan, {0: tmp_path}, labelled)
    assert choice.verdict.figures["held_out_accuracy"] == 1.0
