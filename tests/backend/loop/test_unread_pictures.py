"""Pictures that can't be read, in the loop: told, tried again, and never guessed about."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from nextlabel.backend.encoders.base import Encoder
from nextlabel.backend.loop import pictures
from nextlabel.backend.loop.pictures import PICTURE
from nextlabel.backend.models.registry import CHOSEN_SPACE
from nextlabel.backend.service.service import Service
from nextlabel.backend.store import Store
from nextlabel.connectors.records import Field, FieldKind, Labeling, LabelKind, Record
from nextlabel.connectors.testing import MemoryConnector
from tests import size
from tests.backend.memory_loop import ServiceFactory
from tests.backend.multimodal.picture_server import COLOURS, PictureServer, colours
from tests.backend.retraining.train.test_embedding_space import trained
from tests.backend.running import settled, started, tell
from tests.waiting import wait_for

COUNT = size.count(40, long=1000, name="NEXTLABEL_PICTURES")
BROKEN = set(range(7, COUNT, 100))
LABELING = Labeling(LabelKind.SINGLE, COLOURS, (Field("image", FieldKind.IMAGE),))

pytestmark = pytest.mark.usefixtures("fresh_lookups")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PictureServer]:
    monkeypatch.setattr(pictures, "SOONEST_S", 0.2)
    made = PictureServer()
    made.broken = set(BROKEN)
    yield made
    made.close()


@pytest.fixture
def records(server: PictureServer) -> list[Record]:
    return [Record(f"u{number}", {"image": server.url(number)}) for number in range(COUNT)]


@pytest.fixture
def store(tmp_path: Path, records: list[Record]) -> Iterator[Store]:
    """Nothing is audited: what is suggested for each record is looked at."""
    with Store.open(tmp_path / "store.sqlite") as opened:
        opened.add_records(records)
        opened.set_audit_threshold(0.0)
        yield opened


@pytest.fixture
def platform() -> MemoryConnector:
    return MemoryConnector(LABELING)


def begin(make_service: ServiceFactory, platform: MemoryConnector, folder: Path) -> Service:
    return started(make_service, platform, own=lambda: colours(folder), audit_share=0.0)


def unread(service: Service) -> int:
    return service.status().notice_counts.get(PICTURE, 0)


def label(service: Service, platform: MemoryConnector, store: Store, numbers: range) -> None:
    for number in numbers:
        tell(service, store, platform.annotate(f"r-u{number}", COLOURS[number % 2]))
    wait_for(lambda: settled(service, store))


def suggested(service: Service, records: list[Record]) -> dict[str, str | None]:
    found = asyncio.run(service.predict([Record("", one.fields) for one in records]))
    return {record.uid: None if one is None else str(one.value[0]) for record, one in zip(records, found, strict=True)}


def test_a_server_that_was_away_at_the_first_start_costs_nothing(
    make_service: ServiceFactory,
    platform: MemoryConnector,
    store: Store,
    server: PictureServer,
    records: list[Record],
    tmp_path: Path,
) -> None:
    server.away = True
    service = begin(make_service, platform, tmp_path)
    assert (unread(service), service.status().records) == (COUNT, COUNT)
    assert len(platform.queue()) == min(COUNT, 10), "people can label all the same"
    server.away, server.asked = False, Counter()
    wait_for(lambda: unread(service) == len(BROKEN))
    assert {number for number, times in server.asked.items() if times > 1} <= BROKEN
    assert len(server.asked) == COUNT
    wait_for(lambda: all("this is no image" in one["message"] for one in service.status().notices))
    told = service.status().notices
    named = {f"the picture of record 'u{number}'" for number in BROKEN}
    assert {one["message"].partition(" can't")[0] for one in told} == named
    assert all("tried again" in one["fix"] for one in told)

    label(service, platform, store, range(8, 28))
    right = {f"u{number}": None if number in BROKEN else COLOURS[number % 2] for number in range(COUNT)}
    assert suggested(service, records) == right
    service.stop()
    server.asked = Counter()
    again = begin(make_service, platform, tmp_path)
    assert set(server.asked) == BROKEN, "only what failed is fetched at the next start"
    assert unread(again) == len(BROKEN)
    server.broken = set()
    wait_for(lambda: unread(again) == 0)
    wait_for(lambda: None not in suggested(again, records).values())


def test_what_nobody_could_read_is_labelled_last_counted_and_not_learned(
    make_service: ServiceFactory,
    platform: MemoryConnector,
    store: Store,
    server: PictureServer,
    records: list[Record],
    tmp_path: Path,
) -> None:
    service = begin(make_service, platform, tmp_path)
    label(service, platform, store, range(6, 20))
    assert service.status().labelled == 14
    row = store.current_model()
    assert row is not None
    assert row.metrics["labels"] == 13, "nothing is learned of number 7"
    assert "r-u7" not in platform.queue()
    (one,) = asyncio.run(service.classify([Record("", records[7].fields)]))
    assert one is not None
    assert (one.suggestion.value, one.suggestion.score, one.probabilities) == ((), 0.0, {})
    assert one.problem.startswith("image: can't be read: broken: http://127.0.0.1")
    server.broken = set()
    wait_for(lambda: unread(service) == 0)
    wait_for(lambda: (row := store.current_model()) is not None and row.metrics["labels"] == 14)


def test_a_model_that_is_switched_to_leaves_unread_what_can_not_be_read(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store, server: PictureServer, tmp_path: Path
) -> None:
    trained(tmp_path / "models", "fine-tune-1")

    def other(_: Path) -> Encoder:
        made = colours(tmp_path)
        made.fingerprint = "other"
        return made

    service = started(make_service, platform, own=lambda: colours(tmp_path), trained=other, audit_share=0.0)
    store.set_meta(CHOSEN_SPACE, "fine-tune-1")
    wait_for(lambda: service.status().model_version.endswith("fine-tune-1"))
    assert unread(service) == len(BROKEN)
    assert {number for number, times in server.asked.items() if times > 1} <= BROKEN
