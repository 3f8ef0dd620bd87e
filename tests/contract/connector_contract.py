"""What every connector must do. A module that imports these tests brings ``platform``, a fixture.

A platform brings a maker of projects and a way to answer as an annotator; everything else goes through the protocol.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from nextlabel.connectors.base import Connector, Finding, ProjectRef, Severity
from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.records import (
    Annotation,
    AnnotationStatus,
    Changes,
    Field,
    FieldKind,
    GivenAnswer,
    Hint,
    Labeling,
    LabelKind,
    QueueEntry,
    Record,
    RemoteRecord,
    Suggestion,
)

LABELING = Labeling(LabelKind.SINGLE, ("sport", "politics"))


@dataclass
class Platform:
    """One platform under test, and its users by number.

    ``make`` a project, ``answer`` a record as a user (None skips it) and get the answer's id, ``take_back`` an answer
    as the user who gave it, ``delete`` or ``correct`` a record as the owner, look at the ``next`` record that a user is
    served.
    ``unknown`` is an event that means nothing; ``keeps_rows``: whether a generation leaves rows of its own behind.
    """

    name: str
    make: Callable[..., Connector]
    answer: Callable[[Connector, str, str | None, int], str]
    take_back: Callable[[Connector, str, int], None]
    delete: Callable[[Connector, str], None]
    correct: Callable[[Connector, str, str], None]
    next: Callable[[Connector, int], str | None]
    unknown: Mapping[str, Any]
    keeps_rows: bool

    def serve(self, connector: Connector, count: int, user: int = 0) -> list[str]:
        """The next ``count`` records that a user is served, each of them answered."""
        served = []
        for _ in range(count):
            record = self.next(connector, user)
            assert record is not None
            served.append(record)
            self.answer(connector, record, "sport", user)
        return served


@pytest.fixture
def connector(platform: Platform) -> Connector:
    return platform.make()


def numbered(count: int) -> list[Record]:
    return [Record(f"u{number}", {"text": f"text {number} ✨ مرحبا"}, {"row": number}) for number in range(count)]


def entries(ids: Sequence[str], first: int = 0) -> list[QueueEntry]:
    shown = Suggestion(("politics",), 0.6, "model-1")
    return [QueueEntry(task, rank, None if rank % 4 == 1 else shown) for rank, task in enumerate(ids, first)]


def test_it_fulfils_the_protocol(platform: Platform, connector: Connector):
    assert isinstance(connector, Connector)
    assert isinstance(connector.project, ProjectRef)
    assert connector.project.platform == platform.name
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


def test_who_wants_the_newest_records_gets_them_first(connector: Connector):
    connector.push(numbered(120))
    ids = connector.push(numbered(123))
    newest = [item.remote_id for item in connector.records(newest_first=True)]
    assert set(newest[:3]) == {ids["u120"], ids["u121"], ids["u122"]}
    assert sorted(newest) == sorted(ids.values())


def test_answers_come_in_once_with_their_ids(platform: Platform, connector: Connector):
    ids = list(connector.push(numbered(4)).values())
    assert connector.changes(None).annotations == ()
    platform.answer(connector, ids[0], "sport", 0)
    platform.answer(connector, ids[2], None, 0)
    changes = connector.changes(None)
    got = {one.remote_id: (one.value, one.status) for one in changes.annotations}
    assert got == {ids[0]: (("sport",), AnnotationStatus.SUBMITTED), ids[2]: ((), AnnotationStatus.SKIPPED)}
    assert len({one.id for one in changes.annotations}) == 2
    assert all(one.updated_at.tzinfo is not None for one in changes.annotations)
    platform.answer(connector, ids[1], "politics", 1)
    later = connector.changes(changes.cursor)
    assert ids[1] in {one.remote_id for one in later.annotations}, "no gap after the cursor"
    for one in (*changes.annotations, *later.annotations):
        assert one.id in (later.complete.get(one.remote_id) or changes.complete[one.remote_id])


def test_answers_from_elsewhere_are_there_once_and_push_no_other_aside(platform: Platform, connector: Connector):
    """Several people about one record, a skip, somebody's own answer, and a record that is gone."""
    ids = list(connector.push(numbered(4)).values())
    own = platform.answer(connector, ids[1], "politics", 0)
    platform.delete(connector, ids[3])
    [mine] = connector.changes(None).annotations
    people = connector.make_accounts(["anna", "Ben Ö."])
    assert connector.make_accounts(["anna"]) == {"anna": people["anna"]}
    assert {*people.values(), connector.own_account()} <= connector.accounts().keys()
    given = [
        GivenAnswer("k1", ids[0], people["anna"], ("sport",)),
        GivenAnswer("k2", ids[0], people["Ben Ö."], ("politics",)),
        GivenAnswer("k3", ids[2], people["anna"], (), AnnotationStatus.SKIPPED),
        GivenAnswer("k4", ids[1], mine.annotator, ("sport",)),
        GivenAnswer("k5", ids[3], people["anna"], ("sport",)),
        GivenAnswer("k6", ids[1], people["anna"], ("no such label",)),
    ]
    said: list[Changes] = []
    assert connector.give(given, said.append).keys() == {"k5", "k6"}
    there = _by_person(connector)
    assert {key: (value, status) for key, (_, value, status) in there.items()} == {
        (ids[0], people["anna"]): (("sport",), AnnotationStatus.SUBMITTED),
        (ids[0], people["Ben Ö."]): (("politics",), AnnotationStatus.SUBMITTED),
        (ids[2], people["anna"]): ((), AnnotationStatus.SKIPPED),
        (ids[1], mine.annotator): (("politics",), AnnotationStatus.SUBMITTED),
    }
    assert there[ids[1], mine.annotator][0] == own
    told = {one.id: (one.remote_id, one.annotator, one.value) for part in said for one in part.annotations}
    assert told == {number: (*key, value) for key, (number, value, _) in there.items()}
    assert connector.give(given, said.append).keys() == {"k5", "k6"}
    assert _by_person(connector) == there, "sent again, it is there once, as it was"


