"""Tasks that answer with their identity, and a history of the possible answers. One campaign in two sizes.

`python -m tests.serve.canaries --answers 1000000` sends requests while tasks are added, replaced, renamed and removed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold.serve import Asked, Engine, Form, Ready, ServeError, Stacked, TaskServer, UnknownTaskError

METHODS = [tfold.LoRA(rank=rank, norm=True) for rank in (1, 2, 3)] + [tfold.HeadNorm()]
WIDTHS = 5


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)).double()


def outputs(identity: int) -> int:
    return 1 + identity % WIDTHS


@torch.no_grad()
def files(identities: range) -> dict[int, bytes]:
    """A task file for each identity, which it says in every output: once from its row, once from its head."""
    model = tfold.MultiTask(network(), num_features=4).eval()
    found: dict[int, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        for identity in identities:
            task = model.add_task("canary", head=outputs(identity), method=METHODS[identity % len(METHODS)])
            model.double()
            for path, parameter in task.named_parameters():
                if path.startswith("sites.1."):  # the normalisation: γ = 0, and β says it
                    parameter.fill_(0.0 if path.endswith("weight") else float(identity))
            head = task.head
            assert isinstance(head, nn.Linear)
            head.weight.zero_()
            head.weight[:, identity % 4] = 1.0
            head.bias.copy_(1e6 * identity + 1e12 * torch.arange(len(head.bias), dtype=torch.float64))
            found[identity] = model.save_task("canary", f"{folder}/canary.safetensors").read_bytes()
            model.remove_task("canary")
    return found


def identity_of(said: Tensor | list[float]) -> int:
    """Who a canary says that it is; a mixture of two contradicts itself."""
    numbers = [round(float(one)) for one in said]
    found = set()
    for n, number in enumerate(numbers):
        output, rest = divmod(number, 10**12)
        head, row = divmod(rest, 10**6)
        assert output == n and head == row, f"output {n} says output {output}, head {head}, row {row}"
        found.add(head)
    [identity] = found
    assert len(numbers) == outputs(identity), f"identity {identity} has {len(numbers)} outputs"
    return identity


class Exact(Stacked):
    """Outputs in double precision."""

    def run(self, network: Any, keys: list[str], values: list[Tensor]) -> list[Tensor]:
        return list(network(torch.stack(values), task=keys))


class Raw:
    """Numbers in, numbers out."""

    takes: Form = "image"
    shape = (3,)
    way = "raw"

    def ready(self, content: Any, asked: Asked) -> Ready:
        numbers = content if isinstance(content, Tensor) else torch.zeros(3).double()
        return Ready(Exact(tuple(numbers.shape), numbers.dtype), numbers)

    def said(self, output: Tensor, ready: Ready, asked: Asked) -> dict[str, Any]:
        return {"outputs": output.tolist()}


class History:
    """What each name stood for, and when. A change took effect at some moment between its begin and its end."""

    def __init__(self) -> None:
        self.changes: defaultdict[str, list[tuple[float, float, int | None]]] = defaultdict(list)

    def could(self, name: str, identity: int | None, begin: float, end: float) -> bool:
        """Whether a name stood for an identity (None: for nothing) at some moment of an interval."""
        changes = [(-1.0, -1.0, None), *self.changes[name]]
        for at, (since, _, stood) in enumerate(changes):
            until = changes[at + 1][1] if at + 1 < len(changes) else float("inf")
            if stood == identity and since <= end and begin <= until:
                return True
        return False

    async def record(self, change: Callable[[], Awaitable[object]], **stand: int | None) -> None:
        """Make a change after which names stand for these identities."""
        open_ = {name: (time.monotonic(), float("inf"), stands) for name, stands in stand.items()}
        for name, one in open_.items():
            self.changes[name].append(one)
        await change()
        for name, (begin, _, stands) in open_.items():
            self.changes[name][-1] = begin, time.monotonic(), stands


class Campaign:
    """Clients who ask, and others who change, one server.

    Args:
        server: to be asked.
        names: that come and go; each changer has its own.
        clients, changers: how many.
        canaries: by identity, from `files`.
    """

    def __init__(
        self, server: TaskServer, canaries: dict[int, bytes], *, names: int = 12, clients: int = 16, changers: int = 2
    ) -> None:
        self.server, self.canaries, self.clients, self.changers = server, canaries, clients, changers
        self.names = [f"task{n}" for n in range(names)]
        self.history, self.counts = History(), Counter[str]()
        self.problems: list[str] = []
        self.over, self.until = False, float("inf")
        self.memory: list[int] = []

    async def run(self, answers: int, seconds: float = float("inf")) -> Counter[str]:
        """Until there are so many answers, or so many seconds have passed; what happened, and how often."""
        self.until = time.monotonic() + seconds
        draw, changing = random.Random(1), []
        for name in self.names[::2]:
            await self._put(name, draw)
        changing = [asyncio.create_task(self._change(n)) for n in range(self.changers)]
        try:
            async with asyncio.TaskGroup() as group:
                for n in range(self.clients):
                    group.create_task(self._ask(n, answers // self.clients))
        finally:
            self.over = True
            await asyncio.gather(*changing)
        return self.counts

    @property
    def varied(self) -> bool:
        """Whether each kind of change came, and a name was refused."""
        return all(self.counts[one] for one in ("added", "replaced", "removed", "renamed", "refused by name"))

    async def _ask(self, n: int, answers: int) -> None:
        draw, mine = random.Random(100 + n), 0
        while (mine < answers or not self.varied) and not self.problems and time.monotonic() < self.until:
            names = [draw.choice(self.names) for _ in range(draw.randint(1, 8))]
            mine += sum(await asyncio.gather(*(self._one(name, draw.random() < 0.02) for name in names)))

    async def _one(self, name: str, hasty: bool) -> bool:
        begin = time.monotonic()
        try:
            async with self.server.lease(name) as version:
                asking = self.server.ask(version, version.reading.ready(torch.randn(3).double(), Asked()))
                if hasty:
                    async with asyncio.timeout(0.0005):
                        output = await asking
                else:
                    output = await asking
        except TimeoutError:
            self.counts["cancelled"] += 1
            return False
        except UnknownTaskError as error:
            self._check(self.history.could(name, None, begin, time.monotonic()), str(error))
            self.counts["refused by name"] += 1
            return False
        except Exception as error:
            self._check(False, f"{type(error).__name__}: {error}")
            return False
        try:
            identity = identity_of(output)
        except AssertionError as error:
            self._check(False, f"{name}: {error}")
            return False
        self._check(version.name == name, f"{name} was answered by {version.name}")
        self._check(
            self.history.could(name, identity, begin, time.monotonic()),
            f"{name} was answered by {identity}: {self.history.changes[name][-5:]}, asked {begin}",
        )
        self.counts["answers"] += 1
        return True

    def _check(self, right: bool, words: str) -> None:
        if not right:
            self.counts["wrong"] += 1
            self.problems.append(words)

    async def _change(self, n: int) -> None:
        draw, mine = random.Random(n), self.names[n :: self.changers]
        while not self.over:
            await asyncio.sleep(draw.random() * 0.01)
            name, other = draw.sample(mine, 2)
            try:
                await self._one_change(draw, name, other)
            except ServeError as error:
                self._check(False, f"a change failed: {error}")
            self.memory.append(megabytes())
            for forgotten in mine:
                del self.history.changes[forgotten][:-200]

    async def _one_change(self, draw: random.Random, name: str, other: str) -> None:
        there = self.server.versions
        if name not in there or draw.random() < 0.4:
            await self._put(name, draw)
        elif other not in there and draw.random() < 0.6:
            identity = self.history.changes[name][-1][2]
            await self.history.record(lambda: self.server.rename(name, other), **{name: None, other: identity})
            self.counts["renamed"] += 1
        else:
            await self.history.record(lambda: self.server.remove(name), **{name: None})
            self.counts["removed"] += 1

    async def _put(self, name: str, draw: random.Random) -> None:
        self.counts["replaced" if name in self.server.versions else "added"] += 1
        identity = draw.choice([*self.canaries])
        await self.history.record(lambda: self.server.put(name, self.canaries[identity]), **{name: identity})


def server(*, banked: bool = True, **settings: Any) -> TaskServer:
    """Of canaries, empty."""
    model = tfold.MultiTask(network(), num_features=4).eval()
    return TaskServer(Engine(model, banked=banked), lambda task: Raw(), **settings)


def megabytes() -> int:
    """That this process holds in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if sys.platform == "linux" else 0
    return pages * resource.getpagesize() // 2**20


