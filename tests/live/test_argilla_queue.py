"""Which record annotators get: on a real Argilla, seen through its API and its page's paging as annotators see it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from nextlabel.backend.stack import ArgillaServer
from nextlabel.backend.stack.annotators import ArgillaAnnotator, Page, Response
from nextlabel.connectors.argilla.connector import ArgillaConnector
from nextlabel.connectors.argilla.lanes import arrange
from nextlabel.connectors.argilla.rows import Rows
from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.records import QueueEntry, Record, Suggestion
from tests.size import count

Make = Callable[..., ArgillaConnector]
SPORT = Suggestion(("sport",), 0.9, "model-1")


def fill(connector: ArgillaConnector, count: int) -> list[str]:
    """Push ``count`` records; return their ids, shuffled: no order of the platform's own can pass for ours."""
    ids = list(connector.push([Record(f"u{n}", {"text": f"text {n}"}, {"row": n}) for n in range(count)]).values())
    random.Random(7).shuffle(ids)
    return ids


def entries(ids: Sequence[str], first: int = 0, blind: Collection[str] = frozenset()) -> list[QueueEntry]:
    return [QueueEntry(one, rank, None if one in blind else SPORT) for rank, one in enumerate(ids, first)]


@dataclass
class Someone:
    """One annotator: who they are, the client they work with, and the address they were given."""

    id: str
    name: str
    client: ArgillaAnnotator
    link: str

    def sees(self, count: int) -> list[str]:
        """The first records that a page opened now would list."""
        return [record["id"] for record in self.client.pending(self.link, 0, count)[0]]


@pytest.fixture
def crew(
    argilla: ArgillaServer, argilla_users: list[str]
) -> Iterator[Callable[[ArgillaConnector, int], list[Someone]]]:
    clients = []

    def gather(connector: ArgillaConnector, count: int) -> list[Someone]:
        links = connector.links()
        people = []
        for key in argilla_users[:count]:
            me = httpx.get(f"{argilla.url}/api/v1/me", headers={"X-Argilla-Api-Key": key}, trust_env=False).json()
            clients.append(ArgillaAnnotator(argilla.url, key, connector.project.id))
            people.append(Someone(me["id"], me["username"], clients[-1], links[me["username"]]))
        return people

    yield gather
    for client in clients:
        client.close()


def tell(connector: ArgillaConnector, person: Someone, response: Response) -> None:
    """A webhook speaks of a response, which is looked up then."""
    [found] = connector.annotations({response.id: response.record}).values()
    assert found is not None
    assert found.annotator == person.id


def lane(person: Someone, ranking: Sequence[str], crowd: Sequence[str]) -> list[str]:
    return arrange(ranking, crowd, [], {}, {})[person.id]


def everybody(connector: ArgillaConnector) -> list[str]:
    return [person.id for person in connector._people.members]


@contextmanager
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[dict[str, Any]]]]:
    """The upserts made meanwhile."""
    upserts: list[list[dict[str, Any]]] = []
    upsert = Rows.upsert

    def noting(self: Rows, items: Sequence[dict[str, Any]]) -> None:
        upserts.append(list(items))
        upsert(self, items)

    with monkeypatch.context() as patch:
        patch.setattr(Rows, "upsert", noting)
        yield upserts


