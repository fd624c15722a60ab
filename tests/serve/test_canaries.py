"""Tasks change under load, and every answer is one that the named task could have given."""

from __future__ import annotations

import asyncio

import pytest
import torch

from taskfold.serve import Asked

from .canaries import Campaign, History, campaign, files, identity_of, server


def test_no_answer_is_somebody_elses() -> None:
    counts, problems = asyncio.run(campaign(400, identities=12, names=6))
    assert not problems, problems[:3]
    assert counts["answers"] >= 350
    assert counts["largest batch"] > 1


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
            with serving.lease("a") as version:
                await serving.put("a", canaries[2])
                held = len(serving.engine.bank or ())
                raw = version.reading.ready(torch.zeros(3).double(), Asked())
                assert identity_of(await serving.ask(version, raw)) == 1
            await serving.put("b", canaries[3])
            return held, len(serving.engine.bank or ())

    assert asyncio.run(run()) == (2, 2)


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
