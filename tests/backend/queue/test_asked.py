"""What came of asking again: known from what records said then and say now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nextlabel.backend.questions import question_of
from nextlabel.backend.queue.asked import NOTED, AskedAgain, asked_again, note_asked, said_now
from nextlabel.backend.store import Store
from nextlabel.connectors.records import Annotation, AnnotationStatus, Changes, Labeling, LabelKind, Record

QUESTION = question_of(Labeling(LabelKind.SINGLE, ("good", "bad")))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.sqlite") as made:
        made.add_records(Record(f"u{at}", {"text": f"text {at}"}) for at in range(4))
        made.set_remote({f"u{at}": f"r{at}" for at in range(4)})
        say(made, *((at, "ann", "good", 0) for at in range(4)))
        yield made


def say(store: Store, *answers: tuple[int, str, str, int]) -> None:
    """Each: record, who, what, and how many minutes after the first."""
    store.append(
        Changes(
            tuple(
                Annotation(
                    f"{at}-{who}", f"r{at}", who, (label,), AnnotationStatus.SUBMITTED, NOW + timedelta(minutes=minutes)
                )
                for at, who, label, minutes in answers
            )
        )
    )


def ask(store: Store, *uids: str) -> None:
    note_asked(store, said_now(store, QUESTION, uids))


def test_nobody_was_asked(store: Store) -> None:
    assert asked_again(store, QUESTION) == AskedAgain(0, 0, 0)


def test_answers_since_are_counted_and_which_of_them_changed_what_the_record_says(store: Store) -> None:
    ask(store, "u0", "u1", "u2")
    assert asked_again(store, QUESTION) == AskedAgain(3, 0, 0)
    say(store, (0, "ben", "bad", 1), (1, "ben", "good", 1), (3, "ben", "bad", 1))
    assert asked_again(store, QUESTION).to_json() == {"asked": 3, "answered": 2, "changed": 1, "kept": 1}


def test_the_same_person_who_corrects_the_answer_counts_too(store: Store) -> None:
    ask(store, "u0")
    say(store, (0, "ann", "bad", 5))
    assert asked_again(store, QUESTION) == AskedAgain(1, 1, 1)


def test_whoever_asks_twice_meanwhile_counts_once_and_from_the_first_time(store: Store) -> None:
    ask(store, "u0", "u1")
    ask(store, "u0")
    say(store, (0, "ben", "bad", 1))
    assert asked_again(store, QUESTION) == AskedAgain(2, 1, 1)
    ask(store, "u0")
    assert asked_again(store, QUESTION) == AskedAgain(2, 0, 0), "a new question, which nobody has answered yet"


def test_what_was_said_and_marked_is_not_kept(store: Store) -> None:
    ask(store, "u0")
    assert "good" not in (store.get_meta(NOTED) or "")


def test_records_that_are_gone_are_left_out(store: Store) -> None:
    ask(store, "u0", "u1")
    store.mark_gone(["r0"])
    assert asked_again(store, QUESTION) == AskedAgain(1, 0, 0)
    ask(store, "u2")
    assert "u0" not in json.loads(store.get_meta(NOTED) or "{}")
