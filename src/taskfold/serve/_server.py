"""Tasks by name, and the versions that answer for them; without HTTP."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeVar

from ..files import draft_of, remove_drafts
from ..tasks import Store, Task, TaskFileError, check_free, check_name, read, read_header, write
from ..threads import cores
from ._batcher import Batcher
from ._engine import Engine
from ._errors import ServeError, TakenError, UnfitError, UnknownTaskError
from ._limits import Limits
from ._reading import Reading, Ready
from ._residents import Residents
from ._version import DIGITS, Held, Version

T = TypeVar("T")
NO_STORE = "this server keeps no versions: it was given task files; give it the folder of a run"


class TaskServer:
    """Answers requests for tasks by name, while tasks come, change and go.

    A request is answered by the version that its name stood for when it came: whatever changes meanwhile, the answer is
    that version's, and says its digest and generation. A version leaves the engine once no request may ask it. A name
    that stands for nothing is refused.

    Args:
        engine: holds the tasks.
        reading: how a task reads inputs.
        store: keeps changes on the disk; None: a server that starts again knows nothing of them.
        limits: of requests.
        size, delay, waiting: of the batcher.
        resident: tasks in the engine at once, at most; the others lie on the disk until they are asked. None: all.
        pinned: names whose tasks stay in the engine.

    Raises:
        ValueError: fewer than one task may be in the engine, or no more than are pinned.
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
    ) -> None:
        self.engine, self.store, self.limits = engine, store, limits or Limits()
        self.batcher = Batcher(engine.run, size=size, delay=delay, waiting=waiting)
        if resident is not None and resident <= len(pinned):
            raise ValueError(f"resident must be above the {len(pinned)} pinned tasks, for the others, found {resident}")
        self.residents, self.pinned = Residents(engine, self.batcher, resident), frozenset(pinned)
        self._arriving = (Path(tempfile.gettempdir()) if store is None else store.folder) / "taskfold-arriving"
        self._arriving.parent.mkdir(parents=True, exist_ok=True)
        remove_drafts(self._arriving)  # of a server that was killed
        self._reading = reading
        self._versions: dict[str, Version] = {}
        self._generation = 0
        self._decoding = ThreadPoolExecutor(cores(), "taskfold-decoding")
        self._changing = asyncio.Lock()
        self.followed = store is None
        self._seen: dict[str, tuple[int, int, int]] = {}
        self._problems: dict[str, str] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.batcher.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.batcher.close()
        self._decoding.shutdown(wait=False, cancel_futures=True)
        self.residents.close()

    @property
    def versions(self) -> Mapping[str, Version]:
        """What each name stands for now."""
        return MappingProxyType(self._versions)

    def load(self, name: str, file: Path) -> None:
        """Add a task before the server starts.

        Raises:
            ValueError, TaskFileError: it cannot be served; or the name is taken.
        """
        check_free(name, self._versions, "give one of them")
        held = self._held(name)
        add = self.engine.prepare(file, held.key)
        self._versions[name] = self.residents.add(held, file, lambda: self._version(name, file, held, add()))

    # Requests

    def find(self, name: str) -> Version:
        """What a name stands for.

        Raises:
            UnknownTaskError: nothing; says the nearest name.
        """
        if (found := self._versions.get(name)) is None:
            raise UnknownTaskError.of(name, list(self._versions))
        return found

    @contextmanager
    def lease(self, name: str) -> Iterator[Version]:
        """The version that a request asks: it stays in the engine until the request has ended."""
        version = self.find(name)
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
        """What the network puts out; within a `lease` of the version. Errors are those of `Residents.ask`."""
        return await self.residents.ask(version, ready, self.limits.seconds)

    async def decoding(self, work: Callable[[], T]) -> T:
        """Work of one request outside of the batcher, in one of a few threads."""
        return await asyncio.get_running_loop().run_in_executor(self._decoding, work)

    # Changes

    async def put(self, name: str, data: bytes, *, new: bool = False) -> Version:
        """Serve a task file under a name, instead of what it stood for.

        Args:
            name: of the task.
            data: the file's bytes.
            new: the name must be free.

        Raises:
            UnfitError: no task file of this backbone, or it cannot be served beside the others.
            TooLargeError: it is above a limit.
            TakenError: the name is not free.
        """
        return await self._whole(self._put(name, data, new))

    async def remove(self, name: str, *, purge: bool = False) -> None:
        """Serve a task no more.

        Args:
            name: of the task.
            purge: delete the versions that the store keeps of it, too.

        Raises:
            UnknownTaskError: there is none.
        """
        await self._whole(self._remove(name, purge))

    async def rename(self, old: str, new: str) -> Version:
        """Give a task another name.

        Raises:
            UnknownTaskError: there is no such task.
            TakenError, UnfitError: the new name is not free, or not allowed.
        """
        return await self._whole(self._rename(old, new))

    async def rollback(self, name: str, to: str | None = None) -> Version:
        """Serve an earlier version of a task from the store, also of one that was removed.

        Args:
            name: of the task.
            to: the first digits of the version's digest; None: the version before the current one.

        Raises:
            UnfitError: there is no store, or no such version.
        """
        return await self._whole(self._rollback(name, to))

    async def follow(self) -> list[str]:
        """Serve what the store holds now, as other processes have left it; names that could not be served, and why."""
        return await self._whole(self._follow())

    async def history(self, name: str) -> list[dict[str, Any]]:
        """The versions that the store keeps of a task, oldest first; also of one that was removed.

        Raises:
            UnfitError: there is no store.
            UnknownTaskError: nobody knows the task.
        """
        if self.store is None:
            raise UnfitError(NO_STORE)
        found = await self._stored(self.store.versions, name)
        if not found:
            self.find(name)
        return [{"digest": one.digest, "published": one.published, "current": one.current} for one in found]

    async def _whole(self, change: Coroutine[Any, Any, T]) -> T:
        """One change at a time, to its end even if the caller goes away."""

        async def locked() -> T:
            async with self._changing:
                return await change

        return await asyncio.shield(asyncio.ensure_future(locked()))

    async def _put(self, name: str, data: bytes, new: bool, keep: bool = True) -> Version:
        self._check_name(name, [other for other in self._versions if new or other != name])
        self.limits.check("tasks", len(self._versions) + (name not in self._versions), "tasks")
        held = self._held(name)
        with draft_of(self._arriving, folder=True) as folder:
            file = folder / "task.safetensors"
            try:
                add = await asyncio.to_thread(self._prepared, name, file, data, held.key)
                version = await self.residents.added(held, file, lambda: self._version(name, file, held, add()))
            except (ValueError, TypeError, RuntimeError) as error:
                beside = self.engine.bank is not None and not isinstance(error, TaskFileError)
                hint = "; or start the server with --no-bank" if beside else ""
                said = str(error).replace(str(file), "it")
                raise UnfitError(f"the task file cannot be served as {name!r}: {said}{hint}") from error
            try:
                if self.store is not None and keep:
                    await self._stored(self.store.publish, file)
            except Exception:
                await self.residents.forget(held)
                raise
        self._stand(name, version)
        return version

    async def _remove(self, name: str, purge: bool = False, keep: bool = True) -> None:
        version = self.find(name)
        if self.store is not None and keep:
            await self._stored(lambda store=self.store: store.remove(name, purge=purge))
        del self._versions[name]
        self._retire(version)

    async def _rename(self, old: str, new: str) -> Version:
        version = self.find(old)
        self._check_name(new, [other for other in self._versions if other != old or new == old])
        digest = version.digest
        if self.store is not None:
            digest = (await self._stored(self.store.rename, old, new)).digest
        self._generation += 1
        version.held.pinned = new in self.pinned
        renamed = replace(version, name=new, digest=digest, generation=self._generation)
        del self._versions[old]
        self._versions[new] = renamed
        return renamed

    async def _rollback(self, name: str, to: str | None) -> Version:
        if self.store is None:
            raise UnfitError(NO_STORE)
        found = await self._stored(self.store.rollback, name, to)
        return await self._put(name, await asyncio.to_thread(found.path.read_bytes), False, keep=False)

    async def _follow(self) -> list[str]:
        if self.store is None:
            return []
        there = await asyncio.to_thread(self._stamps, self.store)
        for name in [name for name in self._versions if name not in there]:
            await self._remove(name, keep=False)
        self._problems = {
            name: said for name, said in self._problems.items() if self._seen.get(name) == there.get(name)
        }
        for name in [name for name, stamp in there.items() if self._seen.get(name) != stamp]:
            try:
                if (known := self._versions.get(name)) is None or known.digest != self.store.digest(name):
                    data = await asyncio.to_thread(self.store.path(name).read_bytes)
                    await self._put(name, data, False, keep=False)
            except (ServeError, ValueError, OSError) as error:
                self._problems[name] = f"{name}: {error}"
        self._seen, self.followed = there, True
        return list(self._problems.values())

    @staticmethod
    def _stamps(store: Store) -> dict[str, tuple[int, int, int]]:
        found: dict[str, tuple[int, int, int]] = {}
        for name in store.names():
            with suppress(OSError, ValueError):  # removed meanwhile, or the name of no task
                at = store.path(name).stat()
                found[name] = at.st_ino, at.st_mtime_ns, at.st_size
        return found

    async def _stored(self, change: Callable[..., T], *arguments: Any) -> T:
        """A change of the store, in a thread: it waits for the disk."""
        try:
            return await asyncio.to_thread(change, *arguments)
        except ValueError as error:
            raise UnfitError(str(error)) from None

    def _prepared(self, name: str, file: Path, data: bytes, key: str) -> Callable[[], Task]:
        file.write_bytes(data)
        self.limits.check_header(header := read_header(file))
        if header["task"] != name:
            contents = read(file)
            write(file, contents.header | {"task": name}, contents.tensors)
        return self.engine.prepare(file, key)

    def _check_name(self, name: str, taken: list[str]) -> None:
        try:
            check_name(name)
        except ValueError as error:
            raise UnfitError(str(error)) from None
        try:
            check_free(name, taken, "remove it first, or choose another name")
        except ValueError as error:
            raise TakenError(str(error)) from None

    def _held(self, name: str) -> Held:
        self._generation += 1
        return Held(f"g{self._generation}", pinned=name in self.pinned)

    def _version(self, name: str, file: Path, held: Held, task: Task) -> Version:
        try:
            reading = self._reading(task)
        except Exception as error:
            self.engine.remove(held.key)
            raise TaskFileError(str(error)) from error
        digest, method = str(read_header(file)["digest"])[:DIGITS], task.method["name"]
        return Version(name, digest, int(held.key[1:]), reading, task.info, method, task.nbytes(), held)

    def _stand(self, name: str, version: Version) -> None:
        before = self._versions.get(name)
        self._versions[name] = version
        if before is not None:
            self._retire(before)

    def _retire(self, version: Version) -> None:
        version.held.gone = True
        self._let_go(version.held)

    def _let_go(self, held: Held) -> None:
        """Out of the engine, between batches, once nobody may ask it."""
        if held.gone and not held.leases and self.batcher.running:
            held.gone = False  # once
            leaving = asyncio.ensure_future(self.residents.forget(held))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
