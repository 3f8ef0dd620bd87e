"""Who leads, whatever happens to clocks and processes: never two at one moment, and soon somebody."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, example, given, settings

from nextlabel.backend.loop.leadership import LEASE, LOOK_EVERY, RENEW_EVERY, TERM, Leadership
from nextlabel.backend.store import Clock, Lease, Store

HOUR = 3600.0


@dataclass
class World:
    """True time, the time of day that everybody believes, and two machines with three processes on one store.

    On SQLite the second machine is a container whose clock was shifted: there is one kernel.
    """

    target: str
    opened: ExitStack
    true: float = 0.0
    set_ahead: float = 0.0
    waits: list[tuple[float, int | None]] = field(default_factory=list)
    shifts: list[float] = field(default_factory=lambda: [1e3, 5e5])
    boots: list[int] = field(default_factory=lambda: [0, 0])

    def __post_init__(self) -> None:
        self.processes = [self.start(number) for number in range(3)]

    def clock(self, machine: int) -> Clock:
        shift = self.shifts[machine]
        return Clock(f"machine {machine}, boot {self.boots[machine]}", lambda: self.true + shift)

    def start(self, number: int) -> Leadership:
        clock = self.clock(machine_of(number))
        store = self.opened.enter_context(Store.open(self.target, clock=clock))
        return Leadership(Slow(store, self), clock.read)  # type: ignore[arg-type]

    def restart(self, number: int) -> None:
        """Killed, and started again."""
        self.processes[number] = self.start(number)

    def reboot(self, machine: int) -> None:
        """Its clock begins anew, and so does whatever ran there."""
        self.boots[machine] += 1
        self.shifts[machine] = 10.0 - self.true
        for number in range(3):
            if machine_of(number) == machine:
                self.restart(number)

    def set_clocks(self, seconds: float) -> None:
        """Somebody sets the time of day, everywhere."""
        self.set_ahead += seconds

    def let_pass(self, seconds: float) -> None:
        self.true += seconds
        self.check()

    def wait(self) -> tuple[float, int | None]:
        """The next of the waits asked for."""
        return self.waits.pop(0) if self.waits else (0.0, None)

    def look(self, other: int | None) -> None:
        """Another one, while somebody waits."""
        waits, self.waits = self.waits, []
        if other is not None:
            self.processes[other].renew()
        self.waits = waits

    def renew(self, number: int, *wait: tuple[float, int | None]) -> float:
        """One look. ``wait``: how long before the database does its part, and after; and who else looks just then."""
        self.waits = list(wait)
        pause = self.processes[number].renew()
        self.check()
        return pause

    def wait_for(self, number: int) -> None:
        """Until it leads, nobody does anything but this one, which looks as often as it says."""
        began = self.true
        while pause := self.renew(number):
            assert self.true - began <= TERM + LOOK_EVERY
            if self.leaders() == [number]:
                return
            self.let_pass(pause)

    def give_up(self, number: int) -> None:
        self.processes[number].give_up()

    def check(self) -> None:
        assert len(self.leaders()) <= 1

    def leaders(self) -> list[int]:
        return [number for number, process in enumerate(self.processes) if process.held]

    def time_of_day(self, *_: object) -> int:
        return int((1.8e9 + self.true + self.set_ahead) * 1e6)


def machine_of(number: int) -> int:
    return number // 2


class Slow:
    """A store that makes whoever asks it wait."""

    def __init__(self, store: Store, world: World) -> None:
        self._store, self._world = store, world

    def acquire(self, *arguments: Any, **more: Any) -> Lease:
        seconds, other = self._world.wait()
        self._world.let_pass(seconds)
        self._world.look(other)
        lease = self._store.acquire(*arguments, **more)
        seconds, other = self._world.wait()
        self._world.look(other)
        self._world.let_pass(seconds)
        return lease

    def release(self, *arguments: Any) -> None:
        self._store.release(*arguments)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.live)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[ExitStack], World]:
    """Begins a world on a store in which nobody leads."""
    sqlite = request.param == "sqlite"
    target = str(tmp_path / "store.sqlite") if sqlite else request.getfixturevalue("postgresql")()
    Store.open(target).close()

    def begin(opened: ExitStack) -> World:
        world = World(target, opened)
        for name in ("codec.now_micros", "leases._time_of_day"):
            opened.enter_context(patch(f"nextlabel.backend.store.{name}", world.time_of_day))
        with Store.open(target) as store:
            while (lease := store.lease(LEASE)) is not None:
                store.release(LEASE, lease.owner)
        return world

    return begin


SHORT, LONG, NEARLY = RENEW_EVERY + 0.125, TERM - RENEW_EVERY - 0.125, TERM - 0.125
PAUSES = (0.0, 0.125, RENEW_EVERY, SHORT, LONG, NEARLY, TERM, TERM + 0.125, 2 * TERM + 1)  # floats add these up exactly
process, pause = st.integers(0, 2), st.sampled_from(PAUSES)
wait = st.tuples(pause, st.none() | process)
NO = (0.0, None)
event = st.one_of(
    st.tuples(st.just("renew"), process),
    st.tuples(st.just("renew"), process, wait, wait),
    st.tuples(st.just("let_pass"), pause),
    st.tuples(st.just("set_clocks"), st.sampled_from((HOUR, -HOUR, TERM, -TERM, 1e8, -1e8))),
    st.tuples(st.just("restart"), process),
    st.tuples(st.just("reboot"), st.integers(0, 1)),
    st.tuples(st.just("give_up"), process),
)


KNOWN: list[list[tuple[Any, ...]]] = [
    [("renew", 0), ("renew", 0, NO, (LONG, None)), ("let_pass", SHORT), ("renew", 1)],  # a slow answer
    [("renew", 0), ("renew", 0, NO, (LONG, 2)), ("let_pass", SHORT), ("renew", 2)],
    [("renew", 0), ("renew", 2, (LONG, 0)), ("let_pass", SHORT), ("renew", 2)],  # a slow look
    [("renew", 0), ("set_clocks", HOUR), ("renew", 1), ("renew", 2), ("set_clocks", -HOUR), ("renew", 1)],
    [("set_clocks", HOUR), ("renew", 0), ("set_clocks", -HOUR), ("renew", 1), ("renew", 2)],
    [("renew", 0), ("let_pass", NEARLY), ("reboot", 1), ("renew", 2), ("let_pass", 0.125), ("renew", 2)],
]


def events(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Runs a test on the known sequences of events, and on ``examples`` others."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        for known in KNOWN:
            test = example(known)(test)
        quiet = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples)
        return quiet(given(st.lists(event, max_size=25))(test))

    return decorate


def never_two_leaders_and_soon_one(world: Callable[[ExitStack], World], events: list[tuple[Any, ...]]) -> None:
    with ExitStack() as opened:
        here = world(opened)
        for name, *arguments in events:
            getattr(here, name)(*arguments)
        for number in (0, 2):  # these are killed, and one of the same machine is left
            here.processes[number]._held_until = 0.0
        here.wait_for(1)


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
@events(examples=100)
def test_never_two_leaders_and_soon_one(world: Callable[[ExitStack], World], events: list[tuple[Any, ...]]) -> None:
    never_two_leaders_and_soon_one(world, events)


@pytest.mark.live
@pytest.mark.parametrize("world", ["postgresql"], indirect=True)
@events(examples=15)
def test_on_a_server_too(world: Callable[[ExitStack], World], events: list[tuple[Any, ...]]) -> None:
    never_two_leaders_and_soon_one(world, events)


@pytest.mark.parametrize("jump", [0.0, HOUR, -HOUR])
def test_one_that_stands_by_takes_over_when_the_term_is_over(world: Callable[[ExitStack], World], jump: float) -> None:
    with ExitStack() as opened:
        here = world(opened)
        here.renew(0)
        here.renew(2)
        died = here.true
        here.set_clocks(jump)
        here.wait_for(2)
        assert here.true - died >= TERM


def test_who_gave_up_is_replaced_at_the_next_look(world: Callable[[ExitStack], World]) -> None:
    with ExitStack() as opened:
        here = world(opened)
        here.renew(0)
        assert here.renew(0) == RENEW_EVERY
        assert here.renew(2) == LOOK_EVERY
        here.give_up(0)
        assert here.leaders() == []
        here.renew(2)
        assert here.leaders() == [2]


def test_tenures_are_counted(world: Callable[[ExitStack], World]) -> None:
    with ExitStack() as opened:
        here = world(opened)
        one, other = here.processes[0], here.processes[2]
        assert (one.tenure, one.leader) == (0, "")
        here.renew(0)
        here.renew(0)
        here.renew(2)
        assert (one.tenure, other.tenure, other.leader) == (1, 0, one.owner)
        here.give_up(0)
        here.renew(2)
        here.renew(0)
        assert (one.tenure, other.tenure, one.leader, other.leader) == (1, 1, other.owner, "")
        here.give_up(2)
        here.renew(0)
        assert one.tenure == 2


# -- for the time of a block -----------------------------------------------------------------------------------------


def test_a_lease_is_kept_for_a_block_and_given_back(store: Store) -> None:
    one, other = Leadership(store), Leadership(store)
    with one.kept() as leads, other.kept() as leads_too:
        assert (leads, leads_too) == (True, False)
        with one.kept() as still:
            assert still
        assert one.held, "the inner block must not give back what the outer one has"
    assert store.lease(LEASE) is None
    with pytest.raises(KeyError), other.kept():
        raise KeyError
    assert store.lease(LEASE) is None


def test_within_a_block_it_is_renewed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nextlabel.backend.loop.leadership.RENEW_EVERY", 0.01)
    renewals, third = set(), threading.Event()
    acquire = store.acquire

    def noted(*arguments: Any, **more: Any) -> Lease:
        lease = acquire(*arguments, **more)
        renewals.add(lease.renewal)
        if len(renewals) == 3:
            third.set()
        return lease

    monkeypatch.setattr(store, "acquire", noted)
    with Leadership(store).kept():
        assert third.wait(30)


def test_what_ended_a_block_is_told_though_the_store_is_gone(tmp_path: Path) -> None:
    def work() -> None:
        with Store.open(tmp_path / "other.sqlite") as store, Leadership(store).kept():
            store.close()
            raise KeyError

    with pytest.raises(KeyError):
        work()
