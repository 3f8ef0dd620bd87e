"""Which task annotators get: on a real Label Studio, seen through its HTTP API as annotators see it."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from typing import Any

import httpx
import pytest

from nextlabel.backend.stack import Annotator, LabelStudioServer
from nextlabel.connectors.base import NewProject
from nextlabel.connectors.errors import LabelingMismatch, PlatformError, PlatformUnavailable, RecordsRejected
from nextlabel.connectors.label_studio.connector import LabelStudioConnector
from nextlabel.connectors.label_studio.queue import GENTLY, score_of
from nextlabel.connectors.records import Labeling, LabelKind, QueueEntry, Record, Span, Suggestion

Make = Callable[..., LabelStudioConnector]
SPORT = Suggestion(("sport",), 0.9, "model-1")


def fill(connector: LabelStudioConnector, count: int) -> list[str]:
    """Push ``count`` records; return their task ids, shuffled: no order of the platform's own can pass for ours."""
    ids = list(connector.push([Record(f"u{n}", {"text": f"text {n}"}) for n in range(count)]).values())
    random.Random(7).shuffle(ids)
    return ids


def entries(ids: list[str], first: int = 0, blind: Collection[str] = frozenset()) -> list[QueueEntry]:
    return [QueueEntry(task, rank, None if task in blind else SPORT) for rank, task in enumerate(ids, first)]


def crew(server: LabelStudioServer, tokens: list[str], connector: LabelStudioConnector) -> list[Annotator]:
    return [Annotator(server.url, token, connector.project.id) for token in tokens]


def next_id(annotator: Annotator) -> str:
    task = annotator.next_task()
    assert task is not None
    return str(task["id"])


def test_scores_rise_with_the_rank_and_stay_below_one():
    scores = [score_of(rank) for rank in [*range(5000), 10**6, 10**6 + 1, 10**7, 10**7 + 1]]
    assert scores == sorted(set(scores))
    assert scores[0] == 0
    assert scores[-1] < 1


def test_four_annotators_get_our_order_exactly_over_50_tasks(
    label_studio: LabelStudioServer, annotators: list[str], label_studio_project: Make
):
    connector = label_studio_project()
    ids = fill(connector, 200)
    ranking, blind = ids[:60], set(ids[3:60:10])
    connector.publish("nl-order-1", entries(ranking, blind=blind))
    team, turns = crew(label_studio, annotators, connector), random.Random(3)
    served = []
    for _ in range(50):
        annotator = turns.choice(team)
        task = annotator.next_task()
        assert task is not None
        shown = [prediction["result"] for prediction in task["predictions"]]
        assert len(shown) == 1
        assert bool(shown[0]) == (str(task["id"]) not in blind)
        served.append(str(task["id"]))
        annotator.submit(task, turns.choice(["sport", "politics"]))
    assert served == ranking[:50]


def test_a_new_generation_changes_the_order_at_once(
    label_studio: LabelStudioServer, annotators: list[str], label_studio_project: Make
):
    connector = label_studio_project()
    ids = fill(connector, 40)
    connector.publish("nl-again-1", entries(ids[:10]))
    [ann, bob, *_] = crew(label_studio, annotators, connector)
    assert next_id(ann) == ids[0]
    connector.publish("nl-again-2", entries(ids[20:30]))
    assert next_id(ann) == ids[0], "what she holds, she keeps"
    assert next_id(bob) == ids[20]
    ann.submit(int(ids[0]), "sport")
    assert next_id(ann) == ids[21], "and then she gets the new order"


def test_two_annotators_never_hold_the_same_task(
    label_studio: LabelStudioServer, annotators: list[str], label_studio_project: Make
):
    connector = label_studio_project()
    ids = fill(connector, 10)
    connector.publish("nl-locks-1", entries(ids))
    assert [next_id(annotator) for annotator in crew(label_studio, annotators, connector)] == ids[:4]


def test_a_skipped_task_goes_to_the_next_annotator_first(
    label_studio: LabelStudioServer, annotators: list[str], label_studio_project: Make
):
    connector = label_studio_project()
    ids = fill(connector, 10)
    connector.publish("nl-skip-1", entries(ids))
    [ann, bob, *_] = crew(label_studio, annotators, connector)
    assert next_id(ann) == ids[0]
    ann.skip(int(ids[0]))
    assert next_id(ann) == ids[1]
    assert next_id(bob) == ids[0]


def test_overlap_serves_begun_tasks_before_our_order(
    label_studio: LabelStudioServer, annotators: list[str], label_studio_project: Make
):
    connector = label_studio_project(overlap=2)
    assert connector.overlap == 2
    ids = fill(connector, 20)
    connector.publish("nl-overlap-1", entries(ids))
    [ann, bob, *_] = crew(label_studio, annotators, connector)
    assert next_id(ann) == ids[0]
    ann.submit(int(ids[0]), "sport")
    assert next_id(ann) == ids[1]
    connector.publish("nl-overlap-2", entries(ids[::-1]))
    task = bob.next_task()
    assert task is not None
    assert (str(task["id"]), task["queue"]) == (ids[0], "Breadth first queue")
    bob.submit(task, "sport")
    assert next_id(bob) == ids[-1], "with nothing begun left, our order"


