"""The batcher, with numbers for rows."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from taskfold.serve import Batcher, BusyError, ClosedError, LateError


class Work:
    """Doubles numbers, keeps what it ran, and can be held."""

    def __init__(self) -> None:
        self.ran: list[tuple[object, list[Any]]] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, group: object, rows: Sequence[Any]) -> list[Any]:
        self.go.wait(5)
        self.ran.append((group, list(rows)))
        if "bad" in rows:
            raise ValueError("bad row")
        return [2 * row for row in rows]

    @property
    def sizes(self) -> list[int]:
        return [len(rows) for _, rows in self.ran]


def served(body: Callable[[Batcher, Work], Coroutine[Any, Any, Any]], **settings: Any) -> Work:
    work = Work()

    async def run() -> None:
        async with asyncio.timeout(10), Batcher(work, **settings) as batcher:
            await body(batcher, work)

    asyncio.run(run())
    return work


async def held(batcher: Batcher, work: Work) -> asyncio.Task[Any]:
    """A batch that runs until `work.go` is set."""
    work.go.clear()
    first = asyncio.create_task(batcher.ask("a", 0))
    while batcher.waiting or first.done():
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    return first


def test_rows_of_a_group_run_together_while_others_wait() -> None:
    async def body(batcher: Batcher, work: Work) -> None:
        first = await held(batcher, work)
        asked = [asyncio.create_task(batcher.ask("ab"[n % 2], n)) for n in range(1, 9)]
        await asyncio.sleep(0.01)
        work.go.set()
        assert await asyncio.gather(first, *asked) == [2 * n for n in range(9)]

    work = served(body, size=3)
    assert work.ran == [("a", [0]), ("b", [1, 3, 5]), ("a", [2, 4, 6]), ("b", [7]), ("a", [8])]


def test_batches_have_few_numbers_of_rows() -> None:
    async def body(batcher: Batcher, work: Work) -> None:
        assert batcher.sizes == (1, 2, 3, 4, 6, 8, 12, 16, 20)
        first = await held(batcher, work)
        asked = [asyncio.create_task(batcher.ask("a", n)) for n in range(1, 32)]
        await asyncio.sleep(0.01)
        work.go.set()
        assert await asyncio.gather(first, *asked) == [2 * n for n in range(32)]

    work = served(body, size=20)
    assert work.sizes == [1, 20, 8, 3]
    assert [row for _, rows in work.ran for row in rows] == [*range(32)]


def test_who_is_alone_does_not_wait_for_company() -> None:
    async def body(batcher: Batcher, work: Work) -> None:
        begin = time.monotonic()
        for n in range(5):
            await batcher.ask("a", n)
        assert time.monotonic() - begin < 1

    assert served(body, delay=2.0).sizes == [1] * 5


def test_many_wait_for_company_a_little_while() -> None:
    async def body(batcher: Batcher, work: Work) -> None:
        await asyncio.gather(*(batcher.ask("a", n) for n in range(4)))
        one = asyncio.create_task(batcher.ask("a", 4))
        await asyncio.sleep(0.02)
        await asyncio.gather(one, *(batcher.ask("a", n) for n in range(3)))

    assert served(body, delay=5.0).sizes == [4, 4]


def test_a_row_that_fails_is_its_callers_alone() -> None:
    async def body(batcher: Batcher, work: Work) -> None:
        found = await asyncio.gather(*(batcher.ask("a", n) for n in (1, "bad", 3)), return_exceptions=True)
        assert [found[0], found[2]] == [2, 6]
        assert isinstance(found[1], ValueError)

    assert served(body).sizes == [3, 1, 1, 1]


def test_answers_that_are_too_few_are_nobodys() -> None:
    async def run() -> None:
        async with Batcher(lambda group, rows: rows[1:]) as batcher:
            await batcher.ask("a", 1)

    with pytest.raises(RuntimeError, match="1 rows made 0 answers"):
        asyncio.run(run())


def test_a_full_queue_refuses_and_says_when_to_ask_again() -> None:
    async def body(batcher: Batcher, work: Work) -> None:
        first = await held(batcher, work)
        waiting = [asyncio.create_task(batcher.ask("a", n)) for n in (1, 2)]
        await asyncio.sleep(0.01)
        with pytest.raises(BusyError, match="2 rows wait, and at most 2 may; ask again in 1 s") as caught:
            await batcher.ask("a", 3)
        assert caught.value.retry_after == 1
        work.go.set()
        assert await asyncio.gather(first, *waiting) == [0, 2, 4]
        assert await batcher.ask("a", 4) == 8

    served(body, waiting=2)


def test_a_deadline_and_a_caller_who_leaves_take_their_rows_back() -> None:
    async def body(batcher: Batcher, work: Work) -> None:
        first = await held(batcher, work)
        leaving = asyncio.create_task(batcher.ask("a", 1))
        staying = asyncio.create_task(batcher.ask("a", 2))
        with pytest.raises(LateError, match=r"within 0\.02 s"):
            await batcher.ask("a", 3, timeout=0.02)
        leaving.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert batcher.waiting == 1
        work.go.set()
        assert await asyncio.gather(first, staying) == [0, 4]

    assert [rows for _, rows in served(body).ran] == [[0], [2]]


def test_changes_come_between_batches_one_at_a_time() -> None:
    async def body(batcher: Batcher, work: Work) -> None:
        first = await held(batcher, work)
        changes = [asyncio.create_task(batcher.apply(lambda n=n: work.ran.append(("change", [n])))) for n in range(2)]
        second = asyncio.create_task(batcher.ask("a", 1))
        await asyncio.sleep(0.01)
        assert not work.ran
        work.go.set()
        await asyncio.gather(first, second, *changes)
        with pytest.raises(ZeroDivisionError):
            await batcher.apply(lambda: 1 / 0)

    assert [group for group, _ in served(body).ran] == ["a", "change", "a", "change"]


def test_closing_refuses_what_waits_and_lets_the_batch_end() -> None:
    async def body(batcher: Batcher, work: Work) -> None:
        first = await held(batcher, work)
        waiting = asyncio.create_task(batcher.ask("a", 1))
        await asyncio.sleep(0.01)
        threading.Timer(0.05, work.go.set).start()
        await batcher.close()
        with pytest.raises(ClosedError):
            await waiting
        assert await first == 0
        with pytest.raises(ClosedError):
            await batcher.ask("a", 2)

    assert served(body).sizes == [1]


@pytest.mark.parametrize("settings", [{"size": 0}, {"waiting": 0}, {"delay": -1.0}, {"delay": float("nan")}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Batcher(Work(), **settings)
