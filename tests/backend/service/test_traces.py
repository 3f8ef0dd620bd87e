"""What we change is kept and told once, and taken out again; what we set is never the team's wish."""

from __future__ import annotations

import json

import pytest

from nextlabel.backend.queue.overlap import ask_platform_again, keep_wish
from nextlabel.backend.service.traces import BEFORE, detach, tell_first_changes
from nextlabel.backend.store import Store
from nextlabel.connectors.base import BackendAddress
from nextlabel.connectors.errors import ProjectTaken
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import ServiceFactory
from tests.waiting import wait_for


def test_settings_are_kept_as_they_were_before_the_first_change(store: Store, platform: MemoryConnector) -> None:
    tell_first_changes(store, platform)
    platform.overlap = 3
    tell_first_changes(store, platform)
    assert json.loads(store.get_meta(BEFORE) or "") == {"overlap": 1}
    detach(store, platform)
    assert platform.detached == [{"overlap": 1}]
    tell_first_changes(store, platform)
    assert json.loads(store.get_meta(BEFORE) or "") == {"overlap": 3}, "after a detach it begins anew"


def test_after_a_detach_suggestions_are_made_again(store: Store, platform: MemoryConnector) -> None:
    store.mark_suggested([0, 1])
    detach(store, platform)
    assert not any(item.suggested for item in store.records())


@pytest.mark.parametrize(("now", "overlap"), [(1, 1), (3, 1), (2, 2)])
def test_what_we_set_is_not_what_a_team_wishes(store: Store, platform: MemoryConnector, now: int, overlap: int) -> None:
    store.set_remote(platform.push(store.unpushed(100)))
    ask_platform_again(store, platform, ["u0"], 3)
    platform.overlap = now  # as a platform reads that counts for the whole project
    keep_wish(store, platform)
    assert platform.overlap == overlap


def test_a_service_ends_where_the_project_is_taken(make_service: ServiceFactory, platform: MemoryConnector) -> None:
    platform.fail_next["connect"] = ProjectTaken("the recipe topics works here")
    service = make_service()
    ended: list[bool] = []
    service.start(BackendAddress("http://127.0.0.1:9", "user", "password", "secret"), lambda: ended.append(True))
    wait_for(lambda: ended)
    assert isinstance(service.failure, ProjectTaken)
    assert platform.pushed == {}
