"""Labels in another order, added, removed, renamed, one or several a record: the loop goes on, and says what it knows.

Here on a platform in memory, between two starts and while the service runs; tests/live does it on real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from nextlabel.backend.models.probe import Probe
from nextlabel.backend.models.registry import CHOSEN_SPACE, SPACE_IN_USE
from nextlabel.backend.models.saving import HEAD_FILE
from nextlabel.backend.queue.publishing import QueueSizes
from nextlabel.backend.service.service import Service
from nextlabel.backend.store import Store
from nextlabel.connectors.errors import PlatformUnavailable
from nextlabel.connectors.records import Changes, Hint, Labeling, LabelKind, Record, Span, Suggestion
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import LABELS, SUBJECTS, ServiceFactory
from tests.backend.retraining.train.test_embedding_space import trained
from tests.backend.running import settled, started, tell
from tests.waiting import wait_for

SINGLE, MULTI, SPAN = LabelKind.SINGLE, LabelKind.MULTI, LabelKind.SPAN
ANSWERED = 30
MODEL = "fine-tune-1"


@dataclass(frozen=True)
class Change:
    """From ``before`` to ``after``; ``word``: what is said of it, if a trained model was in use."""

    before: Labeling
    after: Labeling
    word: str = ""


SAME = Labeling(SINGLE, LABELS)
CHANGES = {
    "reordered": Change(SAME, Labeling(SINGLE, ("pebble", "cat", "oak"))),
    "added": Change(SAME, Labeling(SINGLE, ("cat", "moss", "oak", "pebble")), "knows nothing yet of moss"),
    "removed": Change(SAME, Labeling(SINGLE, ("cat", "pebble")), "knows of oak is no longer asked for"),
    "renamed": Change(SAME, Labeling(SINGLE, ("cat", "tree", "pebble")), "nothing yet of tree"),
    "single to multi": Change(SAME, Labeling(MULTI, LABELS), "made for one label per record"),
    "multi to single": Change(Labeling(MULTI, LABELS), SAME),
    "all at once": Change(SAME, Labeling(MULTI, ("pebble", "moss", "cat")), "nothing yet of moss"),
}


@pytest.fixture(params=list(CHANGES.values()), ids=list(CHANGES))
def change(request: pytest.FixtureRequest) -> Change:
    found: Change = request.param
    return found


def truth(record: Record) -> str:
    return LABELS[[subject in record.fields["text"] for subject in SUBJECTS].index(True)]


def said(service: Service) -> dict[str, tuple[object, ...]]:
    """Label -> what the service says of a text that it was the label of."""
    texts = [Record("", {"text": f"{subject} over there"}) for subject in SUBJECTS]
    predictions = asyncio.run(service.classify(texts))
    for one in predictions:
        assert one is not None
        assert set(one.probabilities) == set(service.labeling.labels)
    return {label: one.suggestion.value for label, one in zip(LABELS, predictions, strict=True) if one is not None}


def stays(service: Service) -> dict[str, tuple[object, ...]]:
    """What should be said of texts whose label is still asked for."""
    return {label: (label,) for label in LABELS if label in service.labeling.labels}


def run_before(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store, folder: Path, labeling: Labeling, model: str
) -> None:
    """A service has learned some answers, and was stopped."""
    platform.labeling = labeling
    if model:
        trained(folder / "models", model)
        store.set_meta(CHOSEN_SPACE, model)
    service = started(make_service, platform)
    some = list(platform.pushed.items())[:ANSWERED]
    platform.annotate_all({remote_id: truth(record) for remote_id, record in some})
    wait_for(lambda: settled(service, store) and service.status().labelled == ANSWERED)
    assert said(service) == {label: (label,) for label in LABELS}
    service.stop()


@pytest.mark.parametrize("model", ["", MODEL], ids=["own", "trained"])
def test_between_two_starts(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store, tmp_path: Path, change: Change, model: str
) -> None:
    run_before(make_service, platform, store, tmp_path, change.before, model)
    before = {row.version for row in store.models()}
    platform.labeling, platform.down = change.after, True
    service = make_service()
    service.start()  # the platform can't be reached, so what was kept has to do
    right = stays(service)
    assert {label: value for label, value in said(service).items() if label in right} == right
    platform.down = False
    generations = len(platform.published)
    wait_for(lambda: len(platform.published) > generations and settled(service, store))
    status = service.status()
    assert status.labelled == sum(label in right for label in map(truth, list(platform.pushed.values())[:ANSWERED]))
    assert {label: value for label, value in said(service).items() if label in right} == right
    assert not {status.model_version} & before, "another model has the name of one for other labels"
    assert status.model_version.endswith(f"-{model}" if model else "")
    assert (change.word in status.labeling) if model else (status.labeling == "")
    remote_id = platform.queue()[0]
    tell(service, store, platform.annotate(remote_id, next(iter(right))))
    wait_for(lambda: settled(service, store) and service.status().labelled == status.labelled + 1)
    assert "Error" not in service.status().last_error


@pytest.mark.parametrize("model", ["", MODEL], ids=["own", "trained"])
def test_heads_from_before_their_names_were_kept_are_not_believed(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store, tmp_path: Path, model: str
) -> None:
    run_before(make_service, platform, store, tmp_path, SAME, model)
    for file in (tmp_path / "models").glob("*/*.safetensors"):
        replace(Probe.load(file), names=()).save(file)
    platform.labeling, platform.down = Labeling(SINGLE, LABELS[::-1]), True
    service = make_service()
    service.start()
    assert said(service) == {label: (label,) for label in LABELS}, "from what the labels are called"
    platform.down = False
    wait_for(lambda: service.status().labelled == ANSWERED and settled(service, store))
    assert said(service) == {label: (label,) for label in LABELS}
    assert ("which labels it was made for is not known" in service.status().labeling) == bool(model)


def test_a_trained_model_for_spans_leaves_its_encoder(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store, tmp_path: Path
) -> None:
    run_before(make_service, platform, store, tmp_path, SAME, MODEL)
    (tmp_path / "models" / MODEL / HEAD_FILE).write_bytes(b"a head of another kind")
    service = started(make_service, platform)
    assert store.get_meta(SPACE_IN_USE) == MODEL
    assert said(service) == {label: (label,) for label in LABELS}
    assert "its head is for spans" in service.status().labeling


# -- spans -----------------------------------------------------------------------------------------------------------

PEOPLE = ("zoe", "bob", "ann")


def booking(number: int) -> tuple[str, tuple[Span, ...]]:
    """A text, and who and when is marked in it."""
    name, hour = PEOPLE[number % 3], f"{number % 7 + 1}pm"
    text = f"table for {name} at {hour} please, number {number}"
    found = ((name, "name"), (hour, "time"))
    return text, tuple(Span(text.index(one), text.index(one) + len(one), label) for one, label in found)


@pytest.mark.parametrize(
    "labels", [("time", "name"), ("place", "name", "time"), ("time",), ("name", "hour")], ids=list(CHANGES)[:4]
)
def test_span_labels_between_two_starts(
    make_service: ServiceFactory, store: Store, platform: MemoryConnector, labels: tuple[str, ...]
) -> None:
    store.add_records([Record(f"s{at}", {"text": booking(at)[0]}) for at in range(40)])
    platform.labeling = Labeling(SPAN, ("name", "time"))
    service = started(make_service, platform)
    texts = {one.fields["text"]: remote_id for remote_id, one in platform.pushed.items()}
    platform.annotate_all({texts[text]: spans for text, spans in map(booking, range(30))})
    wait_for(lambda: settled(service, store) and service.status().labelled == 30)
    before = marked(service, {"name", "time"})
    assert {span.label for spans in before for span in spans} == {"name", "time"}
    service.stop()
    platform.labeling, platform.down = Labeling(SPAN, labels), True
    service = make_service()
    service.start()
    stays = {"name", "time"} & set(labels)
    if len(labels) > 1:  # what becomes of the words of the only other label, the next fit knows
        assert marked(service, stays) == [[one for one in spans if one.label in stays] for spans in before]
    generations, platform.down = len(platform.published), False
    wait_for(lambda: len(platform.published) > generations and settled(service, store))
    assert service.status().labelled == 30
    assert marked(service, stays) == [[one for one in spans if one.label in stays] for spans in before]
    new = Span(0, 5, next((one for one in labels if one not in ("name", "time")), "time"))
    tell(service, store, platform.annotate(texts[booking(31)[0]], (new,)))
    wait_for(lambda: settled(service, store) and service.status().labelled == 31)
    assert "Error" not in service.status().last_error


def marked(service: Service, labels: set[str]) -> list[list[Span]]:
    """Of texts that nobody has answered, the spans with one of ``labels``."""
    found = asyncio.run(service.predict([Record("", {"text": booking(at)[0]}) for at in range(100, 120)]))
    values = [one.value for one in found if one is not None]
    return [[span for span in value if isinstance(span, Span) and span.label in labels] for value in values]


# -- while the service runs ------------------------------------------------------------------------------------------

Suggested = dict[str, Suggestion | None]


@pytest.fixture
def running(make_service: ServiceFactory, platform: MemoryConnector, store: Store) -> Service:
    """Fifteen answers, and a suggestion for every other record but those of the audit slice."""
    platform.live_predictions = False
    service = started(make_service, platform, sizes=QueueSizes(10, 10), audit_share=0.0, strategy="random")
    some = list(platform.pushed.items())[:15]
    platform.annotate_all({remote_id: truth(record) for remote_id, record in some})
    wait_for(lambda: settled(service, store) and service.status().labelled == 15)
    return service


def turn(
    service: Service, platform: MemoryConnector, labeling: Labeling, rested: Callable[[], bool]
) -> tuple[Suggested, str]:
    """The platform asks ``labeling`` from now on: the suggestions of the next queue, and what status says."""
    before = len(platform.published)
    platform.labeling = labeling
    wait_for(lambda: len(platform.published) > before and rested())
    queue = platform.published[-1][1]
    return {entry.remote_id: entry.suggestion for entry in queue}, service.status().labeling


def test_a_label_that_the_platform_drops_is_not_suggested_and_the_loop_goes_on(
    running: Service, platform: MemoryConnector, store: Store
) -> None:
    rested = lambda: settled(running, store)  # noqa: E731
    shown, text = turn(running, platform, Labeling(SINGLE, ("cat", "oak", "moss")), rested)
    values = {one.value for one in shown.values() if one is not None}
    assert values == {("cat",), ("oak",)}
    assert None in shown.values(), "pebbles are shown without a suggestion"
    assert "it lacks the labels pebble; it has other labels: moss" in text
    assert "Change one of them" in text
    oak, moss = [remote_id for remote_id, one in shown.items() if one is not None][:2]
    tell(running, store, platform.annotate(oak, "oak"), platform.annotate(moss, "moss"))
    wait_for(lambda: rested() and running.status().labelled == 16)
    assert "logged, not learned: moss" in running.status().last_error
    assert said(running) == {label: (label,) for label in LABELS}
    shown, text = turn(running, platform, SAME, rested)
    assert None not in shown.values()
    assert text == ""


@pytest.mark.parametrize(
    "labeling", [Labeling(MULTI, LABELS), Labeling(SPAN, LABELS), Labeling(SINGLE, ("fish", "fowl"))]
)
def test_whatever_it_asks_the_loop_goes_on_and_predictions_are_made(
    running: Service, platform: MemoryConnector, store: Store, labeling: Labeling
) -> None:
    shown, text = turn(running, platform, labeling, lambda: settled(running, store))
    assert (set(shown.values()) == {None}) == (labeling.kind is not MULTI)
    assert text
    value = (Span(0, 2, "cat"),) if labeling.kind is SPAN else ("cat", "oak") if labeling.kind is MULTI else ("fish",)
    platform.annotate(next(iter(shown)), value)
    head = store.head()
    wait_for(lambda: store.head() > head and settled(running, store))
    assert running.status().labelled == 15
    assert said(running) == {label: (label,) for label in LABELS}
    assert "Mismatch" not in running.status().last_error


def test_a_poll_that_fails_after_it_read_the_labeling_loses_nothing(
    running: Service, platform: MemoryConnector, store: Store
) -> None:
    changes = platform.changes

    def fails(cursor: str | None) -> Changes:
        platform.labeling, platform.changes = Labeling(SINGLE, (*LABELS, "moss")), changes  # type: ignore[method-assign]
        raise PlatformUnavailable("it went away")

    before = len(platform.published)
    platform.changes = fails  # type: ignore[method-assign]
    wait_for(lambda: "it has other labels: moss" in running.status().labeling)
    wait_for(lambda: len(platform.published) > before and settled(running, store))


def test_a_webhook_that_tells_of_it_brings_the_poll_forward(
    make_service: ServiceFactory, platform: MemoryConnector, store: Store
) -> None:
    service = started(make_service, platform, poll_interval=3600)
    polls: list[str | None] = []
    changes = platform.changes

    def noting(cursor: str | None) -> Changes:
        polls.append(cursor)
        return changes(cursor)

    platform.changes = noting  # type: ignore[method-assign]
    service.notify(Hint(labeling_changed=True))
    wait_for(lambda: polls)