def stored(connector: ArgillaConnector, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    return connector._rows.fetch(ids)


def test_three_annotators_get_our_order_exactly_over_50_records(argilla_dataset: Make, crew):
    connector = argilla_dataset()
    ids = fill(connector, 200)
    ranking, blind = ids[:60], set(ids[3:60:10])
    connector.publish("nl-order-1", entries(ranking, blind=blind))
    for person in crew(connector, 3):
        expected = lane(person, ranking, everybody(connector))
        assert person.sees(60) == expected
        served = []
        for offset in range(0, 50, 10):
            records, total = person.client.pending(person.link, offset)
            assert total == 200
            for record in records:
                shown = [one["value"] for one in record["suggestions"]]
                assert shown == ([] if record["id"] in blind else ["sport"])
                assert "queue_" not in str(record["metadata"]), "places in the queue are none of their business"
            served += [record["id"] for record in records]
        assert served == expected[:50]


def test_the_best_records_are_spread_over_the_first_pages_of_all(argilla_dataset: Make, crew):
    connector = argilla_dataset()
    ids = fill(connector, 300)
    connector.publish("nl-spread-1", entries(ids[:250]))
    people = crew(connector, 4)
    heads = [one for person in people for one in person.sees(10)]
    assert set(heads) <= set(ids[:250])
    # The workspace is shared with other tests: the more members, the smaller the share of each.
    assert len(set(heads)) >= 35, "people who come at the same time hardly meet"


def test_one_page_shows_our_order_while_the_ranking_changes_under_it(argilla_dataset: Make, crew):
    """Alone at work: a new generation after every third answer, and each record shown is the first that waits."""
    connector = argilla_dataset()
    ids = fill(connector, 150)
    [person] = crew(connector, 1)
    dice = random.Random(1)
    connector.publish("nl-page-0", entries(ids[:60]))
    page = Page(person.client, person.link)
    seen = []
    for number in range(answers := count(20, long=50)):
        assert page.current is not None
        assert page.current["id"] == person.sees(1)[0]
        seen.append(page.current["id"])
        tell(connector, person, page.submit("sport"))
        if number % 3 == 2:
            ranking = dice.sample([one for one in ids if one not in seen], 60)
            connector.publish(f"nl-page-{number}", entries(ranking))
            assert set(ranking[:30]) <= set(person.sees(60)), "the new order is there, behind what the page holds"
    assert len(set(seen)) == answers


def test_three_pages_show_our_orders_while_the_ranking_changes_under_them(argilla_dataset: Make, crew):
    connector = argilla_dataset()
    ids = fill(connector, 300)
    people = crew(connector, 3)
    dice = random.Random(2)
    connector.publish("nl-pages-0", entries(ids[:150]))
    pages = {person.id: Page(person.client, person.link) for person in people}
    seen: list[str] = []
    for number in range(answers := count(24, long=60)):
        person = people[number] if number < 3 else dice.choice(people)
        page = pages[person.id]
        assert page.current is not None
        assert page.current["id"] == person.sees(1)[0], f"answer {number}: a record was passed over"
        seen.append(page.current["id"])
        tell(connector, person, page.submit(dice.choice(["sport", "politics"])))
        if number == 2 or (number > 2 and dice.random() < 0.4):
            ranking = dice.sample([one for one in ids if one not in seen], 60)
            connector.publish(f"nl-pages-{number}", entries(ranking))
    assert len(set(seen)) == answers, "nobody was asked what another one had answered"


def test_a_page_opened_under_an_old_order_is_respected_from_its_first_answer_on(argilla_dataset: Make, crew):
    connector = argilla_dataset()
    ids = fill(connector, 200)
    early, late = crew(connector, 2)
    connector.publish("nl-late-0", entries(ids[:60]))
    page = Page(late.client, late.link)
    opened = late.sees(10)
    others = [one for one in ids if one not in opened]
    for number in range(4):  # the early one works on, and the order changes under the late one's page
        ranking = others[number * 10 : number * 10 + 60]
        connector.publish(f"nl-late-{number + 1}", entries(ranking))
        tell(connector, early, early.client.submit(early.sees(1)[0], "sport"))
        assert late.sees(1)[0] not in opened
    for number, expected in enumerate(opened):
        assert page.current is not None
        assert page.current["id"] == expected
        tell(connector, late, page.submit("politics"))
        connector.publish(f"nl-late-again-{number}", entries(others[number + 50 : number + 110]))
    for _ in range(20):
        assert page.current is not None
        assert page.current["id"] == late.sees(1)[0], "a record was passed over"
        tell(connector, late, page.submit("politics"))


def test_only_what_changed_is_sent(argilla_dataset: Make, crew, monkeypatch: pytest.MonkeyPatch):
    connector = argilla_dataset()
    ids = fill(connector, 80)
    with sent(monkeypatch) as first:
        connector.publish("nl-few-1", entries(ids[:60]))
    assert [len(batch) for batch in first] == [50, 10], "the top goes first"
    assert first[0][0].keys() == {"id", "metadata", "suggestions"}
    with sent(monkeypatch) as again:
        connector.publish("nl-few-2", entries(ids[:60]))
    assert again == []
    with sent(monkeypatch) as moved:
        connector.publish("nl-few-3", entries([ids[30], *ids[:30], *ids[31:60]]))
    [changed] = moved
    assert ids[30] in [item["id"] for item in changed]
    assert len(changed) <= 5, "of two neighbours that changed places, either may move, in each lane"
    assert all(item.keys() == {"id", "metadata"} for item in changed)
    [person] = crew(connector, 1)
    order = lane(person, [ids[30], *ids[:30], *ids[31:60]], everybody(connector))
    assert person.sees(60) == order
    other = [QueueEntry(one, rank, Suggestion(("politics",), 0.9, "model-2")) for rank, one in enumerate(order[:5])]
    with sent(monkeypatch) as relabelled:
        connector.publish("nl-few-4", other)
    assert {item["id"]: item.keys() for batch in relabelled for item in batch if "suggestions" in item}.keys() == set(
        order[:5]
    )


def test_extended_ranks_follow_those_published(argilla_dataset: Make, crew):
    connector = argilla_dataset()
    ids = fill(connector, 60)
    connector.publish("nl-more-1", entries(ids[:10]))
    connector.extend("nl-more-1", entries(ids[10:20], first=10))
    connector.extend("nl-more-1", entries(ids[20:30], first=20))
    [person] = crew(connector, 1)
    crowd = everybody(connector)
    expected = [one for start in (0, 10, 20) for one in lane(person, ids[start : start + 10], crowd)]
    assert person.sees(30) == expected


def test_another_process_goes_on_where_the_last_one_stopped(argilla: ArgillaServer, argilla_dataset: Make, crew):
    connector = argilla_dataset()
    ids = fill(connector, 80)
    connector.publish("nl-heir-1", entries(ids[:30]))
    [person] = crew(connector, 1)
    page = Page(person.client, person.link)
    response = page.submit("sport")
    heir = ArgillaConnector.attach(argilla.url, argilla.token, connector.project.id)
    try:
        tell(heir, person, response)  # its first poll finds the answer too
        held = person.sees(16)
        heir.publish("nl-heir-2", entries(ids[40:70]))
        assert heir.in_hand() == set(held)
        assert person.sees(16) == held, "what the page holds stays where it is"
        assert set(person.sees(46)[16:]) == set(ids[40:70])
    finally:
        heir.close()


def test_what_a_person_has_begun_is_left_alone(argilla_dataset: Make, crew):
    connector = argilla_dataset()
    ids = fill(connector, 20)
    [person] = crew(connector, 1)
    draft = person.client.draft(ids[5], "politics")
    before = stored(connector, ids[5:6])[ids[5]]
    connector.publish("nl-draft-1", entries(ids[:10]))
    assert stored(connector, ids[5:6])[ids[5]] == before
    assert before["responses"][0]["id"] == draft.id


def test_a_record_that_the_server_can_no_longer_store_holds_up_nobody(
    argilla: ArgillaServer, argilla_dataset: Make, argilla_users: list[str]
):
    connector = argilla_dataset()
    ids = fill(connector, 10)
    poison = f"{argilla.url}/api/v1/records/{ids[3]}/responses"
    headers = {"X-Argilla-Api-Key": argilla_users[0]}
    answer = httpx.post(poison, json={"status": "discarded"}, headers=headers, trust_env=False)
    assert answer.status_code == 500, "Argilla has mended it: the rule in _is_free can go"
    connector.publish("nl-poison-1", entries(ids))
    found = stored(connector, ids)
    assert [bool(found[one]["suggestions"]) for one in ids] == [number != 3 for number in range(10)]


def test_metadata_of_others_stays(argilla: ArgillaServer, argilla_dataset: Make):
    connector = argilla_dataset()
    ids = fill(connector, 5)
    path, headers = f"{argilla.url}/api/v1/records/{ids[0]}", {"X-Argilla-Api-Key": argilla.token}
    httpx.patch(path, json={"metadata": {"row": 99, "note": "by hand"}}, headers=headers).raise_for_status()
    connector.publish("nl-meta-1", entries(ids))
    found = stored(connector, ids[:1])[ids[0]]["metadata"]
    assert {key: value for key, value in found.items() if not key.startswith("queue_")} == {
        "row": 99,
        "note": "by hand",
    }
    assert sum(key.startswith("queue_") for key in found) == len(everybody(connector))


def test_what_a_script_takes_from_the_queue_is_put_back(argilla: ArgillaServer, argilla_dataset: Make, crew):
    connector = argilla_dataset()
    ids = fill(connector, 30)
    connector.publish("nl-script-1", entries(ids[:20]))
    [person] = crew(connector, 1)
    before = person.sees(20)
    items = [{"id": one, "metadata": {"mine": 1}} for one in before[:3]]
    path, headers = f"/api/v1/datasets/{connector.project.id}/records/bulk", {"X-Argilla-Api-Key": argilla.token}
    httpx.put(argilla.url + path, json={"items": items}, headers=headers, trust_env=False).raise_for_status()
    assert person.sees(1) != before[:1]
    assert not connector._queue.look_after(connector.form)
    assert person.sees(20) == before
    assert stored(connector, before[:1])[before[0]]["metadata"]["mine"] == 1


def test_a_record_that_becomes_blind_loses_its_suggestion(argilla_dataset: Make):
    connector = argilla_dataset()
    ids = fill(connector, 3)
    connector.publish("nl-blind-1", entries(ids))
    connector.publish("nl-blind-2", entries(ids, blind={ids[1]}))
    found = stored(connector, ids)
    assert [len(found[one]["suggestions"]) for one in ids] == [1, 0, 1]


def test_an_unknown_label_is_refused_before_anything_is_sent(argilla_dataset: Make, monkeypatch: pytest.MonkeyPatch):
    connector = argilla_dataset()
    ids = fill(connector, 3)
    with sent(monkeypatch) as upserts, pytest.raises(LabelingMismatch, match="economy"):
        connector.publish("nl-label-1", [QueueEntry(ids[0], 0, Suggestion(("economy",), 0.5, "m"))])
    assert upserts == []


def test_a_newcomer_gets_the_queue_in_force(argilla: ArgillaServer, argilla_dataset: Make, visit: Callable[..., str]):
    connector = argilla_dataset()
    ids = fill(connector, 40)
    connector.publish("nl-new-1", entries(ids[:20]))
    name = "latecomer"
    key = visit(name)
    assert name not in connector.links()
    assert connector._queue.look_after(connector.form)
    with ArgillaAnnotator(argilla.url, key, connector.project.id) as client:
        shown = [record["id"] for record in client.pending(connector.links()[name], 0, 20)[0]]
    assert set(shown) == set(ids[:20])


def test_people_submit_while_queues_are_written(argilla_dataset: Make, crew):
    """Every answer stays what it was, and none of the answered comes back into a queue."""
    connector = argilla_dataset()
    ids = fill(connector, 240)
    people = crew(connector, 3)
    connector.publish("nl-storm-0", entries(ids[:60]))
    given: dict[str, str] = {}
    failures: list[BaseException] = []

    def label(person: Someone, seed: int) -> None:
        dice = random.Random(seed)
        try:
            page = Page(person.client, person.link)
            while not enough.is_set():
                if page.current is None:
                    page.reload()
                    continue
                answer = dice.choice(["sport", "politics"])
                response = page.submit(answer)
                given[response.id] = answer
                tell(connector, person, response)
        except BaseException as error:
            failures.append(error)

    enough = threading.Event()
    threads = [threading.Thread(target=label, args=(person, number)) for number, person in enumerate(people)]
    for thread in threads:
        thread.start()
    dice, generation = random.Random(9), 0
    try:
        while generation < 4 or (len(given) < 75 and not failures):
            generation += 1
            connector.publish(f"nl-storm-{generation}", entries(dice.sample(ids, 120)))
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert len(given) >= 10, "answers were to fall among the writes"
    rows = {row["id"]: row for row in connector._rows.walk(include=("responses",))}
    answers = {one["id"]: one["values"]["label"]["value"] for row in rows.values() for one in row["responses"] or ()}
    assert answers == given
    connector.publish("nl-storm-end", entries(ids[:60]))
    for person in people:
        waiting = {record["id"] for record in person.client.pending(person.link, 0, 240)[0]}
        again = {one for one in waiting if rows[one]["status"] == "completed"}
        assert again == set(), "answered, and offered again"
