"""Resident tasks: those in the engine, if fewer may be there than are served; others are on the disk."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from ..files import draft_of
from ._batcher import Batcher
from ._engine import Engine
from ._errors import ClosedError, FailedError, LateError
from ._reading import Ready
from ._version import Held, Version

T = TypeVar("T")
COPIES = "taskfold-serving"
"""Name of the folder of copies; the next server removes a killed server's."""


class Residents:
    """Brings tasks into the engine when requests need them, and evicts the least recently used ones.

    A task leaves only while no row needs it, and comes back from a private copy of its file. There are
    never more than `most`: a row whose task is on the disk waits until another task is idle.

    Args:
        engine: holds tasks.
        batcher: applies changes of the engine between batches.
        most: the most tasks in the engine; None: all served ones.

    Raises:
        ValueError: `most` is below 1.
    """

    def __init__(self, engine: Engine, batcher: Batcher, most: int | None = None) -> None:
        if most is not None and most < 1:
            raise ValueError(f"resident must be at least 1 task, found {most}")
        self.most, self._engine, self._batcher = most, engine, batcher
        self._there: dict[str, Held] = {}  # least recently used first
        self._taken = 0
        self._freed = asyncio.Event()
        self._closing = ExitStack()
        self._folder: Path | None = None
        if most is not None:
            self._folder = self._closing.enter_context(draft_of(Path(tempfile.gettempdir()) / COPIES, folder=True))
        self.loads = self.evictions = 0

    def __len__(self) -> int:
        return len(self._there)

    def close(self) -> None:
        """Delete the copies of files."""
        self._closing.close()

    async def ask(self, version: Version, ready: Ready, seconds: float) -> Any:
        """The network's output for a row; a task on the disk comes into the engine first.

        Raises:
            LateError: there was no answer within `seconds`.
            FailedError: the network cannot run this input, or its outputs are not finite; or the task cannot be read
                from the disk.
            BusyError, ClosedError: as for the batcher.
        """
        held = version.held
        held.asking += 1
        try:
            if not held.present:
                seconds -= await self._brought(version, seconds)
            elif self.most is not None:
                self._there[held.key] = self._there.pop(held.key)
            found = await self._batcher.ask(ready.group, (held.key, ready.value), timeout=seconds)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise FailedError(f"task {version.name!r}: the network cannot run this input: {error}") from error
        finally:
            held.asking -= 1
            if not held.asking:
                self._freed.set()
        if isinstance(found, Tensor) and not found.isfinite().all():
            raise FailedError(f"task {version.name!r} puts out numbers that are infinite or none; train it anew")
        return found

    async def _brought(self, version: Version, most: float) -> float:
        """Brings a task into the engine; returns the seconds that took."""
        held, loop = version.held, asyncio.get_running_loop()
        begin = loop.time()
        if held.coming is None:
            held.coming = asyncio.ensure_future(self._bring(held))
            held.coming.add_done_callback(lambda done: _came(held, done))
        try:
            async with asyncio.timeout(most):
                await asyncio.shield(held.coming)  # other rows may wait for it too
        except TimeoutError:
            raise LateError(f"task {version.name!r} did not come from the disk within {most:g} s; ask again") from None
        except (RuntimeError, ValueError, OSError) as error:
            raise FailedError(f"task {version.name!r} cannot be read from the disk any more: {error}") from error
        return min(loop.time() - begin, most - 0.001)

    async def added(self, held: Held, file: Path, add: Callable[[], T]) -> T:
        """Apply a change that adds a new task to the engine; returns its result."""
        await self._room()
        try:
            await asyncio.to_thread(self._keep, held, file)
            found = await self._batcher.apply(add)
        except BaseException:
            self._left(held)
            raise
        self._stands(held)
        return found

    def add(self, held: Held, file: Path, add: Callable[[], T]) -> T:
        """Like `added`, before the batcher runs."""
        if self.most is not None and self._taken >= self.most and (idle := self._idle()) is not None:
            self._engine.remove(self._goes(idle).key)
            self._taken -= 1
        found = add()
        self._keep(held, file)
        self._taken += 1
        self._stands(held)
        return found

    async def forget(self, held: Held) -> None:
        """Remove a task that no request needs from the engine and the disk."""
        if held.coming is not None:
            await asyncio.wait({held.coming})
        if held.present:
            self._goes(held)
            with suppress(ClosedError):  # a closed batcher means that all tasks leave
                await self._batcher.apply(lambda: self._engine.remove(held.key))
            self._left(held)
        elif held.file is not None:
            held.file.unlink(missing_ok=True)

    async def _bring(self, held: Held) -> None:
        await self._room()
        try:
            assert held.file is not None
            add = await asyncio.to_thread(self._engine.prepare, held.file, held.key)
            await self._batcher.apply(add)
        except BaseException:
            self._free()
            raise
        self.loads += 1
        self._stands(held)

    async def _room(self) -> None:
        """Makes room for one more task."""
        while self.most is not None and self._taken >= self.most:
            if (idle := self._idle()) is None:
                self._freed.clear()
                await self._freed.wait()
                continue
            self._goes(idle)
            try:
                # A row that needs it from now on waits for a change after this one.
                await self._batcher.apply(lambda idle=idle: self._engine.remove(idle.key))
            except ValueError:  # other tasks need it
                idle.pinned = True
                self._stands(idle)
                continue
            self.evictions += 1
            self._free()
        self._taken += 1

    def _idle(self) -> Held | None:
        return next((held for held in self._there.values() if not (held.asking or held.pinned)), None)

    def _stands(self, held: Held) -> None:
        held.present = True
        self._there[held.key] = held

    def _goes(self, held: Held) -> Held:
        held.present = False
        del self._there[held.key]
        return held

    def _keep(self, held: Held, file: Path) -> None:
        """Copies a task's file, from which it comes back."""
        if self._folder is not None:
            held.file = self._folder / f"{held.key}.safetensors"
            shutil.copyfile(file, held.file)

    def _free(self) -> None:
        self._taken -= 1
        self._freed.set()

    def _left(self, held: Held) -> None:
        self._free()
        if held.file is not None:
            held.file.unlink(missing_ok=True)


def _came(held: Held, done: asyncio.Future[None]) -> None:
    held.coming = None
    with suppress(asyncio.CancelledError):
        done.exception()  # those who wait get the error; perhaps no row does
