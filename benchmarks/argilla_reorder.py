"""A new order for 10,000 pending records on Argilla: how soon the top stands, how fast the rest, how little is sent.

The connector and a real argilla-server alone, no model. Raw is what the server takes at best: bare bulk upserts of 500
records, over one connection, in the same run, with a suggestion and a number for each of four people (the server
checks every number by itself, so one number for all is taken faster: that is measured too). Ours is `publish` of the
first 50 and `extend` by 500, with lanes for the owner and three annotators. An eighth of the records is blind in all.
Then a tenth of the records change places, and it is counted what is sent; then nothing changes; and then ten times
another 50 come first. Ours starts as a service does that was just started: it first asks what stands in every lane.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from benchmarks.push import LABELING, made_up
from benchmarks.reporting import publish
from nextlabel.backend.stack import ArgillaServer, ArgillaStack
from nextlabel.connectors.argilla.connector import ArgillaConnector
from nextlabel.connectors.argilla.rows import Rows
from nextlabel.connectors.base import NewProject
from nextlabel.connectors.records import QueueEntry, Suggestion

HEAD = 50
STRETCH = 500
TOPS = 10
GOAL_TOP_S = 2.0
GOAL_RATIO = 0.9


def main(argv: list[str]) -> dict[str, Any]:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(prog="benchmarks argilla_reorder")
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=2, help="Of which the best counts, for raw and for ours.")
    options = parser.parse_args(argv)
    with ArgillaStack().start(say=print) as server:
        for number in range(3):
            server.add_user(f"annotator{number}")
        connector = ArgillaConnector.create(server.url, server.token, NewProject("reorder", LABELING))
        ids = list(connector.push(made_up(options.records)).values())
        rng = random.Random(2)
        raw_s, single_s, mine = [], [], []
        lanes = [link.split("metadata.")[1].removesuffix(".desc") for link in connector.links().values()]
        for _ in range(options.runs):  # in turns: the machine is noisy
            rng.shuffle(ids)
            raw_s.append(raw(server, connector, ids, lanes))
            single_s.append(raw(server, connector, ids, lanes[:1]))
            rng.shuffle(ids)
            connector.close()
            connector = ArgillaConnector.attach(server.url, server.token, connector.project.id)
            mine.append(ours(connector, ids))
        moved = shuffled(ids, rng, share=0.1)
        some, nothing = ours(connector, moved), ours(connector, moved)
        tops = [ours(connector, rng.sample(ids, HEAD))["top_s"] for _ in range(TOPS)]
        connector.close()
    ceiling, best = min(raw_s), min(mine, key=lambda one: one["seconds"])
    shown = (("ours, all in a new order", best), ("ours, a tenth moved", some), ("ours, nothing moved", nothing))
    rows = [
        *(
            (name, f"{took:.1f}", f"{options.records / took:.0f}", str(options.records), "", f"{ceiling / took:.2f}")
            for name, took in (("raw, a number each", ceiling), ("raw, one number", min(single_s)))
        ),
        *(
            (
                name,
                f"{one['seconds']:.1f}",
                f"{options.records / one['seconds']:.0f}",
                str(one["sent"]),
                f"{one['top_s']:.2f}",
                f"{ceiling / one['seconds']:.2f}",
            )
            for name, one in shown
        ),
    ]
    result = {
        "records": options.records,
        "raw_s": raw_s,
        "raw_one_number_s": single_s,
        "ours": mine,
        "a_tenth_moved": some,
        "nothing_moved": nothing,
        "ratio": ceiling / best["seconds"],
        "another_top_s": tops,
        "goal_ratio": GOAL_RATIO,
        "goal_top_s": GOAL_TOP_S,
    }
    rows.append((f"another {HEAD} first, p50", "", "", "", f"{statistics.median(tops):.2f}", ""))
    rows.append((f"another {HEAD} first, slowest of {TOPS}", "", "", "", f"{max(tops):.2f}", ""))
    columns = ("what", "seconds", "records/s", "records sent", "top 50 in place (s)", "rate against raw")
    return publish("argilla_reorder", result, columns, rows)


def shuffled(ids: Sequence[str], rng: random.Random, share: float) -> list[str]:
    """The same order, but for a share of records that went elsewhere."""
    gone = set(rng.sample(list(ids), round(share * len(ids))))
    order = [one for one in ids if one not in gone]
    for one in sorted(gone):
        order.insert(rng.randrange(len(order)), one)
    return order


def ours(connector: ArgillaConnector, ids: Sequence[str]) -> dict[str, Any]:
    """Seconds until the top stands and until all does, and how many records were sent."""
    shown = Suggestion(("sport",), 0.5, "model-1")
    queue = [QueueEntry(one, rank, None if is_blind(one) else shown) for rank, one in enumerate(ids)]
    with counted() as sent:
        start = time.perf_counter()
        connector.publish("nl-bench", queue[:HEAD])
        top = time.perf_counter()
        for first in range(HEAD, len(queue), STRETCH):
            connector.extend("nl-bench", queue[first : first + STRETCH])
        end = time.perf_counter()
    return {"top_s": top - start, "seconds": end - start, "sent": sum(sent)}


def is_blind(record: str) -> bool:
    """An eighth of the records, always the same: the audit slice."""
    return int(record[-1], 16) % 8 == 0


@contextmanager
def counted() -> Iterator[list[int]]:
    """The sizes of the upserts that are made meanwhile."""
    sizes: list[int] = []
    upsert = Rows.upsert

    def counting(self: Rows, items: Sequence[dict[str, Any]]) -> None:
        sizes.append(len(items))
        upsert(self, items)

    Rows.upsert = counting  # type: ignore[method-assign]
    try:
        yield sizes
    finally:
        Rows.upsert = upsert  # type: ignore[method-assign]


def raw(server: ArgillaServer, connector: ArgillaConnector, ids: Sequence[str], lanes: Sequence[str]) -> float:
    """Seconds for bare bulk upserts of all ``ids``, with a number in each of ``lanes``."""
    question = connector.form.question_id
    suggestion = {"question_id": question, "value": "tech", "score": 0.7, "agent": "raw", "type": "model"}
    with httpx.Client(
        base_url=server.url, headers={"X-Argilla-Api-Key": server.token}, timeout=120, trust_env=False
    ) as http:
        start = time.perf_counter()
        for first in range(0, len(ids), STRETCH):
            items = [
                {"id": one, "metadata": dict.fromkeys(lanes, first + place)}
                | ({} if is_blind(one) else {"suggestions": [suggestion]})
                for place, one in enumerate(ids[first : first + STRETCH])
            ]
            http.put(f"/api/v1/datasets/{connector.project.id}/records/bulk", json={"items": items}).raise_for_status()
        return time.perf_counter() - start
