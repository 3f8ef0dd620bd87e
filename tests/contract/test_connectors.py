"""What every connector must do, on a real server of its platform. A new platform joins by one entry in PLATFORMS.

A platform brings a maker of projects and a way to answer as an annotator; everything else goes through the protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from nextlabel.connectors.base import Connector, Finding, ProjectRef, Severity
from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.records import (
    AnnotationStatus,
    Changes,
    Labeling,
    LabelKind,
    QueueEntry,
    Record,
    RemoteRecord,
    Suggestion,
)

pytestmark = pytest.mark.live

LABELING = Labeling(LabelKind.SINGLE, ("sport", "politics"))


@dataclass
class Platform:
    """One platform under test: ``make`` a project, ``answer`` a record (None skips it), and ``serve`` the next ones."""

    make: Callable[[], Connector]
    answer: Callable[[Connector, str, str | None], None]
    serve: Callable[[Connector, int], list[str]]


def label_studio_platform(request: pytest.FixtureRequest) -> Platform:
    from nextlabel.backend.stack import Annotator

    server = request.getfixturevalue("label_studio")
    token = request.getfixturevalue("annotators")[0]

    def annotator(connector: Connector) -> Annotator:
        return Annotator(server.url, token, connector.project.id)

    def answer(connector: Connector, remote_id: str, label: str | None) -> None:
        with annotator(connector) as ann:
            if label is None:
                ann.skip(int(remote_id))
            else:
                ann.submit(int(remote_id), label)

    def serve(connector: Connector, count: int) -> list[str]:
        served = []
        with annotator(connector) as ann:
            for _ in range(count):
                task = ann.next_task()
                assert task is not None
                served.append(str(task["id"]))
                ann.submit(task, "sport")
        return served

    return Platform(request.getfixturevalue("label_studio_project"), answer, serve)


PLATFORMS = {"label-studio": label_studio_platform}


@pytest.fixture(params=PLATFORMS)
def platform(request: pytest.FixtureRequest) -> Platform:
    return PLATFORMS[request.param](request)


@pytest.fixture
def connector(platform: Platform) -> Connector:
    return platform.make()


def numbered(count: int) -> list[Record]:
    return [Record(f"u{number}", {"text": f"text {number} ✨ مرحبا"}, {"row": number}) for number in range(count)]


def entries(ids: Sequence[str], first: int = 0) -> list[QueueEntry]:
    shown = Suggestion(("politics",), 0.6, "model-1")
    return [QueueEntry(task, rank, None if rank % 4 == 1 else shown) for rank, task in enumerate(ids, first)]


def test_it_fulfils_the_protocol(connector: Connector):
    assert isinstance(connector, Connector)
    assert isinstance(connector.project, ProjectRef)
    assert connector.project.platform in PLATFORMS
    assert connector.project.link.startswith("http")
    assert connector.labeling == LABELING
    assert connector.overlap == 1


def test_push_is_idempotent_and_records_come_back(connector: Connector):
    progress: list[tuple[int, int]] = []
    ids = connector.push(numbered(5), lambda done, total: progress.append((done, total)))
    assert progress[-1] == (5, 5)
    assert connector.push(numbered(5)) == ids
    more = connector.push(numbered(7))
    assert {uid: more[uid] for uid in ids} == ids
    back = sorted(connector.records(), key=lambda item: item.record.uid)
    assert back == [RemoteRecord(more[record.uid], record) for record in numbered(7)]
    assert connector.push([]) == {}


def test_answers_come_in_once_with_their_ids(platform: Platform, connector: Connector):
    ids = list(connector.push(numbered(4)).values())
    assert connector.changes(None).annotations == ()
    platform.answer(connector, ids[0], "sport")
    platform.answer(connector, ids[2], None)
    changes = connector.changes(None)
    got = {one.remote_id: (one.value, one.status) for one in changes.annotations}
    assert got == {ids[0]: (("sport",), AnnotationStatus.SUBMITTED), ids[2]: ((), AnnotationStatus.SKIPPED)}
    assert len({one.id for one in changes.annotations}) == 2
    assert all(one.updated_at.tzinfo is not None for one in changes.annotations)
    platform.answer(connector, ids[1], "politics")
    later = connector.changes(changes.cursor)
    assert ids[1] in {one.remote_id for one in later.annotations}, "no gap after the cursor"
    for one in (*changes.annotations, *later.annotations):
        assert one.id in (later.complete.get(one.remote_id) or changes.complete[one.remote_id])


def test_a_generation_is_served_in_rank_order_and_can_grow(platform: Platform, connector: Connector):
    ids = list(connector.push(numbered(12)).values())[::-1]
    connector.publish("nl-contract-1", entries(ids[6:10]))
    connector.publish("nl-contract-2", entries(ids[:3]))
    connector.extend("nl-contract-2", entries(ids[3:5], first=3))
    assert platform.serve(connector, 5) == ids[:5]


def test_old_generations_are_listed_until_they_are_retired(connector: Connector):
    ids = list(connector.push(numbered(6)).values())
    assert connector.generations() == ()
    connector.publish("nl-contract-1", entries(ids[:4]))
    connector.publish("nl-contract-2", entries(ids[2:]))
    assert set(connector.generations()) == {"nl-contract-1", "nl-contract-2"}
    connector.retire("nl-contract-1")
    assert set(connector.generations()) == {"nl-contract-2"}


def test_an_unknown_label_is_refused_and_the_queue_stays(platform: Platform, connector: Connector):
    ids = list(connector.push(numbered(4)).values())
    connector.publish("nl-contract-1", entries(ids[::-1]))
    with pytest.raises(LabelingMismatch, match="economy"):
        connector.publish("nl-contract-2", [QueueEntry(ids[0], 0, Suggestion(("economy",), 0.5, "m"))])
    assert platform.serve(connector, 1) == [ids[3]]


def test_records_that_are_gone_are_told_from_those_that_are_there(connector: Connector):
    ids = list(connector.push(numbered(3)).values())
    assert connector.deletions(ids) == ()


def test_events_are_read_or_refused(connector: Connector):
    assert connector.parse_event({"action": "nobody knows this"}) == Changes()
    with pytest.raises(ValueError, match="malformed"):
        connector.parse_event({})


def test_the_doctor_says_a_fix_for_all_that_is_wrong(connector: Connector):
    found = list(connector.diagnose())
    assert found
    for one in found:
        assert isinstance(one, Finding)
        assert one.severity is Severity.OK or one.fix
