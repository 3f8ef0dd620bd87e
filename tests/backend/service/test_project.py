"""One store, one project: who makes it, who waits, and what is left of a start that died."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from nextlabel.backend.loop.leadership import LEASE, Leadership
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.service import project
from nextlabel.backend.service.project import PLATFORM, PROJECT, STRAYS, open_connector, skips_empty_answers
from nextlabel.backend.settings import Settings
from nextlabel.backend.store import Store
from nextlabel.connectors.base import NewProject, ProjectRef
from nextlabel.connectors.errors import ConfigError, LabelingMismatch, PlatformUnavailable, ProjectNotFound
from nextlabel.connectors.label_studio import LabelStudio
from nextlabel.connectors.platforms import PLATFORMS
from nextlabel.connectors.records import Labeling, Record
from nextlabel.connectors.testing import MemoryConnector

SETTINGS = Settings(label_studio_url="http://127.0.0.1:9", label_studio_api_key=SecretStr("k"))


class OneOfMany(MemoryConnector):
    """A project with an id, on a server that has several."""

    closed = 0

    def expect(self, labeling: Labeling) -> None:
        if labeling != self.labeling:
            raise LabelingMismatch("it asks something else")

    def close(self) -> None:
        self.closed += 1


class Server(LabelStudio):
    """Projects by id with their marks. ``making`` is called while one is made, after it is there."""

    def __init__(self) -> None:
        self.projects: dict[str, str] = {}
        self.filled: set[str] = set()
        self.opened: list[OneOfMany] = []
        self.making: Callable[[], object] = lambda: None
        self.down = False
        self.refused: Exception | None = None
        self._lock = threading.Lock()

    def add(self, mark: str) -> str:
        with self._lock:
            made = str(len(self.projects) + 1)
            self.projects[made] = mark
            return made

    def attach(self, settings: Any, wanted: str, **more: Any) -> OneOfMany:  # type: ignore[override]
        wanted = self.named(settings, wanted)
        if wanted not in self.projects:
            raise ProjectNotFound(f"no project {wanted}")
        found = OneOfMany(recipe().labeling())
        found.project = ProjectRef("label-studio", "memory://", wanted, f"title {wanted}", "memory://")
        self.opened.append(found)
        return found

    def check(self, settings: Any, new: NewProject) -> None:
        if self.refused is not None:
            raise self.refused

    def create(self, settings: Any, new: NewProject) -> OneOfMany:
        made = self.add(new.mark)
        self.making()
        return self.attach(settings, made)

    def marked(self, settings: Any, mark: str, *, tidy: str | None = None) -> list[str]:
        if self.down:
            raise PlatformUnavailable("down")
        found = sorted((one for one in self.projects if self.projects[one] == mark), key=int, reverse=True)
        if tidy is not None:
            for one in found:
                if one != tidy and one not in self.filled:
                    del self.projects[one]
        return sorted(found, key=lambda one: one not in self.filled)


def recipe(**more: Any) -> Recipe:
    return Recipe(name="mine", labels=("a", "b"), records=lambda: [Record("u", {"text": "x"})], **more)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.live)])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "s.sqlite") if request.param == "sqlite" else request.getfixturevalue("postgresql")()


@pytest.fixture
def store(target: str) -> Iterator[Store]:
    with Store.open(target) as opened:
        yield opened


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setitem(PLATFORMS, "label-studio", made)
    monkeypatch.setattr(project, "LOOK_EVERY", 0.01)
    return made


@pytest.fixture
def short_term(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nextlabel.backend.loop.leadership.TERM", 0.5)
    monkeypatch.setattr("nextlabel.backend.loop.leadership.RENEW_EVERY", 0.1)


def start(store: Store, leadership: Leadership | None = None, **more: Any) -> str:
    return open_connector(recipe(**more), SETTINGS, store, leadership or Leadership(store)).project.id


def test_many_starts_at_once_make_one_project(server: Server, store: Store, target: str) -> None:
    ready, found = threading.Barrier(4), []

    def run() -> None:
        with Store.open(target) as own:
            ready.wait()
            found.append(start(own))

    starts = [threading.Thread(target=run) for _ in range(4)]
    for one in starts:
        one.start()
    for one in starts:
        one.join()
    assert (found, server.projects) == (["1"] * 4, {"1": store.instance})
    assert (store.get_meta(PROJECT), store.get_meta(PLATFORM)) == ("1", "label-studio")
    assert store.lease(LEASE) is None


def test_one_that_stands_by_waits_for_the_project_and_attaches(server: Server, store: Store, target: str) -> None:
    found: list[str] = []

    def other() -> None:
        with Store.open(target) as own:
            found.append(start(own))

    waits = threading.Thread(target=other)

    def making() -> None:
        waits.start()
        waits.join(0.2)
        assert found == []

    server.making = making
    assert start(store) == "1"
    waits.join()
    assert (found, list(server.projects)) == (["1"], ["1"])


@pytest.mark.usefixtures("short_term")
def test_who_dies_while_making_it_is_replaced_within_a_term(server: Server, store: Store) -> None:
    """Its request arrives all the same: what it made is taken up."""
    store.acquire(LEASE, "killed", 0.5)
    server.add(store.instance)
    assert start(store) == "1"
    assert list(server.projects) == ["1"]


def test_what_a_start_made_that_died_before_it_noted_it_is_taken_up(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dying:
        dying.setattr(Store, "claim_meta", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            start(store)
    assert store.get_meta(PROJECT) is None
    assert [one.closed for one in server.opened] == [1]
    assert start(store) == "1"
    assert list(server.projects) == ["1"]


def test_what_one_request_made_twice_is_one_again(server: Server, store: Store) -> None:
    server.making = lambda: server.add(store.instance)
    server.add("another store's")
    assert start(store) == "2"
    assert server.projects == {"1": "another store's", "2": store.instance}
    assert store.get_meta(STRAYS) == ""


def test_what_was_made_twice_is_removed_by_a_later_start(server: Server, store: Store) -> None:
    def making() -> None:
        server.add(store.instance)
        server.down = True

    server.making = making
    assert start(store) == "1"
    assert list(server.projects) == ["1", "2"]
    server.down = False
    with Leadership(store).kept():
        assert start(store) == "1"
        assert list(server.projects) == ["1", "2"], "somebody else leads, who does it"
    assert start(store) == "1"
    assert list(server.projects) == ["1"]
    server.add(store.instance)
    start(store)
    assert list(server.projects) == ["1", "2"], "nobody looks for ever"


def test_of_several_that_nobody_noted_the_filled_one_is_gone_on_with(server: Server, store: Store) -> None:
    for _ in range(3):
        server.add(store.instance)
    server.filled = {"2"}
    assert start(store) == "2"
    assert list(server.projects) == ["2"]


@pytest.mark.usefixtures("short_term")
def test_who_lost_the_lease_while_making_it_works_on_what_the_other_made(
    server: Server, store: Store, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that sleeps in the middle of it, whose request arrives late: both make one, the first note counts."""
    slow = Leadership(store)
    listed = server.marked

    def sleep() -> None:
        server.making = lambda: None
        monkeypatch.setattr(slow, "_store", None)  # no renewal from here
        monkeypatch.setattr(server, "marked", lambda *arguments, **more: [])  # what it made is not there yet
        with Store.open(target) as other:
            assert start(other) == "2"
        monkeypatch.setattr(slow, "_store", store)
        monkeypatch.setattr(server, "marked", listed)

    server.making = sleep
    assert start(store, slow) == "2"
    assert list(server.projects) == ["2"]
    assert [one.closed for one in server.opened if one.project.id == "1"] == [1]


