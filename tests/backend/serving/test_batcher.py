"""The micro-batcher: who shares a pass, who waits for whom, and what a failure or an end does to the others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextlabel.backend.serving.batcher import MicroBatcher
from nextlabel.connectors.errors import ConfigError, Overloaded

SECONDS = 30  # until a hanging test is called one


class Model:
    """Gives each text its length and its first letter's code. Remembers the passes; ``hold()`` keeps one open."""

    def __init__(self) -> None:
        self.passes: list[list[str]] = []
        self.started = threading.Semaphore(0)
        self._open = threading.Event()
        self._open.set()

    def __call__(self, texts: list[str]) -> npt.NDArray[np.float32]:
        self.passes.append(list(texts))
        self.started.release()
        assert self._open.wait(SECONDS)
        if any(text.startswith("bad") for text in texts):
            raise ArithmeticError("a bad text")
        return np.array([[len(text), ord(text[0]) if text else 0] for text in texts], np.float32).reshape(-1, 2)

    def hold(self) -> None:
        self._open.clear()

    def go_on(self) -> None:
        self._open.set()


def expected(texts: list[str]) -> npt.NDArray[np.float32]:
    return Model()(texts)


@contextmanager
def running(model: Callable[[list[str]], Any], **options: Any) -> Iterator[MicroBatcher]:
    batcher = MicroBatcher(model, **options)
    batcher.start()
    try:
        yield batcher
    finally:
        batcher.stop()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, SECONDS))


async def until_started(model: Model) -> None:
    assert await asyncio.to_thread(model.started.acquire, timeout=SECONDS)


async def until_waiting(batcher: MicroBatcher, texts: int) -> None:
    while batcher.waiting < texts:
        await asyncio.sleep(0)


def test_a_lone_request_is_one_pass_of_its_own_texts() -> None:
    model = Model()
    with running(model) as batcher:
        rows = run(batcher.submit(["bb", "a", "cccc"]))
    assert rows.tolist() == expected(["bb", "a", "cccc"]).tolist()
    assert model.passes == [["cccc", "bb", "a"]]


def test_requests_that_wait_together_share_a_pass() -> None:
    model = Model()

    async def scenario(batcher: MicroBatcher) -> None:
        model.hold()
        first = asyncio.create_task(batcher.submit(["first"]))
        await until_started(model)
        others = [asyncio.create_task(batcher.submit([f"{i}" * (i + 1)])) for i in range(9)]
        await until_waiting(batcher, 9)
        model.go_on()
        assert [row.tolist() for row in await asyncio.gather(*others)] == [
            expected([f"{i}" * (i + 1)]).tolist() for i in range(9)
        ]
        await first

    with running(model, max_batch=16) as batcher:
        run(scenario(batcher))
    assert [len(texts) for texts in model.passes] == [1, 9]


def test_a_small_request_does_not_wait_for_a_large_one() -> None:
    model = Model()
    large = [f"large {i}" for i in range(1000)]

    async def scenario(batcher: MicroBatcher) -> None:
        model.hold()
        slow = asyncio.create_task(batcher.submit(large))
        await until_started(model)
        quick = asyncio.create_task(batcher.submit(["quick"]))
        await until_waiting(batcher, 1000 - 8 + 1)
        model.go_on()
        await quick
        assert (await slow).tolist() == expected(large).tolist()

    with running(model, max_batch=8) as batcher:
        run(scenario(batcher))
    assert "quick" in model.passes[1]
    assert all(len(texts) == 8 for texts in model.passes[:-1]), "no pass may be half empty while texts wait"


def test_large_requests_share_every_pass() -> None:
    model = Model()

    async def scenario(batcher: MicroBatcher) -> None:
        model.hold()
        first = asyncio.create_task(batcher.submit(["first"]))
        await until_started(model)
        both = [asyncio.create_task(batcher.submit([name] * 40)) for name in "ab"]
        await until_waiting(batcher, 80)
        model.go_on()
        await asyncio.gather(first, *both)

    with running(model, max_batch=8) as batcher:
        run(scenario(batcher))
    assert [sorted(texts) for texts in model.passes[1:]] == [["a"] * 4 + ["b"] * 4] * 10


def test_a_failing_request_does_not_poison_those_beside_it() -> None:
    model = Model()

    async def scenario(batcher: MicroBatcher) -> None:
        model.hold()
        first = asyncio.create_task(batcher.submit(["first"]))
        await until_started(model)
        good = asyncio.create_task(batcher.submit(["good"]))
        bad = asyncio.create_task(batcher.submit(["bad"] + ["more"] * 100))
        fine = asyncio.create_task(batcher.submit(["fine"] * 20))
        await until_waiting(batcher, 122)
        model.go_on()
        with pytest.raises(ArithmeticError, match="a bad text"):
            await bad
        assert (await good).tolist() == expected(["good"]).tolist()
        assert (await fine).tolist() == expected(["fine"] * 20).tolist()
        await first
        assert (await batcher.submit(["after"])).tolist() == expected(["after"]).tolist()
        assert batcher.waiting == 0

    with running(model, max_batch=4) as batcher:
        run(scenario(batcher))


