"""A server that changes its store is killed at any moment; the next one serves the old state or the new one.

`python -m tests.serve.kills` kills 200 times: at random moments, and before the n-th operation on files.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from taskfold.serve import Asked
from taskfold.tasks import Store

from .canaries import files, identity_of, server

NAMES = [f"task{n}" for n in range(5)]
OPERATIONS = ("replace", "link", "fsync", "unlink", "rename", "mkdir")
State = dict[str, int]


async def change(folder: Path, canaries: dict[int, bytes], seed: int, say: Any) -> None:
    """Changes, one after another, each said before and after."""
    draw = random.Random(seed)
    async with server(store=Store(folder)) as serving:
        await serving.follow()
        while True:
            name, other = draw.sample(NAMES, 2)
            there, identity = serving.versions, draw.choice([*canaries])
            if name not in there or draw.random() < 0.4:
                say({"set": {name: identity}})
                await serving.put(name, canaries[identity])
            elif draw.random() < 0.5 and other not in there and not (folder / other).exists():
                say({"move": [name, other]})
                await serving.rename(name, other)
            else:
                say({"drop": name})
                await serving.remove(name, purge=draw.random() < 0.5)
            say("done")


async def held(folder: Path) -> tuple[State, list[str]]:
    """Who answers for each name after a start, and what could not be served."""
    async with server(store=Store(folder)) as serving:
        found = State()
        await serving.follow()
        for name in list(serving.versions):
            async with serving.lease(name) as version:
                ready = version.reading.ready(torch.zeros(3).double(), Asked())
                found[name] = identity_of(await serving.ask(version, ready))
        return found, serving.problems


def possible(before: State, said: Any) -> list[State]:
    """What may be there after a change that was cut off."""
    match said:
        case {"set": new}:
            return [before, before | new]
        case {"move": [name, other]}:
            both = before | {other: before[name]}
            return [before, both, {one: who for one, who in both.items() if one != name}]
        case {"drop": name}:
            return [before, {one: who for one, who in before.items() if one != name}]
    return [before]


def one_kill(folder: Path, canaries: dict[int, bytes], seed: int) -> tuple[str, int, list[str]]:
    """Kill a server once: the change that was cut off, how many came before it, and what is wrong."""
    draw, (before, wrong) = random.Random(seed), asyncio.run(held(folder))
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        if draw.random() < 0.5:
            _die_at(draw.randrange(1, 60))
        try:
            asyncio.run(change(folder, canaries, seed, lambda one: os.write(writing, f"{json.dumps(one)}\n".encode())))
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as lines:
        said, wanted = list[Any](), draw.randrange(1, 8)
        while len(said) < wanted and (line := lines.readline()):
            said.append(json.loads(line))
        time.sleep(draw.random() * 0.05)
        os.kill(child, signal.SIGKILL)
        said += [json.loads(line) for line in lines]
    os.waitpid(child, 0)
    changes = [one for one in said if one != "done"]
    cut = changes.pop() if said and said[-1] != "done" else None
    for one in changes:
        before = possible(before, one)[-1]
    found, problems = asyncio.run(held(folder))
    if found not in possible(before, cut):
        wrong.append(f"kill {seed} in {cut}: before {before}, found {found}")
    return next(iter(cut or {"nothing": 0})), len(changes), [*wrong, *problems]


def _die_at(count: int) -> None:
    """Before the n-th operation on files the process is gone."""
    left = count
    for name in OPERATIONS:
        real = getattr(os, name)

        def counted(*arguments: Any, real: Any = real, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        setattr(os, name, counted)


def kills(count: int, folder: Path, first: int = 0) -> tuple[Counter[str], list[str]]:
    """So many, in one folder: in what they came, and what was wrong after them."""
    torch.set_num_threads(1)
    canaries, counts, problems = files(range(1, 9)), Counter[str](), list[str]()
    for seed in range(first, first + count):
        cut, changes, wrong = one_kill(folder, canaries, seed)
        counts[f"killed in {cut}"] += 1
        counts["whole changes"] += changes
        problems += wrong
    return counts, problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts, problems = kills(asked.kills, Path(folder))
    for name, count in sorted(counts.items()):
        print(f"{count:>8,}  {name}")
    print(f"{len(problems):>8,}  wrong, of {asked.kills} kills")
    for problem in problems[:20]:
        print(problem)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