@pytest.mark.parametrize("failure", [PlatformUnavailable("down"), KeyboardInterrupt(), SystemExit(0)])
def test_a_failed_start_leaves_no_lease_behind(server: Server, store: Store, failure: BaseException) -> None:
    def fail() -> None:
        assert store.lease(LEASE) is not None
        raise failure

    server.making = fail
    with pytest.raises(type(failure)):
        start(store)
    assert store.lease(LEASE) is None


def test_of_two_projects_named_at_once_the_first_is_the_stores(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add("")
    server.add("")
    claim = Store.claim_meta

    def late(self: Store, values: dict[str, str]) -> dict[str, str]:
        claim(self, {PROJECT: "2", PLATFORM: "label-studio"})
        return claim(self, values)

    with monkeypatch.context() as race:
        race.setattr(Store, "claim_meta", late)
        with pytest.raises(ConfigError, match="mine belongs to project 2, the recipe names 1: give the recipe another"):
            start(store, project="1")
    assert store.get_meta(PROJECT) == "2"
    assert [one.closed for one in server.opened] == [1]
    assert start(store, project="2") == start(store) == "2"
    with pytest.raises(ConfigError, match="belongs to project 2, the recipe names 1"):
        start(store, project="1")


def test_the_project_must_ask_what_the_recipe_says(server: Server, store: Store) -> None:
    server.add(store.instance)
    other = Recipe(name="mine", labels=("c", "d"), records=list)
    with pytest.raises(LabelingMismatch):
        open_connector(other, SETTINGS, store, Leadership(store))
    assert store.get_meta(PROJECT) is None
    assert [one.closed for one in server.opened] == [1]


# -- a project that was there before us ----------------------------------------------------------------------------


def test_what_an_attached_recipe_leaves_out_is_the_projects_also_without_the_platform(
    server: Server, store: Store
) -> None:
    server.add("")
    bare = Recipe(name="mine", project="1")
    found, connector = project.find_project(bare, SETTINGS, store)
    assert connector is not None
    assert found.labeling() == connector.labeling
    assert store.get_meta(PROJECT) is None, "nothing is noted yet"
    with pytest.raises(ConfigError, match="no project has been asked for them yet"):
        project.as_attached(bare, store).labeling()
    project.settle_project(found, SETTINGS, store, Leadership(store), connector)
    assert project.as_attached(Recipe(name="mine"), store).labeling() == connector.labeling
    assert open_connector(Recipe(name="mine"), SETTINGS, store, Leadership(store)).project.id == "1"


def test_what_we_made_asks_what_the_recipe_says(server: Server, store: Store) -> None:
    start(store)
    made = recipe()
    assert project.as_attached(made, store) is made


@pytest.mark.parametrize("refused", [LabelingMismatch("can't be asked"), PlatformUnavailable("down")])
def test_what_can_not_be_made_is_not_begun(server: Server, store: Store, refused: Exception) -> None:
    server.refused = refused
    with pytest.raises(type(refused)):
        start(store)
    with pytest.raises(ConfigError, match="data: name a file"):
        open_connector(Recipe(name="mine", labels=("a",)), SETTINGS, store, Leadership(store))
    assert (server.projects, store.get_meta(PROJECT), store.lease(LEASE)) == ({}, None, None)


def test_a_projects_address_is_its_id(server: Server, store: Store) -> None:
    server.add("")
    assert start(store, project="http://127.0.0.1:9/projects/1/data?tab=2") == "1"
    assert start(store, project="http://127.0.0.1:9/projects/1") == "1"
    with pytest.raises(ConfigError, match="belongs to project 1, the recipe names 2"):
        start(store, project="http://127.0.0.1:9/projects/2")


@pytest.mark.parametrize(
    ("said", "attached", "has_none", "skipped"),
    [
        ({}, False, False, False),
        ({}, True, False, True),
        ({}, True, True, False),
        ({"empty_answers": "none"}, True, False, False),
        ({"empty_answers": "skip"}, False, True, True),
        ({"kind": "single"}, False, True, True),
    ],
)
def test_nothing_submitted_is_no_answer_unless_it_was_asked_for_as_one(
    store: Store, said: dict[str, Any], attached: bool, has_none: bool, skipped: bool
) -> None:
    asked = recipe(**{"kind": "multi", **said, **({"project": "7"} if attached else {})})
    connector = MemoryConnector(asked.labeling(), has_none=has_none)
    assert skips_empty_answers(asked, store, connector) is skipped
