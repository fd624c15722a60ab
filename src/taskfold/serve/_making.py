"""From a task file to a version that answers."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from ..files import draft_of, remove_drafts
from ..tasks import Store, Task, TaskFileError, check_free, check_name, read, read_header, write
from ._engine import Engine
from ._errors import TakenError, UnservableError
from ._limits import Limits
from ._reading import Reading
from ._residents import Residents
from ._version import DIGITS, Held, Version


class Maker:
    """Makes versions, each with a key and a generation of its own."""

    def __init__(
        self,
        engine: Engine,
        residents: Residents,
        limits: Limits,
        reading: Callable[[Task], Reading],
        store: Store | None,
        pinned: Sequence[str],
    ) -> None:
        self.engine, self.residents, self.limits, self.pinned = engine, residents, limits, frozenset(pinned)
        self._reading, self.generation = reading, 0
        self._store = store
        if store is not None:
            store.folder.mkdir(parents=True, exist_ok=True)
        remove_drafts(self._arriving)  # a killed server may have left some

    @property
    def _arriving(self) -> Path:
        """Where files arrive: beside the store, unless its folder can only be read."""
        folder = self._store and self._store.folder
        beside = folder if folder and os.access(folder, os.W_OK) else Path(tempfile.gettempdir())
        return beside / "taskfold-arriving"

    def load(self, name: str, file: Path) -> Version:
        """Make a version before the batcher runs. Errors are those of `Engine.prepare`."""
        held = self._held(name)
        add = self.engine.prepare(file, held.key)
        return self.residents.add(held, file, lambda: self._version(name, file, held, add()))

    @asynccontextmanager
    async def made(self, name: str, data: bytes) -> AsyncIterator[tuple[Version, Path]]:
        """A version and its file, which exists within the block; the version leaves the engine if the block fails."""
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
                raise UnservableError(f"the task file cannot be served as {name!r}: {said}{hint}") from error
            try:
                yield version, file
            except Exception:
                await self.residents.forget(held)
                raise

    def _prepared(self, name: str, file: Path, data: bytes, key: str) -> Callable[[], Task]:
        file.write_bytes(data)
        self.limits.check_header(header := read_header(file))
        if header["task"] != name:
            contents = read(file)
            write(file, contents.header | {"task": name}, contents.tensors)
        return self.engine.prepare(file, key)

    def _held(self, name: str) -> Held:
        self.generation += 1
        return Held(f"g{self.generation}", pinned=name in self.pinned)

    def _version(self, name: str, file: Path, held: Held, task: Task) -> Version:
        try:
            reading = self._reading(task)
        except Exception as error:
            self.engine.remove(held.key)
            raise TaskFileError(str(error)) from error
        digest, method = str(read_header(file)["digest"])[:DIGITS], task.method["name"]
        return Version(name, digest, int(held.key[1:]), reading, task.info, method, task.nbytes(), held)


def check_allowed(name: str, taken: list[str]) -> None:
    """Checks that a task may have this name beside the names in use."""
    try:
        check_name(name)
    except ValueError as error:
        raise UnservableError(str(error)) from None
    try:
        check_free(name, taken, "remove it first, or choose another name")
    except ValueError as error:
        raise TakenError(str(error)) from None
