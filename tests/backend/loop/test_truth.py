"""What came of each record: how likely a consensus is, and what the model says that has not seen the answers."""

from __future__ import annotations

import numpy as np
import pytest

from nextlabel.backend.annotators.consensus import Method
from nextlabel.backend.loop.truth import Truth, truths
from nextlabel.backend.pool.export import record_rows
from nextlabel.backend.queue.publishing import QueueSizes
from nextlabel.backend.retraining.model import Model
from nextlabel.backend.service.service import Service
from nextlabel.backend.store import Store
from nextlabel.connectors.records import Labeling, LabelKind
from nextlabel.connectors.testing import MemoryConnector
from tests.backend import memory_loop
from tests.backend.memory_loop import LABELS, SUBJECTS, ServiceFactory
from tests.backend.queue.test_second_opinions import take, truth, two_disagree
from tests.backend.running import started
from tests.waiting import wait_for

SMALL = QueueSizes(head=60, tail=0)


def model_of(service: Service) -> Model:
    model = service._controller.model
    assert model is not None
    return model


def found(service: Service, store: Store, method: Method = "majority", **options: bool) -> dict[str, Truth]:
    model = model_of(service)
    return truths(store, model.question, model, method, **options)


@pytest.mark.parametrize("method", ["majority", "crowdlab", "dawid-skene"])
def test_a_disputed_answer_is_less_likely_and_predictions_are_held_out(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store, method: Method
) -> None:
    service = started(make_service, platform, sizes=SMALL, audit_share=0.2, consensus=method)
    records = two_disagree(service, platform, store, known=40)
    known = found(service, store, method)
    uids = [platform.pushed[one].uid for one in records]
    likely = {uid: known[uid].likely for uid in uids}
    assert all(chance is not None and 0 < chance <= 1 for chance in likely.values())
    if method == "majority":  # the newest of two answers, and wrong; other methods take the model's side
        disputed = max(likely[uid] or 0 for uid in uids[:5])
        assert np.mean([likely[uid] or 0 for uid in uids[5:]]) > disputed
    suggested = [known[uid].suggestion for uid in uids]
    assert {one.model_version for one in suggested if one} == {model_of(service).version}
    assert all(known[uid].unseen for uid in uids), "by folds, or of the audit slice"
    if method == "majority":
        assert all(one.answer is None for one in known.values())
    else:  # bob is alone against everybody, and his is the newest answer
        rows = {row["uid"]: row for row in record_rows(store, platform.labeling, truths=known)}
        right = [rows[platform.pushed[one].uid]["answer"] == [truth(platform, one)] for one in records[5:]]
        assert np.mean(right) > 0.8
    open_ones = {platform.pushed[one].uid for one in platform.pushed} - set(uids)
    assert all(known[uid].suggestion is None for uid in open_ones)
    everything = found(service, store, method, everything=True)
    assert all(everything[uid].suggestion is not None and everything[uid].likely is None for uid in open_ones)


def test_lone_answers_are_as_likely_as_the_model_and_one_who_errs_say(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, sizes=SMALL, audit_share=0.0)
    records = platform.queue()[:30]
    wrong = records[0]
    given = {one: truth(platform, one) for one in records}
    given[wrong] = LABELS[LABELS.index(given[wrong]) - 1]
    take(service, store, *(platform.annotate(one, label) for one, label in given.items()))
    known = found(service, store)
    likely = {one: known[platform.pushed[one].uid].likely or 0.0 for one in records}
    assert min(likely, key=lambda one: likely[one]) == wrong
    assert np.median(list(likely.values())) > 0.9


def test_without_a_model_dawid_and_skene_say_how_likely_it_is(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, sizes=SMALL, adjudicators=("lead",))
    records = two_disagree(service, platform, store)
    take(service, store, platform.annotate(records[0], LABELS[0], "lead"))
    store.name_adjudicators(["lead"])
    question = model_of(service).question
    known = truths(store, question, None)
    assert known[platform.pushed[records[0]].uid].likely == 1.0, "settled for good"
    assert all(0 < (known[platform.pushed[one].uid].likely or 0) <= 1 for one in records)
    assert all(one.suggestion is None for one in known.values())
    rows = {row["uid"]: row for row in record_rows(store, platform.labeling, truths=known, people=True)}
    row = rows[platform.pushed[records[0]].uid]
    assert (row["answer"], row["adjudicated"], row["answers"], row["agreement"]) == ([LABELS[0]], True, 3, 0.0)
    said = {name.partition("@")[0] for name in row if name.startswith("annotator.")}
    assert said == {"annotator.ann", "annotator.bob", "annotator.lead"}


def test_several_labels_are_likely_together(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    platform.labeling = Labeling(LabelKind.MULTI, LABELS)
    service = started(make_service, platform, sizes=SMALL, audit_share=0.0)
    records = platform.queue()[:30]
    take(service, store, *(platform.annotate(one, (truth(platform, one),)) for one in records))
    wait_for(lambda: service.status().labelled == 30)
    known = found(service, store)
    likely = [known[platform.pushed[one].uid].likely for one in records]
    assert all(chance is not None and 0 < chance <= 1 for chance in likely)
    assert len(SUBJECTS) == 3


make_service, platform, records, store = (
    memory_loop.make_service,
    memory_loop.platform,
    memory_loop.records,
    memory_loop.store,
)
