"""Tasks by name, and the versions that answer for them; without HTTP."""

from __future__ import annotations

import asyncio
import difflib
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeVar

from ..tasks import Info, Task, TaskFileError, check_free, check_name, read_header
from ._batcher import Batcher
from ._engine import Engine
from ._errors import TakenError, UnfitError, UnknownTaskError
from ._limits import Limits
from ._reading import Reading, Ready
from ._shelf import Shelf

T = TypeVar("T")


@dataclass(eq=False)
class Held:
    """A task in the engine, under a key that no other task ever has.

    Attributes:
        key: in the engine.
        leases: requests that may still ask it.
        gone: no name stands for it any more.
    """

    key: str
    leases: int = 0
    gone: bool = False


@dataclass(frozen=True, eq=False)
class Version:
    """What a name stands for.

    Attributes:
        name: of the task.
        digest: of its file: another for other contents.
        generation: grows with every change of this server; no two versions have the same.
        reading: how it reads inputs and words answers.
        info: labels, preprocessing, metrics.
        method: its name.
        nbytes: of its numbers.
        held: where it stands.
        counts: answers given, and requests that failed.
    """

    name: str
    digest: str
    generation: int
    reading: Reading
    info: Info
    method: str
    nbytes: int
    held: Held
    counts: dict[str, int] = field(default_factory=lambda: {"answers": 0, "errors": 0})

    @property
    def identity(self) -> dict[str, Any]:
        """What every answer carries."""
        return {"task": self.name, "digest": self.digest, "generation": self.generation}


class TaskServer:
    """Answers requests for tasks by name, while tasks come, change and go.

    A request is answered by the version that its name stood for when it came: whatever changes meanwhile, the answer is
    that version's, and says its digest and generation. A version leaves the engine once no request may ask it. A name
    that stands for nothing is refused.

    Args:
        engine: holds the tasks.
        reading: how a task reads inputs.
        shelf: keeps changes on the disk; None: a server that starts again knows nothing of them.
        limits: of requests.
        size, delay, waiting: of the batcher.
    """

    def __init__(
        self,
        engine: Engine,
        reading: Callable[[Task], Reading],
        *,
        shelf: Shelf | None = None,
        limits: Limits | None = None,
        size: int = 32,
        delay: float = 0.002,
        waiting: int = 4096,
    ) -> None:
        self.engine, self.shelf, self.limits = engine, shelf, limits or Limits()
        self.batcher = Batcher(engine.run, size=size, delay=delay, waiting=waiting)
        self._reading = reading
        self._versions: dict[str, Version] = {}
        self._generation = 0
        self._changing = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.batcher.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.batcher.close()

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
        key = self._next()
        add = self.engine.prepare(file, key)
        self._versions[name] = self._version(name, file, key, add())

    # Requests

    def find(self, name: str) -> Version:
        """What a name stands for.

        Raises:
            UnknownTaskError: nothing; says the nearest name.
        """
        if (found := self._versions.get(name)) is None:
            near = difflib.get_close_matches(name, self._versions, 1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UnknownTaskError(f"task {name!r:.120} is not served here, {len(self._versions)} others are{hint}")
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
        """What the network puts out; within a `lease` of the version."""
        row = version.held.key, ready.value
        return await self.batcher.ask(ready.group, row, timeout=self.limits.seconds)

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

    async def remove(self, name: str) -> None:
        """Serve a task no more.

        Raises:
            UnknownTaskError: there is none.
        """
        await self._whole(self._remove(name))

    async def rename(self, old: str, new: str) -> Version:
        """Give a task another name.

        Raises:
            UnknownTaskError: there is no such task.
            TakenError, UnfitError: the new name is not free, or not allowed.
        """
        return await self._whole(self._rename(old, new))

    async def _whole(self, change: Coroutine[Any, Any, T]) -> T:
        """One change at a time, to its end even if the caller goes away."""

        async def locked() -> T:
            async with self._changing:
                return await change

        return await asyncio.shield(asyncio.ensure_future(locked()))

    async def _put(self, name: str, data: bytes, new: bool) -> Version:
        self._check_name(name, [other for other in self._versions if new or other != name])
        self.limits.check("tasks", len(self._versions) + (name not in self._versions), "tasks")
        key = self._next()
        with tempfile.TemporaryDirectory(prefix="taskfold-") as folder:
            file = Path(folder) / "task.safetensors"
            try:
                add = await asyncio.to_thread(self._prepared, file, data, key)
                version = await self.batcher.apply(lambda: self._version(name, file, key, add()))
            except (ValueError, TypeError, RuntimeError) as error:
                raise UnfitError(f"the task file cannot be served as {name!r}: {error}") from error
            try:
                if self.shelf is not None:
                    kept = await asyncio.to_thread(self.shelf.put, name, file)
                    version = replace(version, digest=read_header(kept)["digest"])
            except Exception:
                await self.batcher.apply(lambda: self.engine.remove(key))
                raise
        self._stand(name, version)
        return version

    async def _remove(self, name: str) -> None:
        version = self.find(name)
        if self.shelf is not None:
            await asyncio.to_thread(self.shelf.remove, name)
        del self._versions[name]
        self._retire(version)

    async def _rename(self, old: str, new: str) -> Version:
        version = self.find(old)
        self._check_name(new, [other for other in self._versions if other != old or new == old])
        digest = version.digest
        if self.shelf is not None:
            digest = read_header(await asyncio.to_thread(self.shelf.rename, old, new))["digest"]
        self._next()
        renamed = replace(version, name=new, digest=digest, generation=self._generation)
        del self._versions[old]
        self._versions[new] = renamed
        return renamed

    def _prepared(self, file: Path, data: bytes, key: str) -> Callable[[], Task]:
        file.write_bytes(data)
        self.limits.check_header(read_header(file))
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

    def _next(self) -> str:
        self._generation += 1
        return f"g{self._generation}"

    def _version(self, name: str, file: Path, key: str, task: Task) -> Version:
        try:
            reading = self._reading(task)
        except Exception as error:
            self.engine.remove(key)
            raise TaskFileError(str(error)) from error
        digest, method = read_header(file)["digest"], task.method["name"]
        return Version(name, digest, int(key[1:]), reading, task.info, method, task.nbytes(), Held(key))

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
            leaving = asyncio.ensure_future(self._forget(held.key))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def _forget(self, key: str) -> None:
        await self.batcher.apply(lambda: self.engine.remove(key))
