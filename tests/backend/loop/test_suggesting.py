"""Models and rules of a team in the running loop: before the first answer, beside the head, and when they fail."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from nextlabel.backend.encoders.base import EncoderSpec
from nextlabel.backend.loop.truth import truths
from nextlabel.backend.pool.voices import known_suggesters, note_suggesters
from nextlabel.backend.service.service import Service
from nextlabel.backend.store import Store
from nextlabel.backend.suggesters import Suggester, SuggesterSpec, Surroundings, open_suggesters
from nextlabel.connectors.errors import PlatformUnavailable
from nextlabel.connectors.records import Labeling, LabelKind, Record, Span
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import LABELS, ServiceFactory
from tests.backend.running import settled, started, tell
from tests.waiting import LIMIT_S, wait_for

pytestmark = pytest.mark.usefixtures("store")

RIGHT = {"cat": ["cat"], "oak": ["oak"], "pebble": ["pebble"]}
WRONG = {"oak": ["cat"], "pebble": ["oak"], "cat": ["pebble"]}


def suggesters(platform: MemoryConnector, *specs: dict[str, Any]) -> list[Suggester]:
    around = Surroundings(EncoderSpec(""), lambda spec: {})
    return open_suggesters([SuggesterSpec(**one) for one in specs], platform.labeling, around)


def truth(record: Record) -> str:
    return next(label for label in LABELS if label in record.fields["text"])


def shown(platform: MemoryConnector) -> dict[str, tuple[Any, ...]]:
    """Remote id -> what is suggested in the newest queue."""
    return {one.remote_id: one.suggestion.value for one in platform.published[-1][1] if one.suggestion is not None}


def test_a_new_project_shows_what_is_suggested_before_the_first_answer(
    make_service: ServiceFactory, platform: MemoryConnector
) -> None:
    service = started(make_service, platform, suggesters=suggesters(platform, {"name": "rules", "keywords": RIGHT}))
    found = shown(platform)
    assert found
    assert all(value == (truth(platform.pushed[remote]),) for remote, value in found.items())
    (status,) = service.status().suggesters
    assert (status["asked"], status["coverage"], status["trouble"]) == (60, 1.0, "")
    assert "accuracy" not in status["agreeing"]
    record = platform.pushed[next(iter(found))]
    (asked,) = asyncio.run(service.predict([Record(record.uid, record.fields)]))
    assert asked is not None
    assert asked.value == (truth(record),)


def test_how_far_the_asking_is_before_the_first_queue_is_told(
    make_service: ServiceFactory, platform: MemoryConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextlabel.backend.loop.suggesting.BATCH", 10)
    go_on, asked = threading.Event(), itertools.count(1)

    def slow(text: str) -> str:
        if next(asked) > 30:
            go_on.wait(LIMIT_S)
        return "cat"

    service = make_service(suggesters=suggesters(platform, {"name": "slow", "function": slow}))
    service.start()
    wait_for(lambda: service.status().done == 30)
    status = service.status()
    assert (status.state, status.total, status.generation) == ("asking slow", 60, "")
    go_on.set()
    wait_for(lambda: service.status().generation)


def test_sure_suggestions_come_last(make_service: ServiceFactory, platform: MemoryConnector) -> None:
    def sure(text: str) -> dict[str, float]:
        return {"cat": 0.98} if "cat" in text or "oak" in text else {"pebble": 0.5, "oak": 0.49}

    started(make_service, platform, suggesters=suggesters(platform, {"function": sure}), audit_share=0.0)
    first = [platform.pushed[one.remote_id].fields["text"] for one in platform.published[-1][1]]
    assert all("pebble" in text for text in first[:5])


def answered(service: Service, platform: MemoryConnector, store: Store, many: int) -> None:
    given = [platform.annotate(remote, truth(record), "ann") for remote, record in list(platform.pushed.items())[:many]]
    tell(service, store, *given)
    wait_for(lambda: settled(service, store))


def test_a_wrong_one_is_not_heard_once_answers_say_so(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    specs = {"name": "wrong", "keywords": WRONG}, {"name": "right", "keywords": RIGHT}
    service = started(make_service, platform, suggesters=suggesters(platform, *specs))
    answered(service, platform, store, 45)
    wrong, right = service.status().suggesters
    assert wrong["weight"] == 0
    assert wrong["agreeing"]["accuracy"] == 0
    assert right["agreeing"]["accuracy"] == 1
    assert right["agreeing"]["n"] + right["blind"]["n"] == 45
    assert all(value == (truth(platform.pushed[remote]),) for remote, value in shown(platform).items())


def test_one_that_is_down_holds_up_nobody_and_is_asked_again(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextlabel.backend.loop.suggesting.RETRY_S", (0.05,))
    down = [True]

    def away(texts: object) -> list[Any]:
        if down:
            raise PlatformUnavailable("http://127.0.0.1:9/api/predict does not answer")
        return one[1].say(texts)  # type: ignore[arg-type]

    one = suggesters(platform, {"name": "away", "function": lambda _: None}, {"name": "rules", "keywords": RIGHT})
    object.__setattr__(one[0], "say", away)
    service = started(make_service, platform, suggesters=one)
    assert shown(platform)  # by the other one
    status = service.status()
    assert status.last_error.startswith("suggest_from: away: http://127.0.0.1:9/api/predict does not answer")
    assert [one["trouble"] != "" for one in status.suggesters] == [True, False]
    answered(service, platform, store, 5)
    down.clear()
    wait_for(lambda: service.status().suggesters[0].get("asked") == 60)
    wait_for(lambda: service.status().suggesters[0]["trouble"] == "")


def test_nobody_is_asked_twice(make_service: ServiceFactory, platform: MemoryConnector, store: Store) -> None:
    asked: list[str] = []

    def noting(text: str) -> str:
        asked.append(text)
        return "cat"

    def made() -> list[Suggester]:
        return suggesters(platform, {"name": "noting", "function": noting})

    started(make_service, platform, suggesters=made()).stop()
    assert len(asked) == 60
    again = started(make_service, platform, suggesters=made())
    wait_for(lambda: again.status().suggesters[0].get("asked") == 60)
    assert len(asked) == 60


def test_what_is_exported_is_what_was_suggested(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store, exported: Callable[..., Any]
) -> None:
    one = suggesters(platform, {"name": "rules", "keywords": RIGHT})
    note_suggesters(store, {"rules": one[0].key})
    assert known_suggesters(store) == {"rules": one[0].key}
    service = started(make_service, platform, suggesters=one)
    found = exported(service)
    assert all(one.suggestion.value == (truth(record),) for record, one in found if one.suggestion is not None)
    assert found
    note_suggesters(store, {})
    assert not store.suggesters()


@pytest.fixture
def exported(store: Store) -> Callable[..., Any]:
    """What an export says of each record, with the model in service."""

    def of(service: Service) -> list[Any]:
        model = service._predictor._live
        assert model is not None
        stored = list(store.records())
        said = truths(store, model.question, model, everything=True)
        return [(item.record, said[item.record.uid]) for item in stored]

    return of


def test_marks_are_suggested_before_anybody_has_marked(make_service: ServiceFactory, platform: MemoryConnector) -> None:
    platform.labeling = Labeling(LabelKind.SPAN, ("animal", "tree"))
    words = {"animal": ["cat"], "tree": ["oak"]}
    started(make_service, platform, suggesters=suggesters(platform, {"keywords": words}))
    found = shown(platform)
    texts = {remote: platform.pushed[remote].fields["text"] for remote in found}
    marked = {remote: value for remote, value in found.items() if value}
    assert marked
    for remote, (span,) in marked.items():
        assert isinstance(span, Span)
        assert (texts[remote][span.start : span.end], span.label) in {("cat", "animal"), ("oak", "tree")}