def test_a_model_that_returns_too_few_rows_is_an_error_not_a_mix_up() -> None:
    with running(lambda texts: np.zeros((1, 2))) as batcher, pytest.raises(ValueError, match="3 texts gave 1 rows"):
        run(batcher.submit(["a", "b", "c"]))


def test_too_much_is_refused_and_what_was_accepted_is_answered() -> None:
    model = Model()

    async def scenario(batcher: MicroBatcher) -> None:
        model.hold()
        first = asyncio.create_task(batcher.submit(["first"]))
        await until_started(model)
        # More than the limit in one request is fine while nothing else waits: it could never be served otherwise.
        large = asyncio.create_task(batcher.submit(["x"] * 15))
        await until_waiting(batcher, 15)
        with pytest.raises(Overloaded, match="15 texts are waiting"):
            await batcher.submit(["one too many"])
        model.go_on()
        assert len(await large) == 15
        await first
        assert len(await batcher.submit(["room again"])) == 1

    with running(model, max_waiting=10) as batcher:
        run(scenario(batcher))


def test_stop_ends_the_running_pass_and_refuses_the_rest() -> None:
    model = Model()

    async def scenario(batcher: MicroBatcher) -> None:
        model.hold()
        first = asyncio.create_task(batcher.submit(["first"]))
        await until_started(model)
        waiting = asyncio.create_task(batcher.submit(["waiting"]))
        await until_waiting(batcher, 1)
        stopping = asyncio.create_task(asyncio.to_thread(batcher.stop))
        while batcher.running:
            await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="starting or stopping"):
            await batcher.submit(["late"])
        model.go_on()
        assert (await first).tolist() == expected(["first"]).tolist()
        with pytest.raises(Overloaded, match="stopping"):
            await waiting
        await stopping

    batcher = MicroBatcher(model)
    batcher.start()
    run(scenario(batcher))
    assert not any(thread.name == "forward" for thread in threading.enumerate())


def test_it_can_be_started_and_stopped_again_and_again() -> None:
    model = Model()
    batcher = MicroBatcher(model)
    batcher.stop()
    with pytest.raises(Overloaded):
        run(batcher.submit(["too early"]))
    for _ in range(3):
        batcher.start()
        batcher.start()
        assert len(run(batcher.submit(["text"]))) == 1
        batcher.stop()
        batcher.stop()


def test_texts_of_a_caller_who_left_are_not_encoded() -> None:
    model = Model()

    async def scenario(batcher: MicroBatcher) -> None:
        model.hold()
        first = asyncio.create_task(batcher.submit(["first"]))
        await until_started(model)
        left = asyncio.create_task(batcher.submit(["gone"] * 50))
        stays = asyncio.create_task(batcher.submit(["stays"]))
        await until_waiting(batcher, 51)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        model.go_on()
        await asyncio.gather(first, stays)
        assert batcher.waiting == 0

    with running(model) as batcher:
        run(scenario(batcher))
    assert model.passes == [["first"], ["stays"]]


def test_no_texts_give_no_rows() -> None:
    with running(Model()) as batcher:
        assert run(batcher.submit([])).shape == (0, 2)


def test_several_event_loops_may_submit() -> None:
    with running(Model()) as batcher:
        results: list[float] = []
        threads = [
            threading.Thread(target=lambda i=i: results.append(run(batcher.submit(["x" * i]))[0, 0]))
            for i in range(1, 9)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(results) == list(range(1, 9))


def test_a_loop_that_was_closed_does_not_hurt_the_others() -> None:
    model = Model()
    with running(model) as batcher:
        model.hold()

        async def leave() -> None:
            task = asyncio.create_task(batcher.submit(["left behind"]))
            await until_started(model)
            assert not task.done()

        run(leave())  # asyncio.run cancels the task and closes the loop
        model.go_on()
        assert len(run(batcher.submit(["next"]))) == 1


@settings(max_examples=30, deadline=None)
@given(
    requests=st.lists(st.lists(st.text(max_size=8), max_size=12), max_size=12),
    max_batch=st.integers(min_value=1, max_value=9),
)
def test_everybody_gets_their_own_rows(requests: list[list[str]], max_batch: int) -> None:
    requests = [["x" + text for text in texts] for texts in requests]

    async def scenario(batcher: MicroBatcher) -> list[npt.NDArray[np.float32]]:
        return await asyncio.gather(*(batcher.submit(texts) for texts in requests))

    model = Model()
    with running(model, max_batch=max_batch) as batcher:
        for texts, rows in zip(requests, run(scenario(batcher)), strict=True):
            assert rows.tolist() == expected(texts).tolist()
    assert max(map(len, model.passes), default=0) <= max_batch


def test_limits_must_make_sense() -> None:
    with pytest.raises(ConfigError, match="max_batch"):
        MicroBatcher(Model(), max_batch=0)
