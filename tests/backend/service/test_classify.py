"""All probabilities of a record: what /api/predict answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection

import pytest

from nextlabel.backend.questions import Prediction
from nextlabel.backend.store import Store
from nextlabel.connectors.errors import LearningError
from nextlabel.connectors.records import Labeling, LabelKind, Record
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import LABELS, ServiceFactory


def test_classify_says_what_predict_says_and_how_likely_the_other_labels_are(make_service: ServiceFactory) -> None:
    service = make_service()
    service.start()
    records = [Record("", {"text": text}) for text in ("a cat asleep near house 1", "quite another text")]
    suggestions = asyncio.run(service.predict(records))
    predictions = asyncio.run(service.classify(records))
    for suggestion, prediction in zip(suggestions, predictions, strict=True):
        assert suggestion is not None
        assert prediction is not None
        assert prediction.suggestion == suggestion
        assert tuple(prediction.probabilities) == LABELS
        assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert suggestion.value == (max(LABELS, key=prediction.probabilities.__getitem__),)
        assert prediction.probabilities[str(suggestion.value[0])] == pytest.approx(suggestion.score)


def test_labels_that_may_stand_together_have_probabilities_each(
    make_service: ServiceFactory, platform: MemoryConnector
) -> None:
    platform.labeling = Labeling(LabelKind.MULTI, LABELS)
    service = make_service()
    service.start()
    (prediction,) = asyncio.run(service.classify([Record("", {"text": "a cat asleep near an oak"})]))
    assert prediction is not None
    chosen = tuple(label for label, probability in prediction.probabilities.items() if probability > 0.5)
    assert prediction.suggestion.value == chosen


def test_records_of_the_audit_slice_stay_blind(make_service: ServiceFactory, store: Store) -> None:
    service = make_service()
    service.start()
    stored = list(store.records())
    predictions = asyncio.run(service.classify([item.record for item in stored]))
    assert [one is None for one in predictions] == [item.audit for item in stored]
    assert None in predictions


def test_nothing_is_said_of_nothing(make_service: ServiceFactory) -> None:
    service = make_service()
    service.start()
    records = [Record("", {"text": text}) for text in ("", " \n\t", "a cat")]
    predictions = asyncio.run(service.classify(records))
    assert [one is None for one in predictions] == [True, True, False]


def test_requests_that_come_together_are_one_question_to_the_store(
    make_service: ServiceFactory, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service()
    service.start()
    stored = [item for item in store.records() if not item.is_copy][:20]
    answer, asked = Store.blind, list[int]()
    first, go_on = threading.Event(), threading.Event()

    def ask(here: Store, records: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        asked.append(len(records))
        first.set()
        assert go_on.wait(60)
        return answer(here, records)

    async def classify() -> list[Prediction | None]:
        requests = [asyncio.create_task(service.classify([item.record])) for item in stored[:1]]
        assert await asyncio.to_thread(first.wait, 60)
        requests += [asyncio.create_task(service.classify([item.record])) for item in stored[1:]]
        for _ in range(3):  # until each has asked: none waits for a thread before that
            await asyncio.sleep(0)
        go_on.set()
        return [one for [one] in await asyncio.gather(*requests)]

    monkeypatch.setattr(Store, "blind", ask)
    predictions = asyncio.run(classify())
    assert [one is None for one in predictions] == [item.audit for item in stored]
    assert asked == [1, len(stored) - 1]


def test_before_the_start_there_is_no_model(make_service: ServiceFactory) -> None:
    with pytest.raises(LearningError, match="has not started"):
        asyncio.run(make_service().classify([Record("", {"text": "a"})]))
