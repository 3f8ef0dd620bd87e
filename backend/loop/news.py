"""What has happened to the project on the platform, one notice a kind: how often, since when, and what became of it.

It is told for a day and then goes; what somebody has to mend stays until it is mended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from nextlabel.backend.annotators.names import annotator_names
from nextlabel.backend.data.rows import first_few
from nextlabel.backend.store import Notice, Store

TOLD_FOR = timedelta(days=1)
CORRECTED, REPLACED, DELETED, REPAIRED = "records corrected", "records replaced", "records deleted", "repaired"
FOLLOWED = "labels followed"
EVENTS = (CORRECTED, REPLACED, DELETED, REPAIRED, FOLLOWED)
MISFITS, LABELS = "answers set aside", "labels differ"
DEPARTED = "annotator deleted"


def tell_of_records(store: Store, began: datetime) -> None:
    """Records were corrected, replaced or deleted on the platform since ``began``; the log has it already."""
    _tell(store, CORRECTED, began, lambda since: _corrected(store.happened("corrected", since)))
    _tell(store, REPLACED, began, lambda since: _replaced(store.happened("reused", since), store.lost_by_reuse(since)))
    _tell(store, DELETED, began, lambda since: _deleted(store.happened("gone", since)))


def tell_of_misfits(store: Store) -> None:
    """Answers no longer fit the text that they mark, or all do again."""
    found = store.misfits()
    if not found:
        store.dismiss([MISFITS])
        return
    where = first_few(sorted(set(found.values())))
    store.notify(
        Notice(
            MISFITS,
            MISFITS,
            f"answers that mark words which were corrected since, not learned: {len(found):,}, on records {where}",
            "open these records on the platform, mark the words as they are now and submit",
        )
    )


def tell_of_departed(store: Store, answers: Mapping[str, int]) -> None:
    """These annotators' accounts were deleted, and with them so many answers."""
    names = annotator_names(store)
    for who, count in answers.items():
        gone = f"the account of {names.get(who, who)} was deleted on the platform"
        message = f"{gone}, and with it {count:,} answers, which are kept"
        store.notify(Notice(f"{DEPARTED} {who}", DEPARTED, message))


def tell_of_repair(store: Store, what: tuple[str, ...]) -> None:
    """Somebody had removed ``what``, which is there again."""
    message = f"{' and '.join(what)} had been removed from the project, and are set up again"
    store.notify(Notice(REPAIRED, REPAIRED, message))


def tell_of_labels(store: Store, differences: Sequence[str], *, followed: bool) -> None:
    """How the platform asks otherwise than we; ``followed``: from now on we ask what it asks."""
    if not differences:
        store.dismiss([LABELS])
        return
    how = "; ".join(differences)
    if followed:
        store.notify(Notice(FOLLOWED, FOLLOWED, f"the project asks otherwise now, and is followed: {how}"))
        return
    fix = "change the labels of one of the two, then start the service again; without `labels:` the recipe follows"
    store.notify(Notice(LABELS, LABELS, f"the project asks otherwise now than the recipe: {how}", fix))


def forget(store: Store) -> None:
    """Take away what has been told for long enough."""
    over = datetime.now(UTC) - TOLD_FOR
    store.dismiss(one.key for one in store.notices() if one.kind in EVENTS and one.since and one.since < over)


def _tell(store: Store, kind: str, began: datetime, say: Callable[[datetime], str]) -> None:
    known = next((one.since for one in store.notices(kind=kind)), None)
    since = known or began
    if message := say(since):
        store.notify(Notice(kind, kind, message, since=since))


def _corrected(count: int) -> str:
    return f"corrected on the platform, and encoded anew: {count:,} records" if count else ""


def _replaced(count: int, lost: int) -> str:
    went = f"; with the old ones went {lost:,} answers" if lost else ""
    return f"deleted on the platform, and others have their ids now: {count:,} records{went}" if count else ""


def _deleted(count: int) -> str:
    return f"deleted on the platform, with all that was said of them: {count:,} records" if count else ""