def test_answers_that_come_with_new_records_are_no_others_than_those_that_are_given(connector: Connector):
    """Whether the platform took them together or not, they are there once in the end; one that can't be is refused."""
    anna, *_ = connector.make_accounts(["anna"]).values()
    some = {
        "u0": [GivenAnswer("k0", "", anna, ("sport",))],
        "u1": [GivenAnswer("k1", "", anna, ("no such label",))],
        "u2": [GivenAnswer("k2", "", anna, (), AnnotationStatus.SKIPPED)],
    }
    ids = connector.push(numbered(3), answers=some)
    assert ids.keys() == {"u0", "u1", "u2"}
    given = [replace(one, remote_id=ids[uid]) for uid, answers in some.items() for one in answers]
    assert connector.give(given, lambda changes: None).keys() == {"k1"}
    assert {key: (value, status) for key, (_, value, status) in _by_person(connector).items()} == {
        (ids["u0"], anna): (("sport",), AnnotationStatus.SUBMITTED),
        (ids["u2"], anna): ((), AnnotationStatus.SKIPPED),
    }
    assert not any(one.is_truth for page in connector.annotated() for one in page.annotations)


def _by_person(connector: Connector) -> Mapping[tuple[str, str], tuple[str, object, AnnotationStatus]]:
    """(record, annotator) -> id, value and status of what they answered; nobody has two."""
    found = [one for page in connector.annotated() for one in page.annotations]
    by = {(one.remote_id, one.annotator): (one.id, one.value, one.status) for one in found}
    assert len(by) == len(found)
    return by


def test_what_others_do_with_records_is_told(platform: Platform, connector: Connector):
    """A record that was corrected is listed as it is now, and one that was added; so is how many there are."""
    ids = list(connector.push(numbered(3)).values())
    cursor = connector.changes(None).cursor
    platform.correct(connector, ids[1], "corrected ✨")
    platform.delete(connector, ids[2])
    connector.push([Record("new", {"text": "new"})])
    told = connector.changes(cursor)
    said = {item.record.uid: item.record.fields["text"] for item in told.records}
    assert (said["u1"], said["new"]) == ("corrected ✨", "new")
    assert told.total == 3


