"""kill -9 in the middle of writing: what was acknowledged is there, once, and nothing is half there."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from nextlabel.backend.store import Store
from nextlabel.connectors.records import Changes

Spawn = Callable[..., "subprocess.Popen[str]"]

WRITER = """
import sys
from datetime import UTC, datetime
from nextlabel.backend.store import Store
from nextlabel.connectors.records import Annotation, AnnotationStatus, Changes, Record

store = Store.open(sys.argv[1])
start = int(sys.argv[2])
moment = datetime(2026, 1, 1, tzinfo=UTC)
for i in range(start, 1_000_000):
    pair = [Annotation(f"{i}{half}", f"t{i}", "1", ("x",), AnnotationStatus.SUBMITTED, moment) for half in "ab"]
    store.append(Changes(annotations=tuple(pair)))
    store.add_records(Record(f"u{i}-{j}", {"text": f"{i} {j}"}) for j in range(3))
    print(i, flush=True)
"""


def test_killed_writers_lose_nothing_that_they_acknowledged(path: Path, spawn: Spawn) -> None:
    chance = random.Random(0)
    acknowledged = -1
    for _ in range(8):
        writer = spawn(WRITER, path, max(acknowledged - 2, 0))  # goes over the last ones again: repeats are no news
        assert writer.stdout is not None
        for _ in range(chance.randint(1, 60)):
            acknowledged = int(writer.stdout.readline())
        writer.kill()
        rest = writer.communicate()[0].split("\n")[:-1]
        acknowledged = int(rest[-1]) if rest else acknowledged
        _check(path, acknowledged)


def _check(path: Path, acknowledged: int) -> None:
    with Store.open(path) as store:
        answers = [one.id for one in store.answers()]
        assert len(answers) == len(set(answers)) == store.head()
        assert {f"{i}{half}" for i in range(acknowledged + 1) for half in "ab"} <= set(answers)
        for i in {int(one[:-1]) for one in answers}:
            assert {f"{i}a", f"{i}b"} <= set(answers), "one delivery is one transaction"
        stored = list(store.records())
        assert [item.position for item in stored] == list(range(len(stored)))
        assert len(stored) >= 3 * (acknowledged + 1)
        assert store.append(Changes(annotations=tuple(store.answers()))) == 0
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA integrity_check")).scalar() == "ok"
    engine.dispose()