def test_extended_ranks_follow_those_published(
    label_studio: LabelStudioServer, annotators: list[str], label_studio_project: Make
):
    connector = label_studio_project()
    ids = fill(connector, 30)
    connector.publish("nl-more-1", entries(ids[:3]))
    connector.extend("nl-more-1", entries(ids[3:6], first=3))
    ann = crew(label_studio, annotators, connector)[0]
    served = []
    for _ in range(6):
        served.append(next_id(ann))
        ann.submit(int(served[-1]), "politics")
    assert served == ids[:6]


def test_retired_generations_go_and_the_one_in_force_stays(label_studio_project: Make):
    connector = label_studio_project()
    ids = fill(connector, GENTLY + 20)
    connector.publish("nl-old-1", entries(ids))
    connector.publish("nl-old-2", entries(ids[:5]))
    assert connector.generations() == ("nl-old-2", "nl-old-1")
    with pytest.raises(PlatformError, match="in force"):
        connector.retire("nl-old-2")
    connector.retire("nl-old-1")
    connector.retire("nl-old-1")
    assert connector.generations() == ("nl-old-2",)


def predictions(server: LabelStudioServer, connector: LabelStudioConnector) -> list[tuple[str, str, float]]:
    rows = httpx.get(
        f"{server.url}/api/predictions",
        params={"project": connector.project.id},
        headers={"Authorization": f"Token {server.token}"},
        timeout=30,
    ).json()
    return sorted((row["model_version"], str(row["task"]), row["score"]) for row in rows)


def test_publishing_and_extending_again_doubles_nothing(label_studio: LabelStudioServer, label_studio_project: Make):
    connector = label_studio_project()
    ids = fill(connector, 12)
    connector.publish("nl-twice-1", entries(ids[:6]))
    connector.extend("nl-twice-1", entries(ids[6:9], first=6))
    before = predictions(label_studio, connector)
    # a process that was killed before it could note its success starts over with no memory
    another = LabelStudioConnector.attach(label_studio.url, label_studio.token, connector.project.id)
    another.publish("nl-twice-1", entries(ids[:6]))
    another.extend("nl-twice-1", entries(ids[6:9], first=6))
    another.close()
    assert predictions(label_studio, connector) == before


def test_a_generation_that_was_cut_off_is_replaced_whole(label_studio: LabelStudioServer, label_studio_project: Make):
    connector = label_studio_project()
    ids = fill(connector, 12)
    connector.publish("nl-cut-1", entries(ids[:3]))
    connector.extend("nl-cut-2", entries(ids[:4]))  # as if the publisher had died before it put nl-cut-2 in force
    another = LabelStudioConnector.attach(label_studio.url, label_studio.token, connector.project.id)
    another.publish("nl-cut-2", entries(ids[5:8]))
    another.close()
    stored = [(version, task) for version, task, _ in predictions(label_studio, connector) if version == "nl-cut-2"]
    assert stored == sorted(("nl-cut-2", task) for task in ids[5:8])


@pytest.mark.parametrize("kind", ["fast", "plain"])
def test_blind_entries_are_stored_on_both_import_paths(kind: str, request: pytest.FixtureRequest):
    server: LabelStudioServer = request.getfixturevalue("label_studio" if kind == "fast" else "plain_label_studio")
    labeling = Labeling(LabelKind.MULTI, ("sport", "politics"))
    connector = LabelStudioConnector.create(server.url, server.token, NewProject("blind", labeling))
    try:
        ids = fill(connector, 12)
        connector.publish("nl-blind-1", entries(ids[:10], blind=set(ids[0:10:3])))
        assert connector._queue.imports_in_batches() == (kind == "fast")
        stored = {task: score for _, task, score in predictions(server, connector)}
        assert stored == {task: score_of(rank) for rank, task in enumerate(ids[:10])}
        connector.publish("nl-blind-2", [QueueEntry(ids[0], 0, None)])
        connector.extend("nl-blind-2", [QueueEntry(ids[1], 1, Suggestion((), 0.7, "m"))])  # "none of them" is an answer
        assert connector.generations() == ("nl-blind-2", "nl-blind-1")
    finally:
        connector.close()


def test_spans_are_stored_on_both_import_paths(label_studio: LabelStudioServer, plain_label_studio: LabelStudioServer):
    for server in (label_studio, plain_label_studio):
        labeling = Labeling(LabelKind.SPAN, ("PER", "LOC"))
        connector = LabelStudioConnector.create(server.url, server.token, NewProject("spans", labeling))
        [task] = connector.push([Record("u", {"text": "👩‍🚀 Ann lives in Łódź."})]).values()
        value = (Span(4, 7, "PER"), Span(17, 21, "LOC"))
        connector.publish("nl-span-1", [QueueEntry(task, 0, Suggestion(value, 0.5, "m"))])
        annotator = Annotator(server.url, server.token, connector.project.id)
        shown = annotator.next_task()
        assert shown is not None
        annotator.submit(shown, shown["predictions"][0]["result"])
        [answer] = connector.changes(None).annotations
        assert answer.value == value
        connector.close()


