"""A new model takes the place of the old one while requests wait: none fails, and none gets rows of both."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from nextlabel.backend.serving.batcher import MicroBatcher

SECONDS = 60


class Encoder:
    """Rows of (its number, length of the text). Remembers how many texts each pass had."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.passes: list[int] = []
        self.open = threading.Event()
        self.open.set()

    def encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        assert self.open.wait(SECONDS)
        self.passes.append(len(texts))
        return np.array([[self.number, len(text)] for text in texts], np.float32).reshape(-1, 2)


@contextmanager
def running(encode: Callable[[list[str]], Any], **options: Any) -> Iterator[MicroBatcher]:
    batcher = MicroBatcher(encode, **options)
    batcher.start()
    try:
        yield batcher
    finally:
        batcher.stop()


async def until_waiting(batcher: MicroBatcher, texts: int) -> None:
    while batcher.waiting < texts:
        await asyncio.sleep(0)


def test_a_thousand_requests_during_twenty_swaps() -> None:
    encoders = [Encoder(number) for number in range(21)]
    current = [encoders[0]]
    rng = random.Random(4)

    async def ask(batcher: MicroBatcher, size: int) -> tuple[int, Any]:
        mine = current[0]  # one look: everything of this request is this encoder's
        texts = ["x" * rng.randint(0, 30) for _ in range(size)]
        rows = await batcher.submit(texts, mine.encode)
        assert rows[:, 1].tolist() == [len(text) for text in texts]
        return mine.number, rows[:, 0]

    async def scenario(batcher: MicroBatcher) -> list[tuple[int, Any]]:
        encoders[0].open.clear()  # nothing is answered before the last request and the last swap are in
        asked = []
        for number in range(1000):
            asked.append(asyncio.create_task(ask(batcher, rng.choice([1, 1, 1, 2, 5, 40]))))
            if number % 48 == 47:
                await asyncio.sleep(0)
                current[0] = encoders[current[0].number + 1]
        await asyncio.sleep(0)
        assert not any(one.done() for one in asked)
        encoders[0].open.set()
        return await asyncio.gather(*asked)

    with running(encoders[0].encode) as batcher:
        answers = asyncio.run(asyncio.wait_for(scenario(batcher), SECONDS))
        assert batcher.waiting == 0
    assert len(answers) == 1000
    assert {number for number, _ in answers} == set(range(21))
    for number, rows in answers:
        assert set(rows) == {number}
    assert max(max(encoder.passes) for encoder in encoders) == 16, "requests for one encoder share passes"


def test_swaps_from_another_thread_while_several_loops_ask() -> None:
    encoders = [Encoder(number) for number in range(20)]
    current = [encoders[0]]
    seen: list[set[float]] = []
    stop = threading.Event()

    async def ask(batcher: MicroBatcher) -> None:
        while not stop.is_set():
            seen.append(set((await batcher.submit(["a"] * 20, current[0].encode))[:, 0].tolist()))

    with running(encoders[0].encode) as batcher:
        threads = [threading.Thread(target=asyncio.run, args=(ask(batcher),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for encoder in encoders:
            current[0] = encoder
            before = len(encoder.passes)
            while len(encoder.passes) < before + 5:
                pass
        stop.set()
        for thread in threads:
            thread.join(SECONDS)
    assert all(len(numbers) == 1 for numbers in seen)
    assert set().union(*seen) >= set(range(19))


def test_nobody_of_either_model_waits_for_all_of_the_other() -> None:
    old, new = Encoder(0), Encoder(1)
    order: list[str] = []

    async def ask(batcher: MicroBatcher, name: str, size: int, encoder: Encoder) -> None:
        await batcher.submit(["x"] * size, encoder.encode)
        order.append(name)

    async def scenario(batcher: MicroBatcher) -> None:
        old.open.clear()
        asked = [asyncio.create_task(ask(batcher, "first", 1, old))]
        await asyncio.sleep(0)
        while batcher.waiting:
            await asyncio.sleep(0)
        for name, size, encoder in [("large old", 100, old), ("large new", 100, new), ("old", 1, old), ("new", 1, new)]:
            asked.append(asyncio.create_task(ask(batcher, name, size, encoder)))
        await until_waiting(batcher, 202)
        old.open.set()
        await asyncio.gather(*asked)

    with running(old.encode, max_batch=8) as batcher:
        asyncio.run(asyncio.wait_for(scenario(batcher), SECONDS))
    assert set(order[:3]) == {"first", "old", "new"}
    assert all(size == 8 for size in new.passes[:-1]), "no pass may be half empty while texts for it wait"


def test_methods_of_one_encoder_share_a_pass_and_the_default_is_one_of_them() -> None:
    encoder = Encoder(0)

    async def scenario(batcher: MicroBatcher) -> None:
        encoder.open.clear()
        first = asyncio.create_task(batcher.submit(["first"]))
        await asyncio.sleep(0)
        while batcher.waiting:
            await asyncio.sleep(0)
        others = [batcher.submit(["x"], encoder.encode), batcher.submit(["x"], encoder.encode), batcher.submit(["x"])]
        tasks = [asyncio.create_task(one) for one in others]
        await until_waiting(batcher, 3)
        encoder.open.set()
        await asyncio.gather(first, *tasks)

    with running(encoder.encode) as batcher:
        asyncio.run(asyncio.wait_for(scenario(batcher), SECONDS))
    assert encoder.passes == [1, 3]
