"""What others do to a dataset that we work in, and what we leave of theirs: on a real Argilla."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from nextlabel.backend.loop.leadership import Leadership
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.service.project import find_project, open_connector
from nextlabel.backend.settings import Settings
from nextlabel.backend.stack import ArgillaAnnotator, ArgillaServer
from nextlabel.backend.store import Store
from nextlabel.connectors.argilla import delivery
from nextlabel.connectors.argilla.connector import ArgillaConnector
from nextlabel.connectors.argilla.lanes import arrange
from nextlabel.connectors.base import BackendAddress, NewProject
from nextlabel.connectors.errors import ProjectNotFound
from nextlabel.connectors.records import QueueEntry, Suggestion
from tests.live.argilla_calls import SPORT, Api, Json, Make, hooks, push, wrong
from tests.live.conftest import Service
from tests.waiting import wait_for

Crew = Callable[[ArgillaConnector], list[ArgillaAnnotator]]


def entries(ids: Sequence[str]) -> list[QueueEntry]:
    return [QueueEntry(one, rank, SPORT) for rank, one in enumerate(ids)]


def rows(connector: ArgillaConnector) -> dict[str, Json]:
    return {row["id"]: row for row in connector._rows.walk(("responses", "suggestions"))}


def queues(connector: ArgillaConnector, crew: Sequence[ArgillaAnnotator]) -> list[list[str]]:
    """The records in the first two people's queues, as their links order them."""
    links = [connector.links()[f"annotator{number}"] for number in range(2)]
    shown = [person.pending(link, limit=100)[0] for person, link in zip(crew, links, strict=False)]
    return [[record["id"] for record in one] for one in shown]


def write(api: Api, connector: ArgillaConnector, *items: Json) -> None:
    api("PUT", f"/datasets/{connector.project.id}/records/bulk", {"items": list(items)})


def add_property(api: Api, connector: ArgillaConnector, name: str, **settings: Any) -> None:
    body = {"name": name, "title": name, "settings": settings}
    api("POST", f"/datasets/{connector.project.id}/metadata-properties", body)


def lanes(api: Api, connector: ArgillaConnector) -> dict[str, str]:
    """Name -> id of the metadata properties that are people's queues."""
    found = api("GET", f"/me/datasets/{connector.project.id}/metadata-properties")["items"]
    return {one["name"]: one["id"] for one in found if one["name"].startswith("queue_")}


def test_a_record_with_metadata_out_of_date_holds_up_nobody(argilla_dataset: Make, api: Api, crew: Crew) -> None:
    connector = argilla_dataset()
    ids = push(connector, 30)
    bad = ids[7]
    write(api, connector, {"id": bad, "metadata": {"split": "dev"}})
    add_property(api, connector, "split", type="terms", values=["train", "test"])
    connector.publish("nl-stale-1", entries(ids))
    assert connector.refused().keys() == {bad}
    assert "'dev' is not" in connector.refused()[bad]
    people = crew(connector)
    assert [set(order[:29]) for order in queues(connector, people)] == [set(ids) - {bad}] * 2
    before = rows(connector)
    connector.publish("nl-stale-2", entries(ids))
    assert rows(connector) == before, "it is not tried with every queue"
    write(api, connector, {"id": bad, "metadata": {"split": "test"}})
    connector.publish("nl-stale-3", entries(ids))
    assert connector.refused() == {}
    assert rows(connector)[bad]["suggestions"]


@pytest.mark.parametrize("running", [True, False])
def test_a_lane_that_somebody_deleted_is_made_anew(
    argilla: ArgillaServer, argilla_dataset: Make, api: Api, crew: Crew, running: bool
) -> None:
    connector = argilla_dataset()
    ids = push(connector, 20)
    connector.publish("nl-lane-1", entries(ids))
    people = crew(connector)
    before = queues(connector, people)
    api("PATCH", f"/datasets/{connector.project.id}", {"allow_extra_metadata": False})
    first = connector.links()["annotator0"].rpartition("metadata.")[2].removesuffix(".desc")
    api("DELETE", f"/metadata-properties/{lanes(api, connector)[first]}")
    if running:
        assert not connector._queue.look_after(connector.form)
        assert queues(connector, people) == before
    with closing(ArgillaConnector.attach(argilla.url, argilla.token, connector.project.id)) as heir:
        heir.publish("nl-lane-2", entries(ids))
        assert heir.refused() == {}
        assert queues(heir, people) == before


