"""A batcher: rows of several callers run together. It uses plain asyncio, without HTTP or torch."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from ._errors import BusyError, ClosedError, LateError

T = TypeVar("T")
Run = Callable[[Any, Sequence[Any]], Sequence[Any]]
"""(group, rows) → one answer for each row, in their order."""
OLD = 0.8
"""Weight of earlier measurements in the running mean of seconds per row."""


@dataclass
class Counts:
    """Counters of a batcher.

    Attributes:
        batches, rows: that ran.
        failed: rows whose run raised.
        changes: changes that were applied.
        seconds: the time in which batches ran.
        largest: rows of the largest batch.
    """

    batches: int = 0
    rows: int = 0
    failed: int = 0
    changes: int = 0
    seconds: float = 0.0
    largest: int = 0


@dataclass(eq=False)
class _Waiting:
    row: Any
    came: float
    answer: asyncio.Future[Any]


class Batcher:
    """Collects rows into batches, and runs batches and changes one at a time in one thread.

    A row runs at once if nothing else runs. While a batch runs, rows collect; then rows of one group run together,
    as many as there are, rounded down to one of `sizes`: 1, 2, 3, 4, 6, 8, 12, 16, … and `size`. So batches have few
    sizes, and the network looks once at each. The batcher waits for more rows only while there are fewer than
    the last batch had, and at most `delay` after a row came: a single caller never waits for others.

    Changes are applied between batches, at most one before each batch, so that neither delays the other for long.

    A batch that raises is run again row by row: an error reaches only the caller of the row that causes it.

    Args:
        run: runs rows of one group, in the batcher's thread.
        size: the most rows of a batch.
        delay: the most seconds that a row waits for others.
        waiting: the most rows that wait; further ones are refused.

    Raises:
        ValueError: size or waiting is below 1, or delay is negative.

    Example:
        >>> import asyncio
        >>> async def doubled():
        ...     async with Batcher(lambda group, rows: [2 * row for row in rows]) as batcher:
        ...         return await asyncio.gather(*(batcher.ask("numbers", n) for n in range(4)))
        >>> asyncio.run(doubled())
        [0, 2, 4, 6]
    """

    def __init__(self, run: Run, *, size: int = 32, delay: float = 0.002, waiting: int = 4096) -> None:
        for name, value in (("size", size), ("waiting", waiting)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1 row, found {value}")
        if not 0 <= delay < math.inf:
            raise ValueError(f"delay must be a number of seconds ≥ 0, found {delay}")
        self.size, self.delay, self.most = size, delay, waiting
        self.sizes = tuple(n for n in range(1, size + 1) if n == size or n // (n & -n) in (1, 3))
        self.counts = Counts()
        self._run = run
        self._groups: dict[Hashable, dict[int, _Waiting]] = {}
        self._changes: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "taskfold-batches")
        self._worker: asyncio.Task[None] | None = None
        self._closed = False
        self._last, self._pace = 1, 0.0

    async def __aenter__(self) -> Self:
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def waiting(self) -> int:
        """The number of waiting rows."""
        return sum(map(len, self._groups.values()))

    @property
    def running(self) -> bool:
        """Whether the batcher answers: it was entered, not closed, and its loop has not failed."""
        return self._worker is not None and not self._worker.done() and not self._closed

    def check_room(self, rows: int = 1) -> None:
        """Checks that `rows` more rows may wait.

        Raises:
            BusyError: they may not; it has the seconds after which to ask again.
            ClosedError: the batcher was closed, or never entered.
        """
        if not self.running:
            raise ClosedError("the server takes no requests: it is starting or stopping")
        if (found := self.waiting) + rows > self.most:
            seconds = min(max(1, math.ceil(found * self._pace)), 60)
            raise BusyError(f"{found} rows wait, and at most {self.most} may; ask again in {seconds} s", seconds)

    async def ask(self, group: Hashable, row: Any, *, timeout: float | None = None) -> Any:
        """The answer for one row. Cancelling the call withdraws the row, unless it runs already.

        Args:
            group: rows of equal groups can run together.
            row: the argument of `run`.
            timeout: the most seconds to wait for the answer; None: no limit.

        Raises:
            BusyError, ClosedError: as for `check_room`; or the batcher was closed meanwhile.
            LateError: there was no answer in time. A row that still waited will not run.
            Exception: what `run` raised for this row alone.
        """
        self.check_room()
        loop = asyncio.get_running_loop()
        mine = _Waiting(row, loop.time(), loop.create_future())
        self._groups.setdefault(group, {})[id(mine)] = mine
        self._arrived.set()
        try:
            async with asyncio.timeout(timeout):
                return await mine.answer
        except TimeoutError:
            if mine.answer.done() and not mine.answer.cancelled():
                return mine.answer.result()  # the answer came in the same moment
            raise LateError(f"there was no answer within {timeout:g} s; ask again, or allow more time") from None
        finally:
            self._take_back(group, mine)

    async def apply(self, change: Callable[[], T]) -> T:
        """Run a change between two batches, in the batcher's thread; returns or raises what it does.

        Raises:
            ClosedError: the batcher was closed before.
        """
        if not self.running:
            raise ClosedError("the server takes no changes: it is starting or stopping")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._changes.append((change, done))
        self._arrived.set()
        return await done

    async def close(self) -> None:
        """Finish the running batch, and refuse waiting rows."""
        self._closed = True
        self._arrived.set()
        if self._worker is not None:
            await self._worker
        await asyncio.to_thread(self._thread.shutdown)

    async def _work(self) -> None:
        try:
            while not self._closed:
                await self._arrived.wait()
                self._arrived.clear()
                while (self._changes or self._groups) and not self._closed:
                    await self._turn()
        finally:
            self._closed = True
            for mine in [one for rows in self._groups.values() for one in rows.values()]:
                _settle(mine.answer, ClosedError("the server stopped before this row ran"))
            for _, done in self._changes:
                _settle(done, ClosedError("the server stopped before this change"))
            self._groups.clear()
            self._changes.clear()

    async def _turn(self) -> None:
        """Applies a change, and runs a batch."""
        if self._changes:
            change, done = self._changes.popleft()
            if not done.cancelled():
                self.counts.changes += 1
                await self._settled(done, change)
        if self._groups:
            await self._company()
        if self._groups and not self._closed:
            group, rows = self._taken()
            await self._answer(group, rows)

    async def _company(self) -> None:
        """Waits up to `delay` for as many rows as the last batch had."""
        loop, wanted = asyncio.get_running_loop(), min(self.size, self._last)
        until = min(one.came for rows in self._groups.values() for one in rows.values()) + self.delay
        while 0 < self.waiting < wanted and (left := until - loop.time()) > 0 and not (self._changes or self._closed):
            self._arrived.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._arrived.wait()

    def _taken(self) -> tuple[Hashable, list[_Waiting]]:
        """Takes rows from the group with the oldest row."""
        group = min(self._groups, key=lambda one: next(iter(self._groups[one].values())).came)
        waiting = self._groups[group]
        count = max(n for n in self.sizes if n <= len(waiting))
        rows = [waiting.pop(key) for key in list(waiting)[:count]]
        if not waiting:
            del self._groups[group]
        return group, rows

    def _take_back(self, group: Hashable, mine: _Waiting) -> None:
        waiting = self._groups.get(group, {})
        if waiting.pop(id(mine), None) is not None and not waiting:
            del self._groups[group]

    async def _answer(self, group: Hashable, rows: list[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        try:
            found = await loop.run_in_executor(self._thread, self._made, group, [one.row for one in rows])
        except Exception as error:
            if len(rows) == 1:
                self.counts.failed += 1
                _settle(rows[0].answer, error)
            else:
                for one in rows:
                    if not one.answer.done():
                        await self._answer(group, [one])
            return
        seconds, counts = loop.time() - begin, self.counts
        counts.batches, counts.rows = counts.batches + 1, counts.rows + len(rows)
        counts.seconds, counts.largest = counts.seconds + seconds, max(counts.largest, len(rows))
        pace = seconds / len(rows)
        self._last, self._pace = len(rows), OLD * self._pace + (1 - OLD) * pace if self._pace else pace
        for one, answer in zip(rows, found, strict=True):
            if not one.answer.done():
                one.answer.set_result(answer)

    def _made(self, group: Hashable, rows: list[Any]) -> Sequence[Any]:
        found = self._run(group, rows)
        if len(found) != len(rows):
            raise RuntimeError(f"a run of {len(rows)} rows made {len(found)} answers; whose they are is not known")
        return found

    async def _settled(self, done: asyncio.Future[Any], work: Callable[[], Any]) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._thread, work)
        except Exception as error:
            _settle(done, error)
        else:
            if not done.done():
                done.set_result(found)


def _settle(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
