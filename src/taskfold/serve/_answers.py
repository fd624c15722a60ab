"""From a request's inputs to its answers: leases, rows, words."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from ._errors import InputError
from ._reading import Asked, Form, Given, Ready
from ._server import TaskServer
from ._version import Version

EVERY = "*"
Decode = Callable[[], list[Given]]


async def answer(
    server: TaskServer, names: Sequence[str], form: Form, count: int, decode: Decode, asked: Asked
) -> list[dict[str, Any]]:
    """The answers of every task for every input, as JSON: input by input, in the order of the tasks.

    `decode` makes the inputs from bytes, in a thread, after the batcher has room for the rows.
    """
    async with AsyncExitStack() as leases:
        chosen = await _chosen(server, names, form)
        versions = [await leases.enter_async_context(server.lease(name)) for name in chosen]
        for version in versions:
            if version.reading.takes != form:
                raise InputError(f"task {version.name!r} takes {version.reading.takes}s, and this is a {form}")
        if not count:
            raise InputError(f"there is no {form}; send at least one")
        server.limits.check("rows, inputs times tasks,", count * len(versions), "rows")
        server.batcher.check_room(count * len(versions))

        def made() -> list[tuple[int, Version, Ready]]:
            return [(n, one, _ready(given, one, asked)) for n, given in enumerate(decode()) for one in versions]

        rows = await server.decoding(made)
        outputs = await outputs_of(server, [(version, ready) for _, version, ready in rows])

        def said() -> list[dict[str, Any]]:
            return [
                {"input": n, **version.identity, **version.reading.said(output, ready, asked)}
                for (n, version, ready), output in zip(rows, outputs, strict=True)
            ]

        return await server.wording(said)


async def _chosen(server: TaskServer, names: Sequence[str], form: Form) -> list[str]:
    if not names:
        raise InputError("name a task: task=NAME, several times for several, or task=* for all")
    if list(names) == [EVERY]:
        every = await server.every()
        if not (those := [name for name, version in every.items() if version.reading.takes == form]):
            raise InputError(f"no task here takes {form}s; there are {len(every)} tasks")
        return those
    if EVERY in names:
        raise InputError("task=* asks every task; name no other beside it")
    [(most, times)] = Counter(names).most_common(1)
    if times > 1:
        raise InputError(f"task {most!r:.120} is named {times} times; name each task once")
    return list(names)


def _ready(given: Given, version: Version, asked: Asked) -> Ready:
    way = version.reading.way
    if way not in given.made:
        given.made[way] = ready_of(version, given.content, asked)
    return given.made[way]


def ready_of(version: Version, content: Any, asked: Asked) -> Ready:
    """A task's prepared input; errors name the task."""
    try:
        return version.reading.ready(content, asked)
    except InputError as error:
        raise InputError(f"task {version.name!r}: {error}") from None


async def outputs_of(server: TaskServer, rows: Sequence[tuple[Version, Ready]]) -> list[Any]:
    """The network's outputs for rows; at the first error the waiting rows are withdrawn."""
    tasks = [asyncio.ensure_future(server.ask(version, ready)) for version, ready in rows]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