def test_a_generation_is_served_before_all_others_and_can_grow(platform: Platform, connector: Connector):
    ids = list(connector.push(numbered(12)).values())[::-1]
    connector.publish("nl-contract-1", entries(ids[6:10]))
    connector.publish("nl-contract-2", entries(ids[:3]))
    connector.extend("nl-contract-2", entries(ids[3:5], first=3))
    assert sorted(platform.serve(connector, 5)) == sorted(ids[:5])


def test_the_best_record_is_served_first(platform: Platform, connector: Connector):
    ids = list(connector.push(numbered(6)).values())
    for user, record in enumerate((ids[4], ids[2])):  # whoever has a record open may keep it: somebody else each time
        connector.publish(f"nl-contract-{user}", entries([record]))
        assert platform.next(connector, user) == record


def test_old_generations_go_and_the_one_in_force_stays(platform: Platform, connector: Connector):
    """Where a generation leaves rows of its own, they are listed until it is retired; elsewhere there is nothing."""

    def listed(*versions: str) -> bool:
        return sorted(connector.generations()) == (sorted(versions) if platform.keeps_rows else [])

    ids = list(connector.push(numbered(6)).values())
    assert connector.generations() == ()
    connector.publish("nl-contract-1", entries(ids[:4]))
    assert listed("nl-contract-1")
    connector.publish("nl-contract-2", entries(ids[4:]))
    assert listed("nl-contract-1", "nl-contract-2")
    connector.retire("nl-contract-1")
    assert listed("nl-contract-2")
    assert sorted(platform.serve(connector, 2)) == sorted(ids[4:])


def test_an_unknown_label_is_refused_and_the_queue_stays(platform: Platform, connector: Connector):
    ids = list(connector.push(numbered(4)).values())
    connector.publish("nl-contract-1", entries(ids[3:]))
    with pytest.raises(LabelingMismatch, match="economy"):
        connector.publish("nl-contract-2", [QueueEntry(ids[0], 0, Suggestion(("economy",), 0.5, "m"))])
    assert platform.serve(connector, 1) == [ids[3]]


def test_a_record_that_is_asked_about_again_goes_to_somebody_else(platform: Platform, connector: Connector):
    ids = list(connector.push(numbered(4)).values())
    connector.publish("nl-contract-1", entries(ids[:1]))
    assert platform.serve(connector, 1, user=0) == ids[:1]
    connector.changes(None)
    connector.ask_again(ids[:1], 2)
    connector.publish("nl-contract-2", entries(ids[:1]))
    deadline = time.monotonic() + 120
    while platform.next(connector, 1) != ids[0]:  # a platform may open the record again in the background
        assert time.monotonic() < deadline, "it reached nobody"
    assert platform.next(connector, 0) not in (None, ids[0]), "who answered it is not asked again"
    assert platform.serve(connector, 1, user=1) == ids[:1]
    answers = {one.annotator: one.remote_id for one in connector.changes(None).annotations}
    assert list(answers.values()) == [ids[0], ids[0]]


def test_records_that_are_gone_are_told_from_those_that_are_there(platform: Platform, connector: Connector):
    ids = list(connector.push(numbered(5)).values())
    assert connector.missing(ids) == ()
    for gone in (ids[1], ids[4]):
        platform.delete(connector, gone)
    assert sorted(connector.missing(ids)) == sorted([ids[1], ids[4]])
    assert connector.missing([ids[0], ids[2]]) == ()
    assert connector.missing([ids[4]]) == (ids[4],)
    assert connector.missing([]) == ()


def test_annotations_are_asked_for_by_themselves(platform: Platform, connector: Connector):
    ids = list(connector.push(numbered(4)).values())
    given, skipped, gone, lost = (
        platform.answer(connector, record, label, 0)
        for record, label in zip(ids, ("sport", None, "politics", "sport"), strict=True)
    )
    where = dict(zip((given, skipped, gone, lost), ids, strict=True))
    assert connector.annotations(where) == {one.id: one for one in connector.changes(None).annotations}
    platform.take_back(connector, gone, 0)
    platform.delete(connector, ids[3])
    found = connector.annotations(where)
    assert {number: one.status if isinstance(one, Annotation) else one for number, one in found.items()} == {
        given: AnnotationStatus.SUBMITTED,
        skipped: AnnotationStatus.SKIPPED,
        gone: None,
        lost: None,
    }
    assert connector.annotations({}) == {}


