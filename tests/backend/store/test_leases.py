"""Leases: who has one, when it is over, and whose clock says so."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import sqlalchemy as sa

from nextlabel.backend.store import Clock, Store, codec, database
from nextlabel.backend.store.database import open_engine
from nextlabel.connectors.basics import elapsed

Spawn = Callable[..., "subprocess.Popen[str]"]
HOUR = 3600.0


class Machine:
    """A machine with a clock of its own; ``boot`` it again, and the clock begins anew."""

    def __init__(self, name: str, seconds: float = 100.0) -> None:
        self.name, self.seconds = name, seconds

    @property
    def clock(self) -> Clock:
        return Clock(self.name, lambda: self.seconds)


@pytest.fixture
def on(target: str) -> Iterator[Callable[[Machine], Store]]:
    """Opens the store on a machine, as a process there does."""
    with ExitStack() as opened:
        yield lambda machine: opened.enter_context(Store.open(target, clock=machine.clock))


def owner(store: Store) -> str:
    lease = store.lease("loop")
    return lease.owner if lease else ""


def take(store: Store, who: str, **more: str) -> bool:
    return store.acquire("loop", who, 15.0, **more).owner == who


def test_one_owner_at_a_time(on: Callable[[Machine], Store]) -> None:
    store = on(machine := Machine("m"))
    assert take(store, "a")
    machine.seconds += 14.9
    assert not take(store, "b")
    assert owner(store) == "a"
    assert take(store, "a"), "the owner renews"
    machine.seconds += 14.9
    assert not take(store, "b")
    assert store.acquire("other", "b", 15.0).owner == "b", "another lease is another matter"


def test_a_renewal_that_was_watched_for_a_term_is_over(on: Callable[[Machine], Store]) -> None:
    store, other = on(Machine("m")), on(Machine("n", 9e6))
    assert take(store, "a")
    seen = other.acquire("loop", "b", 15.0)
    assert seen.owner == "a"
    assert take(store, "a"), "renewed meanwhile"
    assert not take(other, "b", unrenewed=seen.renewal)
    lease = other.lease("loop")
    assert lease is not None
    assert lease.renewal != seen.renewal
    assert take(other, "b", unrenewed=lease.renewal)
    assert not take(store, "a", unrenewed=lease.renewal)


@pytest.mark.parametrize("target", ["sqlite"], indirect=True)
def test_on_one_machine_its_clock_says_when_a_lease_is_over(on: Callable[[Machine], Store]) -> None:
    store = on(machine := Machine("m"))
    assert take(store, "a")
    machine.seconds += 15.0
    assert take(store, "b")
    assert not take(store, "a")


@pytest.mark.parametrize("target", ["sqlite"], indirect=True)
@pytest.mark.parametrize("later", [Machine("m, booted again", 5.0), Machine("m, booted again", 9e6), Machine("")])
def test_after_a_reboot_a_lease_is_watched_like_any(on: Callable[[Machine], Store], later: Machine) -> None:
    assert take(on(Machine("m", 5000.0)), "a")
    store = on(later)
    assert not take(store, "b"), "who says that the clocks agree?"
    lease = store.lease("loop")
    assert lease is not None
    assert take(store, "b", unrenewed=lease.renewal)


@pytest.mark.live
def test_on_a_server_a_machine_that_has_our_name_may_be_another(postgresql: Callable[[], str]) -> None:
    """A virtual machine that was copied while it ran keeps the id of its boot."""
    target = postgresql()
    with Store.open(target, clock=Machine("m").clock) as one, Store.open(target, clock=Machine("m", 9e6).clock) as copy:
        assert take(one, "a")
        assert not take(copy, "b")


@pytest.mark.parametrize("target", ["sqlite"], indirect=True)
def test_a_renewal_from_the_future_is_not_believed(on: Callable[[Machine], Store]) -> None:
    """Ahead by an hour, then right: nobody waits for that hour."""
    store = on(machine := Machine("m", HOUR))
    assert take(store, "a")
    machine.seconds = 1.0
    lease = store.acquire("loop", "b", 15.0)
    assert (lease.owner, lease.left) == ("a", 15.0)
    assert take(store, "b", unrenewed=lease.renewal)


@pytest.mark.parametrize("jump", [HOUR, -HOUR, 1e9, -1e9])
def test_the_time_of_day_decides_nothing(
    on: Callable[[Machine], Store], jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = on(Machine("m")), on(Machine("m"))
    present = codec.now_micros
    assert take(here, "a")
    with monkeypatch.context() as set_wrong:
        set_wrong.setattr("nextlabel.backend.store.codec.now_micros", lambda: present() + int(jump * 1e6))
        set_wrong.setattr("nextlabel.backend.store.leases._time_of_day", lambda _: present() + int(jump * 1e6))
        assert not take(there, "b"), "the one that stands by is wrong, and the database's server"
        assert take(here, "a"), "the leader is wrong"
        lease = there.lease("loop")
        assert lease is not None
        assert 0.0 <= lease.left <= 15.0
    assert not take(there, "b"), "all are right again"
    assert take(here, "a")


def test_a_look_says_who_since_when_until_when(on: Callable[[Machine], Store]) -> None:
    store = on(machine := Machine("m"))
    assert store.lease("loop") is None
    before = datetime.now(UTC) - timedelta(seconds=1)
    assert take(store, "a")
    lease = store.lease("loop")
    assert lease is not None
    assert (lease.owner, lease.term) == ("a", 15.0)
    assert before < lease.since < lease.until <= datetime.now(UTC) + timedelta(seconds=15)
    assert 10.0 < lease.left <= 15.0
    machine.seconds += 1.0
    taken = lease.since
    assert take(store, "a")
    assert store.acquire("loop", "b", 15.0).since == taken, "renewing is not taking"


@pytest.mark.parametrize("target", ["sqlite"], indirect=True)
def test_what_is_left_is_measured_by_the_machine(on: Callable[[Machine], Store]) -> None:
    store = on(machine := Machine("m"))
    assert take(store, "a")
    for seconds, left in ((4.0, 11.0), (11.0, 0.0), (HOUR, 0.0)):
        machine.seconds += seconds
        lease = store.lease("loop")
        assert lease is not None
        assert lease.left == left


def test_only_the_owner_gives_a_lease_back(on: Callable[[Machine], Store]) -> None:
    store = on(Machine("m"))
    assert take(store, "a")
    store.release("loop", "b")
    assert not take(store, "b")
    store.release("loop", "a")
    assert take(store, "b")
    assert not take(store, "a")


RACER = """
import sys
from nextlabel.backend.store import Store
path, owner = sys.argv[1:]
with Store.open(path) as store:
    print("ready", flush=True)
    for line in sys.stdin:
        print(store.acquire(line.strip(), owner, 1000).owner == owner, flush=True)
