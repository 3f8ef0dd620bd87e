"""Settings, cursors and leases, within a process and between several."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from nextlabel.backend.store import Store
from nextlabel.connectors.errors import StoreError

Spawn = Callable[..., "subprocess.Popen[str]"]


def test_settings_and_cursors_are_kept(path: Path) -> None:
    with Store.open(path) as store:
        assert store.get_meta("a") is None
        assert store.get_cursor("a") is None
        store.set_meta("a", "1")
        store.set_cursor("a", "2")
        store.set_meta("a", "3")
        store.set_cursor("a", "")
    with Store.open(path) as store:
        assert (store.get_meta("a"), store.get_cursor("a")) == ("3", "")


def test_the_instance_is_drawn_once(path: Path, tmp_path: Path) -> None:
    with Store.open(path) as store:
        instance = store.instance
    with Store.open(path) as store, Store.open(tmp_path / "other.db") as other:
        assert store.instance == instance
        assert len(instance) == 6
        assert other.instance != instance


def test_one_owner_at_a_time(store: Store) -> None:
    assert store.acquire("leader", "a", ttl_s=10, now=100)
    assert not store.acquire("leader", "b", ttl_s=10, now=109.9)
    assert store.acquire("leader", "a", ttl_s=10, now=105), "the owner renews"
    assert not store.acquire("leader", "b", ttl_s=10, now=114)
    assert store.acquire("other", "b", ttl_s=10, now=114), "another lease is another matter"


def test_an_expired_lease_is_taken_over(store: Store) -> None:
    assert store.acquire("leader", "a", ttl_s=10, now=100)
    assert store.acquire("leader", "b", ttl_s=10, now=110)
    assert not store.acquire("leader", "a", ttl_s=10, now=111)


def test_only_the_owner_gives_a_lease_back(store: Store) -> None:
    store.acquire("leader", "a", ttl_s=1000)
    store.release("leader", "b")
    assert not store.acquire("leader", "b", ttl_s=1000)
    store.release("leader", "a")
    assert store.acquire("leader", "b", ttl_s=1000)


RACER = """
import sys
from nextlabel.backend.store import Store
path, owner = sys.argv[1:]
with Store.open(path) as store:
    print("ready", flush=True)
    for line in sys.stdin:
        print(store.acquire(line.strip(), owner, ttl_s=1000), flush=True)
"""


def test_two_processes_race_for_leases_and_one_wins_each(path: Path, spawn: Spawn) -> None:
    Store.open(path).close()
    racers = [spawn(RACER, path, owner) for owner in ("a", "b")]
    streams = [(racer.stdin, racer.stdout) for racer in racers]
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
        if store.acquire("leader", str(owner), ttl_s=1000):
            won.append(owner)

    threads = [threading.Thread(target=race, args=(owner,)) for owner in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_a_closed_store_says_so(path: Path) -> None:
    store = Store.open(path)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.head()