def test_what_belongs_to_another_project_is_not_ours(platform: Platform, connector: Connector):
    other = platform.make()
    [record] = other.push(numbered(1)).values()
    theirs = platform.answer(other, record, "sport", 0)
    assert connector.annotations({theirs: record}).get(theirs) is None
    assert other.annotations({theirs: record})[theirs] is not None
    assert [page for page in connector.annotated() if page.annotations] == []


def test_every_annotation_is_listed(platform: Platform, connector: Connector):
    ids = list(connector.push(numbered(6)).values())
    assert [page for page in connector.annotated() if page.annotations] == []
    for user in (0, 1):
        for record in ids[:4]:
            platform.answer(connector, record, "sport" if user else None, user)
    pages = list(connector.annotated())
    told = connector.changes(None)
    assert {one.id: one for page in pages for one in page.annotations} == {one.id: one for one in told.annotations}
    complete = {record: here for page in pages for record, here in page.complete.items()}
    assert complete == {record: here for record, here in told.complete.items() if here}
    assert set(complete) == set(ids[:4])


def test_events_are_read_or_refused(platform: Platform, connector: Connector):
    assert connector.parse_event(platform.unknown) == Hint()
    with pytest.raises(ValueError, match="malformed"):
        connector.parse_event({})


def test_a_delivery_that_nobody_signed_is_not_authentic(connector: Connector):
    assert not connector.authentic({}, b"{}")


def test_the_doctor_says_a_fix_for_all_that_is_wrong(connector: Connector):
    found = list(connector.diagnose())
    assert found
    for one in found:
        assert isinstance(one, Finding)
        assert one.severity is Severity.OK or one.fix


@dataclass
class ByName:
    """Images by addresses that say which they are."""

    begin: str

    def shown(self, image: str) -> str:
        """Under which address it is served."""
        data = image.startswith("data:image/png;base64,")
        return f"{self.begin}{image.rpartition(',')[2].rstrip('=')}.png" if data and self.begin else image

    def known(self, address: str) -> str:
        """The image that is there."""
        begin, _, name = address.rpartition("/")
        if not begin.startswith("http://images"):
            return address
        digits = name.removesuffix(".png")
        return f"data:image/png;base64,{digits}{'=' * (-len(digits) % 4)}"


def test_images_go_by_address_and_back_and_the_records_stay_the_same(platform: Platform):
    shown = Labeling(LabelKind.SINGLE, LABELING.labels, (Field("text"), Field("image", FieldKind.IMAGE)))
    connector = platform.make(shown)
    numbers = [f"data:image/png;base64,iVBORw0KGgoA{number:04d}" for number in range(3)]
    records = [Record(f"u{at}", {"text": f"text {at}", "image": image}) for at, image in enumerate(numbers)]
    records.append(Record("web", {"text": "another", "image": "https://example.org/cat.png"}))

    def standing() -> list[str]:
        assert {one.record.uid: one.record for one in connector.records()} == {one.uid: one for one in records}
        return sorted(connector.image_addresses(10))

    connector.images = ByName("http://images.example.org/a/")
    ids = connector.push(records)
    assert standing() == sorted([connector.images.shown(one) for one in numbers] + [records[-1].fields["image"]])
    assert connector.push(records) == ids
    platform.answer(connector, ids["u1"], "sport", 0)
    cursor = connector.changes(None).cursor
    connector.images = ByName("http://images.example.org/b/")
    assert connector.turn_images() == 3
    assert all("/b/" in address or "/cat" in address for address in standing())
    assert connector.turn_images() == 0
    news = connector.changes(cursor)
    assert {one.record.uid: one.record for one in news.records if one.record.uid in ids}.items() <= {
        one.uid: one for one in records
    }.items()
    connector.images = ByName("")
    assert connector.turn_images() == 3
    assert standing() == sorted([*numbers, records[-1].fields["image"]])
    answers = [one for page in connector.annotated() for one in page.annotations]
    assert [(one.remote_id, one.value) for one in answers] == [(ids["u1"], ("sport",))]
    assert connector.image_addresses(1) in ([numbers[-1]], [records[-1].fields["image"]])
