"""The task server: tasks by name, and the versions that answer for them; without HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeVar

from ..tasks import Store, Task, check_free
from ..tasks import Version as Stored
from ..threads import cores
from ._batcher import Batcher
from ._changes import whole
from ._engine import Engine
from ._errors import BusyError, FailedError, LateError, TakenError, TooLargeError, UnknownTaskError, UnservableError
from ._limits import Limits
from ._making import Maker, check_allowed
from ._reading import Reading, Ready
from ._residents import Residents
from ._seen import UNSEEN, Seen, digest_in
from ._version import Held, Version
from ._warmth import Warmth

T = TypeVar("T")
LOG = logging.getLogger("taskfold.serve")
NO_STORE = "this server keeps no versions: it was given task files; give it the folder of a run"


class TaskServer:
    """Answers requests for tasks by name, while tasks are added, changed and removed.

    The version that a name has when a request comes answers it: whatever changes meanwhile, the answer is
    that version's, with its digest and generation. A version leaves the engine once no request can need it. An unknown
    name is refused.

    Args:
        engine: holds the tasks.
        reading: makes a task's reading.
        store: keeps changes on the disk; None: a restarted server has none of them.
        limits: the limits of requests.
        size, delay, waiting: the batcher's arguments.
        resident: the most tasks in the engine; others are on the disk until a request needs them. None: all.
        pinned: names whose tasks stay in the engine.
        warm: run batches of all the batcher's sizes before the first task that takes such rows answers.

    Raises:
        ValueError: `resident` is < 1, or not above the number of pinned tasks.
    """

    def __init__(
        self,
        engine: Engine,
        reading: Callable[[Task], Reading],
        *,
        store: Store | None = None,
        limits: Limits | None = None,
        size: int = 32,
        delay: float = 0.002,
        waiting: int = 4096,
        resident: int | None = None,
        pinned: Sequence[str] = (),
        warm: bool = False,
    ) -> None:
        self.engine, self.store, self.limits = engine, store, limits or Limits()
        self.batcher = Batcher(engine.run, size=size, delay=delay, waiting=waiting)
        if resident is not None and resident <= len(pinned):
            raise ValueError(f"resident must be above the {len(pinned)} pinned tasks, for the others, found {resident}")
        self.residents = Residents(engine, self.batcher, resident)
        self._maker = Maker(engine, self.residents, self.limits, reading, store, pinned)
        self._warmth = Warmth(engine, self.batcher, warm)
        self._versions: dict[str, Version] = {}
        self._decoding = ThreadPoolExecutor(cores(), "taskfold-decoding")
        self._wording = ThreadPoolExecutor(cores(), "taskfold-wording")
        self.changing = asyncio.Lock()
        self.followed, self._seen = False, Seen(store)
        self._problems: dict[str, str] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.batcher.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.batcher.close()
        for threads in (self._decoding, self._wording):
            threads.shutdown(wait=False, cancel_futures=True)
        self.residents.close()

    @property
    def versions(self) -> Mapping[str, Version]:
        """The versions by name, as last read from the store."""
        return MappingProxyType(self._versions)

    @property
    def ready(self) -> bool:
        """Whether batches run, and every task of the store is served or has a problem."""
        return self.batcher.running and self.followed

    @property
    def problems(self) -> list[str]:
        """The errors of the store's tasks that cannot be served."""
        return [f"{name}: {said}" for name, said in self._problems.items()]

    def load(self, name: str, file: Path) -> None:
        """Add a task before the server starts.

        Raises:
            ValueError, TaskFileError: the task cannot be served, or the name is taken.
        """
        check_free(name, self._versions, "give one of them")
        self._versions[name] = self._maker.load(name, file)

    async def find(self, name: str) -> Version:
        """The version of a name, checked in the store, which another server may have just changed.

        Raises:
            UnknownTaskError: there is no such task; the message has the nearest name.
            FailedError: the store's file cannot be served.
            BusyError: the store cannot be read now.
            LateError: the store's file was not read in time.
        """
        try:
            if self._seen.stale(name):
                async with asyncio.timeout(self.limits.seconds):
                    await self._followed(name)
        except TimeoutError:
            raise LateError(f"task {name!r} has changed, and is still being read from the store; ask again") from None
        return self._known(name)

    async def every(self) -> Mapping[str, Version]:
        """The versions of all names, checked in the store.

        Raises:
            BusyError: the store has not been read yet, or cannot be read now.
        """
        if not self.followed:
            raise BusyError("tasks are being read from the store; ask again in 1 s", 1)
        if self.store is not None:
            await self.follow()
        return self.versions

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncIterator[Version]:
        """The version for a request: it stays in the engine until the request has ended. Errors: see `find`."""
        version = await self.find(name)
        version.held.leases += 1
        try:
            yield version
        except Exception:
            version.counts["errors"] += 1
            raise
        else:
            version.counts["answers"] += 1
        finally:
            version.held.leases -= 1
            self._let_go(version.held)

    async def ask(self, version: Version, ready: Ready) -> Any:
        """The network's output, within a `lease` of the version. Errors are those of `Residents.ask`."""
        return await self.residents.ask(version, ready, self.limits.seconds)

    async def decoding(self, work: Callable[[], T]) -> T:
        """Decode a request's inputs outside of the batcher, in one of a few threads."""
        return await asyncio.get_running_loop().run_in_executor(self._decoding, work)

    async def wording(self, work: Callable[[], T]) -> T:
        """Word a request's answers, in threads of their own: they wait for nobody's decoding."""
        return await asyncio.get_running_loop().run_in_executor(self._wording, work)

    @whole
    async def put(self, name: str, data: bytes, *, new: bool = False) -> Version:
        """Serve a task file under a name, in place of the name's present version.

        Args:
            name, data: the task's name; the file's bytes.
            new: the name must be free.

        Raises:
            UnservableError: this is not a task file of this backbone, or it cannot be served beside the others.
            TooLargeError: it is above a limit.
            TakenError: the name is not free.
        """
        await self._follow(name)
        return await self._put(name, data, new)

    @whole
    async def remove(self, name: str, *, purge: bool = False) -> None:
        """Stop serving a task; with `purge` the store deletes its versions too.

        Raises:
            UnknownTaskError: there is no such task.
        """
        await self._follow(name)
        if name not in self._problems:
            self._known(name)
        if self.store is not None:
            await self._stored(partial(self.store.remove, purge=purge), name)
        self._stand(name, None)

    @whole
    async def rename(self, old: str, new: str) -> Version:
        """Give a task another name.

        Raises:
            UnknownTaskError: there is no such task.
            TakenError, UnservableError: the new name is not free, or not allowed.
        """
        for name in (old, new):
            await self._follow(name)
        version = self._known(old)
        check_allowed(new, [other for other in self._versions if other != old or new == old])
        if self.store is not None:
            await self._stored(self.store.rename, old, new)
            self._stand(old, None)
            return await self._followed_to(new)
        self._maker.generation += 1
        version.held.pinned = new in self._maker.pinned
        del self._versions[old]
        renamed = replace(version, name=new, generation=self._maker.generation)
        self._stand(new, renamed)
        return renamed

    @whole
    async def rollback(self, name: str, to: str | None = None) -> Version:
        """Serve an earlier version of a task from the store, also of a removed task.

        Args:
            name: the task's name.
            to: the first digits of the version's digest; None: the version before the current one.

        Raises:
            UnservableError: there is no store, or no such version.
            UnknownTaskError: neither server nor store has the task.
        """
        await self.history(name)
        assert self.store is not None
        await self._stored(self.store.rollback, name, to)
        return await self._followed_to(name)

    async def follow(self) -> None:
        """Serve what the store holds now, after changes by other processes; `problems` has the errors."""
        for version in list(self._versions.values()) if self.store is None else ():
            await self._warmth.of(version, self._versions.values())
        for name in await asyncio.to_thread(self._seen.changed, {*self._versions, *self._problems}):
            await self._followed(name)
        self.followed = True

    async def history(self, name: str) -> list[Stored]:
        """The store's versions of a task, oldest first; also of a removed task.

        Raises:
            UnservableError: there is no store.
            UnknownTaskError: neither server nor store has the task.
        """
        if self.store is None:
            raise UnservableError(NO_STORE)
        if not (found := await self._stored(self.store.versions, name)):
            self._known(name)
        return found

    async def _put(self, name: str, data: bytes, new: bool, keep: bool = True) -> Version:
        check_allowed(name, [other for other in self._versions if new or other != name])
        self.limits.check("tasks", len(self._versions) + (name not in self._versions), "tasks")
        async with self._maker.made(name, data) as (version, file):
            await self._warmth.of(version, self._versions.values())
            if self.store is not None and keep:
                await self._stored(self.store.publish, file)
        self._stand(name, version)
        return version

    def _known(self, name: str) -> Version:
        if said := self._problems.get(name):
            raise FailedError(f"task {name!r} cannot be served: {said}")
        if (found := self._versions.get(name)) is None:
            raise UnknownTaskError.of(name, list(self._versions))
        return found

    async def _follow(self, name: str) -> None:
        """Updates a name's version to the store's."""
        if self.store is None or not self._seen.stale(name):
            return
        try:
            stamp, data = await asyncio.to_thread(self._seen.read, name)
        except FileNotFoundError:
            self._stand(name, None)
            return
        known, said = self._versions.get(name), self._problems.get(name)
        try:
            if known is None or known.digest != digest_in(data):
                await self._put(name, data, False, keep=False)
        except (UnservableError, TooLargeError, TakenError) as error:
            self._stand(name, None)
            self._problems[name] = str(error)
            if said != str(error):
                LOG.warning("not served: %s: %s", name, error)
            if not isinstance(error, UnservableError):
                return  # a later look may find other tasks out of its way
        self._seen.stamps[name] = stamp

    _followed = whole(_follow)

    async def _followed_to(self, name: str) -> Version:
        """The version that a changed store holds: another process may have changed it too, before or after."""
        await self._follow(name)
        return self._known(name)

    async def _stored(self, change: Callable[..., T], *arguments: Any) -> T:
        """Changes the store, in a thread, since that waits for the disk."""
        assert self.store is not None
        self._seen.check_there()
        try:
            return await asyncio.to_thread(change, *arguments)
        except ValueError as error:
            raise UnservableError(str(error).replace(str(self.store.folder), "the store")) from None

    def _stand(self, name: str, version: Version | None) -> None:
        """Sets the version of a name; None: the name has none."""
        self._problems.pop(name, None)
        self._seen.stamps.pop(name, None)
        if (before := self._versions.pop(name, None)) is not None:
            before.held.gone = True
            self._let_go(before.held)
        if version is not None:
            self._versions[name], self._seen.stamps[name] = version, UNSEEN

    def _let_go(self, held: Held) -> None:
        """Removes a task from the engine, between batches, once no request can need it."""
        if held.gone and not held.leases and self.batcher.running:
            held.gone = False  # once only
            leaving = asyncio.ensure_future(self.residents.forget(held))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