def test_places_in_the_lane_of_somebody_who_left_go(argilla_dataset: Make, api: Api) -> None:
    """Where a dataset takes no metadata but its own, they would keep the record from being written."""
    connector = argilla_dataset()
    ids = push(connector, 5)
    write(api, connector, {"id": ids[0], "metadata": {"queue_0123abcd": 7, "note": "theirs"}})
    connector.publish("nl-left-1", entries(ids))
    metadata = rows(connector)[ids[0]]["metadata"]
    assert metadata.keys() == {"note", *lanes(api, connector)}


def test_the_lane_of_somebody_who_left_is_taken_out(
    argilla: ArgillaServer, argilla_dataset: Make, api: Api, visit: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its places from all records first, answered ones too: a dataset may take no metadata but its own."""
    monkeypatch.setattr(delivery, "CLEARED", 3)
    connector = argilla_dataset()
    ids = push(connector, 5)
    name = f"leaver{secrets.token_hex(3)}"
    with ArgillaAnnotator(argilla.url, visit(name), connector.project.id) as leaver:
        connector.publish("nl-left-1", entries(ids))
        assert connector._queue.look_after(connector.form)
        lane = connector.links()[name].rpartition("metadata.")[2].removesuffix(".desc")
        leaver.submit(ids[0], "sport")
    write(api, connector, {"id": ids[1], "metadata": {**rows(connector)[ids[1]]["metadata"], "note": "theirs"}})
    assert all(lane in row["metadata"] for row in rows(connector).values())
    user = next(one for one in api("GET", "/users")["items"] if one["username"] == name)
    space = api("GET", f"/datasets/{connector.project.id}")["workspace_id"]
    api("DELETE", f"/workspaces/{space}/users/{user['id']}")
    assert connector._queue.look_after(connector.form)
    assert lane in lanes(api, connector), "as long as records have places in it"
    wait_for(lambda: not connector._queue.look_after(connector.form) and lane not in lanes(api, connector))
    found = rows(connector)
    assert not [row for row in found.values() if lane in row["metadata"]]
    assert found[ids[1]]["metadata"]["note"] == "theirs"
    assert len(lanes(api, connector)) == len(connector.links())
    api("POST", f"/workspaces/{space}/users", {"user_id": user["id"]})
    assert connector._queue.look_after(connector.form), "who comes back has a queue again"
    assert all(lane in rows(connector)[one]["metadata"] for one in ids[1:])


def test_records_that_argilla_can_not_show_or_store_have_no_place_and_are_told(
    argilla: ArgillaServer, argilla_dataset: Make, api: Api, crew: Crew
) -> None:
    connector = argilla_dataset(overlap=2)
    ids = push(connector, 6)
    [person, *_] = crew(connector)
    with httpx.Client(
        headers=dict(person._http.headers), trust_env=False
    ) as client:  # it ends in an error of Argilla's
        client.post(f"{argilla.url}/api/v1/records/{ids[1]}/responses", json={"status": "discarded"})
    half = json.dumps({"items": [{"id": ids[2], "metadata": {"from": "\ud83d"}}]})
    path = f"{argilla.url}/api/v1/datasets/{connector.project.id}/records/bulk"
    headers = {"X-Argilla-Api-Key": argilla.token, "Content-Type": "application/json"}
    httpx.put(path, content=half, headers=headers, trust_env=False)
    connector.publish("nl-odd-1", entries(ids))
    assert connector.refused().keys() == {ids[1], ids[2]}
    assert "without values" in connector.refused()[ids[1]]
    assert "half a character" in connector.refused()[ids[2]]
    write(api, connector, {"id": ids[2], "metadata": {}})
    connector.publish("nl-odd-2", entries(ids))
    assert connector.refused().keys() == {ids[1]}


# -- what others suggest -----------------------------------------------------------------------------------------------


def suggest(api: Api, connector: ArgillaConnector, record: str, label: str = "politics") -> None:
    body = {"question_id": connector.form.question_id, "value": label, "score": 0.8, "agent": "gpt-4o", "type": "model"}
    api("PUT", f"/records/{record}/suggestions", body)


def agents(connector: ArgillaConnector, ids: Sequence[str]) -> list[str | None]:
    found = rows(connector)
    return [next((one["agent"] for one in found[record]["suggestions"]), None) for record in ids]


def test_suggestions_of_others_stay_until_somebody_answered(argilla_dataset: Make, api: Api, crew: Crew) -> None:
    connector = argilla_dataset(overlap=2)
    ids = push(connector, 4)
    for record in ids[:3]:
        suggest(api, connector, record)
    blind = [QueueEntry(one, rank, None if rank == 2 else SPORT) for rank, one in enumerate(ids)]
    connector.publish("nl-theirs-1", blind)
    assert agents(connector, ids) == ["gpt-4o", "gpt-4o", "gpt-4o", "nextlabel/model-1"]
    crew(connector)[0].submit(ids[0], "sport")
    connector.publish("nl-theirs-2", blind)
    assert agents(connector, ids) == ["nextlabel/model-1", "gpt-4o", "gpt-4o", "nextlabel/model-1"]
    connector.replace_suggestions = True
    connector.publish("nl-theirs-3", blind)
    assert agents(connector, ids) == ["nextlabel/model-1", "nextlabel/model-1", None, "nextlabel/model-1"]


# -- what we leave behind ----------------------------------------------------------------------------------------------


def test_everything_of_ours_is_taken_out_again(
    argilla: ArgillaServer, argilla_dataset: Make, api: Api, crew: Crew, service: Service, no_webhooks_left: None
) -> None:
    made = argilla_dataset()
    path = f"/datasets/{made.project.id}"
    api("PATCH", path, {"guidelines": "Be kind.", "metadata": {"team": "ours"}})
    for one in lanes(api, made).values():
        api("DELETE", f"/metadata-properties/{one}")
    ids = push(made, 6)
    suggest(api, made, ids[5])
    answer = crew(made)[0].submit(ids[4], "sport")
    before, untouched = api("GET", path), rows(made)
    with closing(ArgillaConnector.attach(argilla.url, argilla.token, made.project.id)) as connector:
        settings = connector.settings()
        connector.connect(service.address())
        connector.publish("nl-leave-1", entries(ids))
        connector.ask_again(ids[:1], 3)
        assert rows(connector) != untouched
    with closing(ArgillaConnector.attach(argilla.url, argilla.token, made.project.id)) as again:
        assert "4 suggestions removed" in again.detach(settings, ids[:1])
        assert again.detach(settings, ids[:1])[0] == "0 webhooks removed", "it may be repeated"
    wait_for(lambda: rows(made)[ids[4]]["status"] == untouched[ids[4]]["status"])  # Argilla's worker counts anew
    after = rows(made)
    assert lanes(api, made) == {}
    assert hooks(argilla) == []
    kept = ("fields", "metadata", "external_id", "status")
    assert [[after[one][key] for key in kept] for one in ids] == [[untouched[one][key] for key in kept] for one in ids]
    assert agents(made, ids) == [None] * 5 + ["gpt-4o"]
    assert [one["id"] for one in after[ids[4]]["responses"]] == [answer.id]
    now = api("GET", path)
    assert [now[key] for key in ("guidelines", "metadata", "distribution")] == [
        before[key] for key in ("guidelines", "metadata", "distribution")
    ]


def two_questions(argilla: ArgillaServer, api: Api, name: str) -> str:
    """A dataset that asks about topic and mood, of somebody who uses the SDK."""
    space = next(one["id"] for one in api("GET", "/me/workspaces")["items"] if one["name"] == argilla.workspace)
    body = {"name": name, "workspace_id": space, "allow_extra_metadata": False}
    made: str = api("POST", "/datasets", body)["id"]
    field = {"name": "text", "title": "text", "required": True, "settings": {"type": "text"}}
    api("POST", f"/datasets/{made}/fields", field)
    for question, labels in (("topic", ("sport", "politics")), ("mood", ("glad", "sad"))):
        options = [{"value": label, "text": label} for label in labels]
        settings = {"type": "label_selection", "options": options}
        body = {"name": question, "title": question, "required": True, "settings": settings}
        api("POST", f"/datasets/{made}/questions", body)
    api("PUT", f"/datasets/{made}/publish")
    return made


def test_two_recipes_share_a_dataset_by_question(
    argilla: ArgillaServer, argilla_users: list[str], api: Api, service: Service, no_webhooks_left: None
) -> None:
    dataset = two_questions(argilla, api, f"two {secrets.token_hex(4)}")
    with ExitStack() as opened:
        topic, mood = (
            opened.enter_context(
                closing(ArgillaConnector.attach(argilla.url, argilla.token, dataset, question=question))
            )
            for question in ("topic", "mood")
        )
        ids = push(topic, 12)
        other = BackendAddress(service.url + "/other", "nextlabel", "a password", "a secret")
        topic.connect(service.address())
        mood.connect(other)
        topic.publish("nl-topic-1", entries(ids))
        sad = Suggestion(("sad",), 0.7, "model-2")
        mood.publish("nl-mood-1", [QueueEntry(one, rank, sad) for rank, one in enumerate(reversed(ids))])
        topic.connect(service.address())
        assert len(hooks(argilla)) == 2, "nobody removes another's webhook"
        assert wrong(mood, other).keys().isdisjoint({"links", "queue", "webhook-stray"})
        guidelines = api("GET", f"/datasets/{dataset}")["guidelines"]
        assert all(link in guidelines for link in (*topic.links().values(), *mood.links().values()))
        person = opened.enter_context(ArgillaAnnotator(argilla.url, argilla_users[0], dataset))
        crowd = [one.id for one in topic._people.members]
        for connector, ranking in ((topic, ids), (mood, ids[::-1])):
            shown = person.pending(connector.links()["annotator0"], limit=12)[0]
            me = next(one.id for one in connector._people.members if one.name == "annotator0")
            assert [record["id"] for record in shown] == arrange(ranking, crowd, [], {}, {})[me]
        assert [len(rows(topic)[one]["suggestions"]) for one in ids] == [2] * 12
        topic.detach({}, [])
        assert [hook["url"] for hook in hooks(argilla)] == [other.url + "/webhook/argilla"]
        assert [record["id"] for record in person.pending(mood.links()["annotator0"], limit=12)[0]] == arrange(
            ids[::-1], crowd, [], {}, {}
        )[me]
        assert [[one["value"] for one in row["suggestions"]] for row in rows(mood).values()] == [["sad"]] * 12


# -- what is taken from us ---------------------------------------------------------------------------------------------


def test_a_webhook_and_links_that_somebody_removed_are_there_again(
    argilla: ArgillaServer, argilla_dataset: Make, api: Api, service: Service, no_webhooks_left: None
) -> None:
    connector = argilla_dataset()
    connector.connect(service.address())
    assert connector.repair(service.address()) == ()
    api("DELETE", f"/webhooks/{hooks(argilla)[0]['id']}")
    assert connector.repair(service.address()) == ("the webhook",)
    api("PATCH", f"/datasets/{connector.project.id}", {"guidelines": "Be kind."})
    assert connector.repair(service.address()) == ("the links in the guidelines",)
    assert connector.links()["annotator0"] in api("GET", f"/datasets/{connector.project.id}")["guidelines"]
    assert len(hooks(argilla)) == 1


def test_who_was_deleted_is_told_from_who_only_left(
    argilla: ArgillaServer, argilla_dataset: Make, api: Api, visit: Callable[..., str]
) -> None:
    connector = argilla_dataset()
    ids = push(connector, 2)
    name = f"leaver{secrets.token_hex(3)}"
    with ArgillaAnnotator(argilla.url, visit(name), connector.project.id) as leaver:
        given = leaver.submit(ids[0], "sport")
    user = next(one for one in api("GET", "/users")["items"] if one["username"] == name)
    connector._queue.look_after(connector.form)
    assert name in connector.links()
    assert connector.departed([user["id"]]) == []
    api("DELETE", f"/users/{user['id']}")
    assert connector.departed([user["id"]]) == [user["id"]]
    assert connector.annotations({given.id: ids[0]}) == {given.id: None}, "Argilla deletes them with the account"
    assert rows(connector)[ids[0]]["status"] == "completed"
    connector._queue.look_after(connector.form)
    assert name not in connector.links()


def test_a_dataset_made_anew_is_told_from_the_one_that_was(
    argilla: ArgillaServer, argilla_dataset: Make, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in argilla.env().items():
        monkeypatch.setenv(key, value)
    settings = Settings.load(home=tmp_path)
    made = argilla_dataset()
    recipe = Recipe(name="reviews", platform="argilla", project=made.project.title)
    with Store.open(tmp_path / "store.sqlite") as store:
        open_connector(recipe, settings, store, Leadership(store)).close()
        api("DELETE", f"/datasets/{made.project.id}")
        title = made.project.title
        with pytest.raises(ProjectNotFound, match=f"'{title}'.*{made.project.id}.*export reviews.*another"):
            find_project(recipe, settings, store)
        anew = ArgillaConnector.create(argilla.url, argilla.token, NewProject(title, made.labeling))
        anew.close()
        with pytest.raises(ProjectNotFound, match=rf"has this name now \({anew.project.id}\)"):
            find_project(recipe, settings, store)
        with pytest.raises(ProjectNotFound, match=f"'{made.project.title}'.*start it again"):
            made.changes(None)