def test_a_dropped_row_is_told_and_all_others_stand(
    plain_label_studio: LabelStudioServer, monkeypatch: pytest.MonkeyPatch
):
    server = plain_label_studio
    labeling = Labeling(LabelKind.SINGLE, ("sport", "politics"))
    connector = LabelStudioConnector.create(server.url, server.token, NewProject("drops", labeling))
    ids = fill(connector, 10)
    connector.publish("nl-drop-1", entries(ids))
    # the default import path drops what it finds invalid, a score above 1 for one, and answers 201
    monkeypatch.setattr(
        "nextlabel.connectors.label_studio.queue.score_of", lambda rank: 7.5 if rank == 4 else rank / 99
    )
    connector.publish("nl-drop-2", entries(ids))
    assert connector.refused() == {ids[4]: "Label Studio left it out, and said nothing"}
    stored = [task for version, task, _ in predictions(server, connector) if version == "nl-drop-2"]
    assert stored == sorted(set(ids) - {ids[4]})
    assert connector.generations()[0] == "nl-drop-2"
    connector.close()


@pytest.mark.parametrize("kind", ["fast", "plain"])
def test_a_task_that_is_gone_costs_no_other_its_place(kind: str, request: pytest.FixtureRequest):
    server: LabelStudioServer = request.getfixturevalue("label_studio" if kind == "fast" else "plain_label_studio")
    labeling = Labeling(LabelKind.SINGLE, ("sport", "politics"))
    connector = LabelStudioConnector.create(server.url, server.token, NewProject("gone", labeling))
    ids = fill(connector, 8)
    gone, blind_gone = ids[2], ids[5]
    for task in (gone, blind_gone):
        connector._client.request("DELETE", f"/api/tasks/{task}")
    connector.publish("nl-gone-1", entries(ids[:6], blind={ids[1], blind_gone}))
    assert connector.refused() == dict.fromkeys((gone, blind_gone), "there is no such task any more")
    stored = {task: score for _, task, score in predictions(server, connector)}
    assert stored == {task: score_of(rank) for rank, task in enumerate(ids[:6]) if task not in (gone, blind_gone)}
    with pytest.raises(RecordsRejected, match="no such task"):
        connector.publish("nl-gone-2", entries([gone]))
    assert connector._queue.in_force() == "nl-gone-1"
    assert connector.refused().keys() == {gone, blind_gone}, "of the generation in force"
    connector.publish("nl-gone-3", entries(ids[:2]))
    assert connector.refused() == {}
    connector.extend("nl-gone-3", entries([gone, ids[6]], first=2))
    assert connector.refused().keys() == {gone}
    assert connector._queue.versions()["nl-gone-3"] == 3
    connector.close()


def test_a_label_that_is_not_in_the_config_is_refused_before_anything_is_sent(label_studio_project: Make):
    connector = label_studio_project()
    ids = fill(connector, 3)
    with pytest.raises(LabelingMismatch, match="economy"):
        connector.publish("nl-label-1", [QueueEntry(ids[0], 0, Suggestion(("economy",), 0.5, "m"))])
    assert connector.generations() == ()


def test_an_import_whose_reply_is_lost_is_not_doubled(
    label_studio: LabelStudioServer, label_studio_project: Make, monkeypatch: pytest.MonkeyPatch
):
    connector = label_studio_project()
    ids = fill(connector, 10)
    connector.publish("nl-lost-1", entries(ids[:2]))
    send = httpx.Client.request
    lost: list[int] = []

    def lose_a_reply(self: httpx.Client, method: str, url: str, **options: Any) -> httpx.Response:
        answer = send(self, method, url, **options)
        if str(url).endswith("/import/predictions") and not lost:
            lost.append(answer.status_code)
            raise httpx.ReadError("connection reset")
        return answer

    monkeypatch.setattr(httpx.Client, "request", lose_a_reply)
    connector.publish("nl-lost-2", entries(ids[2:8]))
    assert lost == [201]
    stored = [task for version, task, _ in predictions(label_studio, connector) if version == "nl-lost-2"]
    assert stored == sorted(ids[2:8])
    assert connector.generations()[0] == "nl-lost-2"


def test_what_makes_no_generation_is_refused(label_studio_project: Make):
    connector = label_studio_project()
    ids = fill(connector, 3)
    with pytest.raises(ValueError, match="begin with 'nl-'"):
        connector.publish("v1", entries(ids))
    with pytest.raises(ValueError, match="at least one"):
        connector.publish("nl-none-1", [])
    with pytest.raises(ValueError, match="two places"):
        connector.publish("nl-double-1", entries([ids[0], ids[0]]))


def test_a_platform_that_is_down_is_unavailable_and_repeats_are_bounded():
    with pytest.raises(PlatformUnavailable, match="can't be reached"):
        LabelStudioConnector.attach("http://127.0.0.1:9", "a-token", 1)