async def campaign(answers: int, seconds: float = float("inf"), **settings: Any) -> tuple[Counter[str], list[str]]:
    async with server(size=settings.pop("size", 64), resident=settings.pop("resident", None)) as serving:
        one = Campaign(serving, files(range(1, settings.pop("identities", 200))), **settings)
        counts = await one.run(answers, seconds)
        for part in (1, 2, 3, 4):
            counts[f"MB after {part} of 4 parts"] = one.memory[len(one.memory) * part // 4 - 1]
        counts |= {"loads": serving.residents.loads, "evicted": serving.residents.evictions}
        done = serving.batcher.counts
        counts |= {"batches": done.batches, "changes between batches": done.changes, "largest batch": done.largest}
    return counts, one.problems


Outcome = Coroutine[Any, Any, tuple[Counter[str], list[str]]]


def main(
    campaign: Callable[..., Outcome] = campaign, description: str | None = __doc__, resident: int | None = None
) -> int:
    """On the command line: runs a campaign as large as it is told, and prints what it counted and what was wrong."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--answers", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    told = f"tasks in memory, at most; default: {'all' if resident is None else resident}"
    parser.add_argument("--resident", type=int, default=resident, help=told)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.monotonic()
    size = {"clients": asked.clients, "identities": 200, "names": 48, "changers": 4, "resident": asked.resident}
    counts, problems = asyncio.run(campaign(asked.answers, asked.seconds, **size))
    for name, count in sorted(counts.items()):
        print(f"{count:>12,}  {name}")
    print(f"{counts['wrong']:>12,}  wrong, in {time.monotonic() - begin:.0f} s")
    for problem in problems[:20]:
        print(problem)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
