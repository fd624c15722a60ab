"""Two servers on one folder, and many who change and ask the same few names at once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from pathlib import Path

import torch

from taskfold.serve import Asked, TakenError, TaskServer, UnknownTaskError, UnservableError
from taskfold.tasks import Store

from .canaries import files, identity_of, server

NAMES = ("one", "two", "three")
REFUSED = (UnknownTaskError, TakenError, UnservableError)


async def change(serving: TaskServer, draw: random.Random, canaries: dict[int, bytes], counts: Counter[str]) -> None:
    for _ in range(8):
        name, other = draw.choice(NAMES), draw.choice(NAMES)
        way = draw.choice(("put", "put", "remove", "rename", "roll back"))
        try:
            if way == "put":
                await serving.put(name, canaries[draw.choice([*canaries])], new=draw.random() < 0.2)
            elif way == "remove":
                await serving.remove(name, purge=draw.random() < 0.5)
            elif way == "rename":
                await serving.rename(name, other)
            else:
                await serving.rollback(name)
            counts[way] += 1
        except REFUSED:
            counts["refused"] += 1


async def ask(
    serving: TaskServer, draw: random.Random, said: dict[tuple[str, str], set[int]], over: asyncio.Event
) -> None:
    while not over.is_set():
        name = draw.choice(NAMES)
        try:
            async with serving.lease(name) as version:
                output = await serving.ask(version, version.reading.ready(torch.randn(3).double(), Asked()))
        except UnknownTaskError:
            await asyncio.sleep(0.001)
            continue
        assert version.name == name
        said[name, version.digest].add(identity_of(output))


def test_names_that_many_change_at_once_answer_as_their_digests_say(tmp_path: Path) -> None:
    counts, said, canaries = Counter[str](), defaultdict[tuple[str, str], set[int]](set), files(range(1, 9))

    async def run() -> None:
        async with server(store=Store(tmp_path)) as one, server(store=Store(tmp_path)) as two:
            both = (one, two)
            over = asyncio.Event()
            async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                for n in range(4):
                    group.create_task(ask(both[n % 2], random.Random(10 + n), said, over))
                changing = [change(both[n % 2], random.Random(n), canaries, counts) for n in range(6)]
                await asyncio.gather(*changing)
                over.set()
            for serving in both:
                await serving.follow()
                stands = {name: version.digest for name, version in serving.versions.items()}
                assert stands == {name: Store(tmp_path).digest(name) for name in Store(tmp_path).names()}
                assert not serving.problems
                assert not any(version.held.leases for version in serving.versions.values())
                while len(serving.residents) > len(stands):  # those that were replaced are on their way out
                    await asyncio.sleep(0.01)

    asyncio.run(run())
    assert all(counts[way] for way in ("put", "remove", "roll back", "refused")), counts
    assert len(said) > 5
    assert all(len(identities) == 1 for identities in said.values())
