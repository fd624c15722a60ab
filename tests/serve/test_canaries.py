"""Tasks change under load, and every answer is one that the named task could give."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import torch

from taskfold.serve import Asked, FailedError, Version
from taskfold.tasks import Store

from .canaries import Campaign, History, campaign, files, identity_of, server


def test_no_answer_is_somebody_elses() -> None:
    counts, problems = asyncio.run(campaign(400, identities=12, names=6))
    assert not problems, problems[:3]
    assert counts["answers"] >= 350
    assert counts["largest batch"] > 1


def test_nor_where_tasks_take_turns_in_memory() -> None:
    counts, problems = asyncio.run(campaign(400, identities=12, names=6, resident=2))
    assert not problems, problems[:3]
    assert counts["answers"] >= 350
    assert counts["evicted"] > 20
    assert counts["loads"] > 20


class Servers:
    """Several on one folder; each request and each change goes to one of them by chance."""

    def __init__(self, folder: Path, count: int) -> None:
        self.store, self.draw = Store(folder), random.Random(0)
        self.all = [server(store=self.store, size=64) for _ in range(count)]

    @property
    def versions(self) -> list[str]:
        return self.store.names()

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncIterator[Version]:
        asked = self.draw.choice(self.all)
        async with asked.lease(name) as version:
            self.ask = asked.ask
            yield version

    async def put(self, name: str, data: bytes) -> object:
        return await self.draw.choice(self.all).put(name, data)

    async def remove(self, name: str) -> None:
        await self.draw.choice(self.all).remove(name, purge=True)

    async def rename(self, name: str, other: str) -> object:
        return await self.draw.choice(self.all).rename(name, other)


def test_nor_where_two_servers_share_a_folder_and_one_of_them_is_told_of_a_change(tmp_path: Path) -> None:
    async def run() -> tuple[Campaign, list[int]]:
        servers = Servers(tmp_path, 2)
        async with AsyncExitStack() as stack:
            for one in servers.all:
                await stack.enter_async_context(one)
            found = Campaign(servers, files(range(1, 12)), names=6)  # type: ignore[arg-type]
            await found.run(300)
            return found, [one.batcher.counts.rows for one in servers.all]

    found, rows = asyncio.run(run())
    assert not found.problems, found.problems[:3]
    assert found.counts["answers"] >= 250
    assert min(rows) > 50


@pytest.mark.parametrize("banked", [True, False])
def test_the_least_lately_asked_task_leaves_and_pinned_ones_stay(banked: bool) -> None:
    async def run() -> None:
        async with server(banked=banked, resident=3, pinned=["a"]) as serving:
            canaries, seen = files(range(1, 6)), []
            for n, name in enumerate("abcd", 1):
                await serving.put(name, canaries[n])

            async def ask(name: str) -> int:
                async with serving.lease(name) as version:
                    return identity_of(await serving.ask(version, version.reading.ready(None, Asked())))

            for name in "abcdbcb":
                seen.append(await ask(name))
                held = {one.held.key for one in serving.versions.values() if one.held.present}
                assert len(held) == len(serving.residents) <= 3
                assert serving.versions["a"].held.present
                assert len(serving.engine.bank or serving.engine.model.tasks) == len(held)
            assert seen == [1, 2, 3, 4, 2, 3, 2]
            assert {name for name, one in serving.versions.items() if one.held.present} == {"a", "b", "c"}
            assert await asyncio.gather(*map(ask, "abcd" * 5)) == [1, 2, 3, 4] * 5
            for name in "abcd":
                file = serving.versions[name].held.file
                await serving.remove(name)
                await asyncio.gather(*serving._leaving)
                assert file is not None and not file.exists()
            assert not len(serving.residents)
            assert serving.residents._taken == 0

    asyncio.run(run())


def test_a_task_that_cannot_come_back_is_said_and_no_place_is_lost() -> None:
    async def run() -> None:
        async with server(resident=1) as serving:
            canaries = files(range(1, 3))
            for n, name in enumerate("ab", 1):
                await serving.put(name, canaries[n])
            lost = serving.versions["a"].held.file
            assert lost is not None
            kept = lost.read_bytes()
            for data in (b"", None, kept):
                lost.unlink() if data is None else lost.write_bytes(data)
                async with serving.lease("a") as version:
                    asking = serving.ask(version, version.reading.ready(None, Asked()))
                    if data == kept:
                        assert identity_of(await asking) == 1
                    else:
                        with pytest.raises(FailedError, match="task 'a' cannot be read from the disk"):
                            await asking

    asyncio.run(run())


def test_more_pins_than_places_are_refused() -> None:
    with pytest.raises(ValueError, match="resident must be above the 2 pinned tasks, for the others, found 2"):
        server(resident=2, pinned=["a", "b"])


def test_nor_where_the_model_itself_serves() -> None:
    async def run() -> list[str]:
        async with server(banked=False) as serving:
            one = Campaign(serving, files(range(1, 9)), names=6, clients=4)
            await one.run(200)
            return one.problems

    assert not asyncio.run(run())


def test_a_version_leaves_once_nobody_asks_it() -> None:
    async def run() -> tuple[int, int]:
        async with server() as serving:
            canaries = files(range(1, 4))
            await serving.put("a", canaries[1])
            async with serving.lease("a") as version:
                await serving.put("a", canaries[2])
                held = len(serving.engine.bank or ())
                raw = version.reading.ready(torch.zeros(3).double(), Asked())
                assert identity_of(await serving.ask(version, raw)) == 1
            await serving.put("b", canaries[3])
            return held, len(serving.engine.bank or ())

    assert asyncio.run(run()) == (2, 2)


def test_a_server_that_stops_before_a_task_has_left_says_nothing_of_it() -> None:
    said: list[object] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: said.append(context))
        async with server() as serving:
            await serving.put("a", files(range(1, 2))[1])
            busy = asyncio.ensure_future(serving.batcher.apply(lambda: time.sleep(0.2)))
            await asyncio.sleep(0.05)
            await serving.remove("a")
            await asyncio.sleep(0.05)
        await busy
        await asyncio.sleep(0)
        gc.collect()

    asyncio.run(run())
    assert not said


def test_the_checker_finds_what_it_looks_for() -> None:
    history = History()
    history.changes["a"] = [(1.0, 2.0, 7), (5.0, 6.0, 8), (9.0, 10.0, None)]
    assert history.could("a", 7, 1.5, 1.6)
    assert history.could("a", 7, 5.5, 5.6)  # the change was under way
    assert not history.could("a", 7, 6.5, 7.0)
    assert not history.could("a", 8, 3.0, 4.0)
    assert history.could("a", None, 0.0, 0.5)
    assert not history.could("a", None, 7.0, 8.0)
    with pytest.raises(AssertionError, match="head 3, row 4"):
        identity_of([3e6 + 4])


def test_the_campaign_finds_a_server_that_mixes_names_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> list[str]:
        async with server() as serving:
            one = Campaign(serving, files(range(1, 9)), names=6, clients=4)
            find = serving.find
            monkeypatch.setattr(serving, "find", lambda name: find("task0" if name == "task2" else name))
            await one.run(500)
            return one.problems

    assert asyncio.run(run())
