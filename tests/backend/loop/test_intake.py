"""What enters the log was read from the platform, whatever a webhook says and whatever a listing lacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from nextlabel.backend.loop.intake import LOOKS_S, MANY, MOST_FAILURES, MOST_HINTS, Intake
from nextlabel.backend.store import Store
from nextlabel.connectors.errors import PlatformUnavailable
from nextlabel.connectors.records import Annotation, AnnotationStatus, Changes, Found, Hint, Unreadable
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.running import about


@pytest.fixture
def news() -> list[float | None]:
    return []


@pytest.fixture
def gone() -> list[str]:
    return []


@pytest.fixture
def intake(platform: MemoryConnector, store: Store, news: list[float | None], gone: list[str]) -> Intake:
    platform.push([item.record for item in store.records()])
    store.set_remote({item.record.uid: f"r-{item.record.uid}" for item in store.records()})
    return Intake(store, platform, on_news=news.append, on_gone=gone.extend, wake=lambda: None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock that hints are put off by."""
    now = [1000.0]
    monkeypatch.setattr("nextlabel.backend.loop.intake.time.monotonic", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


def work(intake: Intake) -> None:
    """All that is to do now."""
    for _ in range(1000):
        if intake.tick() > 0:
            return
    raise AssertionError("it never comes to rest")


def logged(store: Store) -> dict[str, Annotation]:
    return {one.id: one for one in store.answers(drafts=True)}


def label(platform: MemoryConnector, count: int) -> list[Annotation]:
    return [platform.annotate(remote_id, "cat") for remote_id in list(platform.pushed)[:count]]


def give(intake: Intake, platform: MemoryConnector, count: int) -> list[Annotation]:
    """So many answers, in the log already."""
    given = label(platform, count)
    intake.notify(about(*given))
    work(intake)
    return given


# -- hints -----------------------------------------------------------------------------------------------------------


def test_a_hint_brings_in_what_the_platform_has(
    intake: Intake, platform: MemoryConnector, store: Store, news: list[float | None]
) -> None:
    [one] = label(platform, 1)
    assert intake.notify(about(one))
    assert logged(store) == {}, "nothing is taken from the hint itself"
    work(intake)
    assert logged(store) == {one.id: one}
    assert [when is not None for when in news] == [True]
    intake.notify(about(one))
    work(intake)
    assert len(news) == 1, "a repeat is no news"


def test_forged_hints_change_nothing(intake: Intake, platform: MemoryConnector, store: Store, gone: list[str]) -> None:
    one, two = give(intake, platform, 2)
    before = store.head()
    intake.notify(Hint(annotations={"invented": "r-u5", one.id: one.remote_id, two.id: None}))
    intake.notify(Hint(records=frozenset({one.remote_id, "r-u9", "never seen"})))
    intake.notify(Hint(annotations={one.id: "r-u7"}))  # on another record
    work(intake)
    assert logged(store) == {one.id: one, two.id: two}
    assert store.head() == before
    assert gone == []


def test_an_announced_annotation_that_is_not_there_yet_is_looked_for_again(
    intake: Intake, platform: MemoryConnector, store: Store, clock: Callable[[float], None]
) -> None:
    [one] = label(platform, 1)
    del platform.answers[one.id]
    intake.notify(about(one))
    work(intake)
    assert logged(store) == {}
    platform.answers[one.id] = one
    work(intake)
    assert logged(store) == {}, "not before it is due"
    clock(LOOKS_S[0])
    work(intake)
    assert logged(store) == {one.id: one}


def test_what_never_comes_is_left_to_the_poll(
    intake: Intake, platform: MemoryConnector, clock: Callable[[float], None]
) -> None:
    intake.notify(Hint(annotations={"invented": "r-u5"}))
    for _ in range(10):
        work(intake)
        clock(10)
    assert platform.asked_for == ["invented"] * (1 + len(LOOKS_S))


def test_a_platform_that_is_down_loses_no_hint(
    intake: Intake, platform: MemoryConnector, store: Store, clock: Callable[[float], None]
) -> None:
    one, two = label(platform, 2)
    platform.fail_next["annotations"] = PlatformUnavailable("down")
    intake.notify(about(one))
    with pytest.raises(PlatformUnavailable):
        intake.tick()
    intake.notify(about(two))
    work(intake)
    clock(LOOKS_S[0])
    work(intake)
    assert logged(store) == {one.id: one, two.id: two}


def test_there_is_an_end_to_hints(intake: Intake) -> None:
    assert intake.notify(Hint(annotations={str(number): None for number in range(MOST_HINTS + 1)}))
    assert not intake.notify(Hint(annotations={"one more": None}))


def test_the_version_that_was_shown_is_kept_if_it_is_one_of_ours(
    intake: Intake, platform: MemoryConnector, store: Store
) -> None:
    row = store.plan_generation(0, "probe-0", 1)
    store.mark_published(row.number)
    now = datetime.now(UTC)
    answers = {}
    for number, (version, when) in enumerate(
        {row.version: now, "nl-theirs-1": now, f"{row.version} ": now - timedelta(hours=1)}.items()
    ):
        one = replace(platform.annotate(f"r-u{number}", "cat"), updated_at=when)
        platform.answers[one.id] = one
        answers[one.id] = version.strip()
        intake.notify(Hint(annotations={one.id: one.remote_id}, seen_versions={one.id: version.strip()}))
    work(intake)
    assert [logged(store)[number].seen_version for number in answers] == [row.version, None, None]


# -- absence ---------------------------------------------------------------------------------------------------------


def test_an_answer_that_is_gone_is_hidden_and_comes_back(
    intake: Intake, platform: MemoryConnector, store: Store
) -> None:
    one, two = give(intake, platform, 2)
    del platform.answers[one.id]
    intake.notify(Hint(annotations={one.id: None}))
    work(intake)
    assert set(logged(store)) == {two.id}
    platform.answers[one.id] = one
    intake.notify(Hint(annotations={one.id: None}))
    work(intake)
    assert set(logged(store)) == {one.id, two.id}


def test_a_stale_listing_hides_nothing(intake: Intake, platform: MemoryConnector, store: Store) -> None:
    """It lacks an answer, and has another as it was before: each is asked for by itself."""
    one, two = give(intake, platform, 2)
    platform.answers[two.id] = new = replace(two, value=("oak",), updated_at=two.updated_at + timedelta(seconds=5))
    intake.notify(about(new))
    work(intake)
    stale = Changes((two,), {one.remote_id: frozenset(), two.remote_id: frozenset({two.id})})
    new_rows, doubts = intake.read(stale, store.head())
    assert new_rows == 0
    assert doubts == {one.id: one.remote_id, two.id: two.remote_id}
    intake.doubt(doubts)
    work(intake)
    assert logged(store) == {one.id: one, two.id: new}


def test_a_platform_that_went_back_is_followed(intake: Intake, platform: MemoryConnector, store: Store) -> None:
    one, two, *_ = give(intake, platform, 5)
    platform.answers[one.id] = replace(one, value=("oak",), updated_at=one.updated_at - timedelta(days=1))
    del platform.answers[two.id]
    changes = platform.changes(None)
    _, doubts = intake.read(changes, store.head())
    intake.doubt(doubts)
    work(intake)
    assert logged(store) == platform.answers
    assert intake.is_settled


def test_an_answer_that_came_in_while_it_was_asked_for_is_not_hidden(
    intake: Intake, platform: MemoryConnector, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another replica logs it between our question and our writing down that it is not there."""
    [one] = label(platform, 1)
    there = dict(platform.answers)
    platform.answers.clear()
    ask = platform.annotations

    def slow(wanted: dict[str, str | None]) -> dict[str, Found | None]:
        found = ask(wanted)
        platform.answers.update(there)
        store.append(Changes((one,)))
        return found

    monkeypatch.setattr(platform, "annotations", slow)
    intake.doubt({one.id: one.remote_id})
    work(intake)
    assert logged(store) == {one.id: one}


# -- too much to be believed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("otherwise", [False, True], ids=["gone", "of another content"])
def test_everything_gone_at_once_is_told_and_not_believed(
    intake: Intake, platform: MemoryConnector, store: Store, otherwise: bool
) -> None:
    given = give(intake, platform, MANY + 5)
    before = dict(platform.answers)
    platform.answers.clear()
    if otherwise:
        platform.answers.update({one.id: replace(one, value=()) for one in given})
    intake.doubt({one.id: one.remote_id for one in given})
    work(intake)
    assert logged(store) == before
    assert f"{len(given)} answers" in intake.withheld.told
    assert "nextlabel compare --believe" in intake.withheld.told
    assert intake.withheld.count == len(given)

    platform.answers.update(before)  # it was a mistake, and is mended
    intake.doubt_withheld()
    work(intake)
    assert (intake.withheld.told, intake.withheld.count) == ("", 0)
    assert logged(store) == before


def test_what_somebody_decided_is_believed_once(intake: Intake, platform: MemoryConnector, store: Store) -> None:
    given = give(intake, platform, 40)
    for one in given[:25]:
        del platform.answers[one.id]
    intake.notify(Hint(annotations={one.id: None for one in given[:25]}))
    work(intake)
    assert len(logged(store)) == 40
    intake.doubt_withheld(believe=True)
    work(intake)
    assert set(logged(store)) == {one.id for one in given[25:]}
    assert intake.withheld.told == ""
    platform.answers.clear()
    intake.doubt({one.id: one.remote_id for one in given[25:]})
    work(intake)
    assert len(logged(store)) == 15, "the next time it is told again"


def test_what_is_kept_while_it_is_asked_for_stays(
    intake: Intake, platform: MemoryConnector, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody decides between our question and our writing down that it is not there."""
    given = give(intake, platform, 5)
    intake.withheld.note_restore()
    platform.answers.clear()
    intake.doubt({one.id: one.remote_id for one in given})
    work(intake)

    def decide(_: object) -> frozenset[str]:
        intake.withheld.keep()
        return frozenset()

    monkeypatch.setattr(platform, "departed", decide)
    intake.doubt_withheld()
    work(intake)
    assert set(logged(store)) == {one.id for one in given}
    assert (intake.withheld.kept, intake.withheld.count) == (5, 0)


def test_what_is_kept_before_anything_was_compared_stays(
    intake: Intake, platform: MemoryConnector, store: Store
) -> None:
    """After a restart nothing is withheld yet: it is kept as it is found."""
    given = give(intake, platform, 5)
    intake.withheld.note_restore()
    later = Intake(store, platform, on_news=lambda _: None, on_gone=lambda _: None, wake=lambda: None)
    later.withheld.keep()
    platform.answers.clear()
    later.doubt({one.id: one.remote_id for one in given})
    work(later)
    later.withheld.compared()
    assert set(logged(store)) == {one.id for one in given}
    assert (later.withheld.kept, later.withheld.count, later.withheld.went_back) == (5, 0, False)


def test_a_few_are_believed_even_if_they_are_all(intake: Intake, platform: MemoryConnector, store: Store) -> None:
    given = give(intake, platform, MANY - 1)
    platform.answers.clear()
    intake.notify(Hint(annotations={one.id: None for one in given}))
    work(intake)
    assert logged(store) == {}


def test_all_records_gone_at_once_are_told_and_not_believed(
    intake: Intake, platform: MemoryConnector, store: Store, gone: list[str]
) -> None:
    known, pushed = store.remote_ids(), dict(platform.pushed)
    del platform.pushed[known[0]]
    intake.notify(Hint(records=frozenset(known[:3])))
    work(intake)
    assert gone == known[:1]
    assert set(store.remote_ids()) == set(known[1:])
    platform.pushed.clear()
    intake.notify(Hint(records=frozenset(known)))
    work(intake)
    assert gone == known[:1]
    assert "59 records" in intake.withheld.told
    platform.pushed.update(pushed)
    intake.doubt_withheld()
    work(intake)
    assert intake.withheld.told == ""
    platform.pushed.clear()
    intake.notify(Hint(records=frozenset(known)))
    work(intake)
    intake.doubt_withheld(believe=True)
    work(intake)
    assert store.remote_ids() == []


# -- what can't be read ----------------------------------------------------------------------------------------------


@pytest.fixture
def odd(intake: Intake, platform: MemoryConnector, store: Store) -> Annotation:
    """An answer that was read once, and that its annotator has changed into one that can't be."""
    [one] = give(intake, platform, 1)
    del platform.answers[one.id]
    platform.odd[one.id] = Unreadable(one.id, one.remote_id, "ann", "a span without offsets", "correct it")
    return one


def test_what_can_not_be_read_is_told_and_keeps_nobody_else_out(
    intake: Intake, platform: MemoryConnector, store: Store, odd: Annotation
) -> None:
    good = platform.annotate("r-2", "cat")
    intake.read(platform.changes(None), store.head())
    assert set(logged(store)) == {odd.id, good.id}, "what was read of it before stays"
    [notice] = store.notices()
    assert (notice.kind, notice.fix, notice.remote_id) == ("annotation", "correct it", odd.remote_id)
    assert notice.message == (
        f"annotation {odd.id} by ann@example.com of record {odd.remote_id} can't be read: a span without offsets"
    )


def test_who_has_no_name_goes_by_the_id(
    intake: Intake, platform: MemoryConnector, store: Store, odd: Annotation
) -> None:
    platform.fail_next["annotator_names"] = PlatformUnavailable("down")
    intake.read(platform.changes(None), store.head())
    assert " by annotator ann of record " in store.notices()[0].message
    intake.read(platform.changes(None), store.head())
    assert " by annotator ann of record " in store.notices()[0].message, "the platform knows nobody called so"


def test_a_hint_of_one_that_can_not_be_read_is_followed_once(
    intake: Intake, platform: MemoryConnector, store: Store, odd: Annotation
) -> None:
    good = platform.annotate("r-2", "cat")
    platform.asked_for.clear()
    intake.notify(about(odd, good))
    work(intake)
    assert good.id in logged(store)
    assert platform.asked_for.count(odd.id) == 1
    assert len(store.notices()) == 1


def test_one_that_can_not_be_read_is_not_taken_for_absent(
    intake: Intake, platform: MemoryConnector, store: Store, odd: Annotation
) -> None:
    _, doubts = intake.read(next(platform.annotated()), store.head())
    assert doubts == {}
    intake.doubt({odd.id: odd.remote_id})
    work(intake)
    assert intake.is_settled
    assert odd.id in logged(store)


@pytest.mark.parametrize("by", ["poll", "webhook"])
@pytest.mark.parametrize("now", ["readable", "deleted", "record deleted"])
def test_what_is_over_is_told_no_longer(
    intake: Intake, platform: MemoryConnector, store: Store, odd: Annotation, now: str, by: str
) -> None:
    intake.read(platform.changes(None), store.head())
    del platform.odd[odd.id]
    if now == "readable":
        platform.answers[odd.id] = odd
    if now == "record deleted":
        platform.delete(odd.remote_id)
        intake.notify(Hint(records=frozenset({odd.remote_id})))
    elif by == "poll":
        intake.read(platform.changes(None), store.head())
    else:
        intake.notify(about(odd))
    work(intake)
    assert [one for one in store.notices() if one.kind == "annotation"] == []


# -- failures --------------------------------------------------------------------------------------------------------


def test_one_that_can_not_be_asked_for_holds_up_no_other(
    intake: Intake, platform: MemoryConnector, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = give(intake, platform, 8)
    bad, ask = given[2].id, platform.annotations
    platform.answers = {given[0].id: given[0], bad: given[2]}

    def annotations(wanted: dict[str, str | None]) -> dict[str, Found | None]:
        if bad in wanted:
            raise PlatformUnavailable("500 for this one")
        return ask(wanted)

    monkeypatch.setattr(platform, "annotations", annotations)
    intake.doubt({one.id: one.remote_id for one in given})
    failures = 0
    for _ in range(100):
        try:
            if intake.tick() > 0:
                break
        except PlatformUnavailable:
            failures += 1
    assert MOST_FAILURES <= failures <= 3 * MOST_FAILURES
    assert set(logged(store)) == {given[0].id, bad}, "what could not be asked for stays"
    assert intake.is_settled


def test_drafts_are_kept_apart_from_answers(intake: Intake, platform: MemoryConnector, store: Store) -> None:
    draft = platform.annotate("r-u1", "cat", status=AnnotationStatus.DRAFT)
    intake.notify(about(draft))
    work(intake)
    assert list(store.answers()) == []
    assert logged(store) == {draft.id: draft}