"""


def test_two_processes_race_for_leases_and_one_wins_each(target: str, spawn: Spawn) -> None:
    Store.open(target).close()
    racers = [spawn(RACER, target, owner) for owner in ("a", "b")]
    streams = []
    for racer in racers:
        assert racer.stdin is not None
        assert racer.stdout is not None
        streams.append((racer.stdin, racer.stdout))
    for _, output in streams:
        assert output.readline() == "ready\n"
    wins = [0, 0]
    for lease in range(50):
        for entry, _ in streams[:: 1 if lease % 2 else -1]:
            entry.write(f"lease {lease}\n")
        outcome = [output.readline().strip() == "True" for _, output in streams]
        assert sum(outcome) == 1
        wins = [won + new for won, new in zip(wins, outcome, strict=True)]
    assert sum(wins) == 50


def test_many_threads_race_for_a_lease_and_one_wins(store: Store) -> None:
    barrier = threading.Barrier(8)
    won: list[int] = []

    def race(owner: int) -> None:
        barrier.wait()
        if store.acquire("leader", str(owner), 1000).owner == str(owner):
            won.append(owner)

    threads = [threading.Thread(target=race, args=(owner,)) for owner in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_this_machine_has_one_clock_for_all_its_processes(spawn: Spawn) -> None:
    source = "from nextlabel.backend.store import Clock; clock = Clock.of_machine(); print(clock.name, clock.read())"
    before = elapsed()
    output = spawn(source).communicate(timeout=60)[0]
    name, _, seconds = output.strip().rpartition(" ")
    assert name == Clock.of_machine().name
    assert before < float(seconds) < elapsed()


@pytest.mark.parametrize("ahead", [-HOUR, 0.0, HOUR])
def test_a_lease_of_an_older_nextlabel_holds_for_one_watch(
    target: str, ahead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may still run, and believe in it; but it can't renew it in the new table."""
    with monkeypatch.context() as past:
        past.setattr(database, "upgrade", partial(database.upgrade, revision="0003"))
        engine = open_engine(target)
        old = sa.text("INSERT INTO leases (name, owner, expires_at) VALUES ('loop', 'old', :at)")
        expires = datetime.now(UTC).timestamp() + 15 + ahead
        with engine.begin() as connection:
            connection.execute(old, {"at": expires})
    with Store.open(target) as store:
        lease = store.acquire("loop", "new", 15.0)
        assert (lease.owner, lease.term) == ("old", 15.0)
        assert lease.since.timestamp() == pytest.approx(expires - 15, abs=0.001)
        with pytest.raises(sa.exc.SQLAlchemyError), engine.begin() as connection:
            connection.execute(old, {"at": expires})
        engine.dispose()
        assert take(store, "new", unrenewed=lease.renewal)
