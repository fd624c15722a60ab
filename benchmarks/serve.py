"""Many tasks behind one batcher, beside the plain network, one folded network per task, and PEFT's two ways.

    python benchmarks/serve.py --quick
    python benchmarks/serve.py --tasks 1 32 1000 --many 100 10000 --rounds 5 --json serve.json

ResNet-18 on images of 64×64 pixels, FTN of rank 1, requests of one row. Clients ask again as soon as they are answered;
then requests come at random moments at 70 % of the plain network's pace, which gives the latencies. All contestants
stand behind the same batcher and take turns in rounds; what is compared was measured in one round. `by CPU` is the
ratio of rows per second of CPU time, which other programs on the machine change less.

PEFT has LoRA of rank 1 on the same layers, normalisation and head common to all tasks. It runs the rows of one task at
a time and switches adapters between them, or it gets the adapter of each row (`adapter_names`). `--many` says two
numbers of tasks of a bank, the second of which is compared with the first. Last, tasks are added to each bank while
clients ask: what a change takes between two batches, beside a batch. Batches of all sizes have run before: a bank looks
at the first of each. Numbers are medians, with quartiles in the JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from _peers import HERE, peft_loras
from torch import Tensor, nn

import taskfold as tfold
from taskfold.serve import Batcher, Engine, Stacked

GROUP = Stacked((3, 64, 64), torch.float32)
CLASSES = 10
PLAIN, BANK = "plain network", "bank, {:,} tasks"


def image() -> Tensor:
    """A picture that no other request has."""
    return torch.randn(3, 64, 64)


class Contestant:
    """What runs rows, and how a request asks for its task.

    Args:
        run: rows of one group.
        asks: a number → group and row.
        add: one more task, by number; None: it takes none.
    """

    def __init__(
        self,
        run: Callable[[Any, Sequence[Any]], Sequence[Any]],
        asks: Callable[[int], tuple[Hashable, Any]],
        add: Callable[[int], object] | None = None,
    ) -> None:
        self.run, self.asks, self.add = run, asks, add


def plain(network: nn.Module) -> Contestant:
    """The network with one head, for whatever task."""

    @torch.no_grad()
    def run(group: object, rows: Sequence[Tensor]) -> Sequence[Any]:
        return list(network(torch.stack(list(rows))))

    return Contestant(run, lambda n: ("all", image()))


def folded(networks: Sequence[nn.Module]) -> Contestant:
    """A network for each task: rows of one task run together."""

    @torch.no_grad()
    def run(group: Any, rows: Sequence[Tensor]) -> Sequence[Any]:
        return list(networks[group](torch.stack(list(rows))))

    return Contestant(run, lambda n: (n % len(networks), image()))


def banked(model: tfold.MultiTask, count: int) -> Contestant:
    """A bank of so many rows, which are copies of one task: numbers cost what other numbers would."""
    engine = Engine(model)
    bank = engine.bank
    assert bank is not None
    for n in range(count):
        bank.add(model["one"], f"task{n}")
    return Contestant(
        engine.run, lambda n: (GROUP, (f"task{n % count}", image())), lambda n: bank.add(model["one"], f"new{n}")
    )


def switching(count: int) -> Contestant:
    """PEFT with the adapter of one task at a time: rows of one task run together."""
    names = [f"task{n}" for n in range(count)]
    peft = peft_loras("resnet18", names, rank=1)

    @torch.no_grad()
    def run(group: Any, rows: Sequence[Tensor]) -> Sequence[Any]:
        peft.set_adapter(group, inference_mode=True)
        return list(peft(torch.stack(list(rows))))

    return Contestant(run, lambda n: (names[n % count], image()))


def named(count: int) -> Contestant:
    """PEFT with the adapter of each row."""
    names = [f"task{n}" for n in range(count)]
    peft = peft_loras("resnet18", names, rank=1)

    @torch.no_grad()
    def run(group: object, rows: Sequence[tuple[str, Tensor]]) -> Sequence[Any]:
        return list(peft(torch.stack([row for _, row in rows]), adapter_names=[name for name, _ in rows]))

    return Contestant(run, lambda n: ("all", (names[n % count], image())))


def contestants(tasks: Sequence[int], others: int) -> dict[str, Contestant]:
    """All of them; `others` is the number of tasks of those that are no bank."""
    torch.manual_seed(0)
    model = tfold.MultiTask(timm.create_model("resnet18", num_classes=0), tfold.FTN(rank=1)).eval()
    model.add_task("one", head=CLASSES)
    plainly = nn.Sequential(timm.create_model("resnet18", num_classes=0), nn.Linear(512, CLASSES)).eval()
    found = {PLAIN: plain(plainly)}
    for count in tasks:
        found[BANK.format(count)] = banked(model, count)
    found[f"{others} folded networks"] = folded([model.fold("one") for _ in range(others)])
    if "peft" in HERE:
        found[f"PEFT switching, {others}"] = switching(others)
        found[f"PEFT's mixed batch, {others}"] = named(others)
    return found


def warm(one: Contestant, size: int) -> None:
    """Run a batch of each size: the first of each is looked at."""
    asked = [one.asks(n) for n in range(size)]
    for count in range(1, size + 1):
        one.run(asked[0][0], [row for _, row in asked[:count]])


async def closed(one: Contestant, clients: int, seconds: float, size: int) -> tuple[float, float]:
    """Rows per second of clients who ask again at once, each for a task at random; and rows per second of CPU time."""
    async with Batcher(one.run, size=size) as batcher:
        until = time.perf_counter() + seconds

        async def ask(n: int) -> int:
            draw, answered = random.Random(n), 0
            while time.perf_counter() < until:
                await batcher.ask(*one.asks(draw.randrange(1 << 30)))
                answered += 1
            return answered

        begin, worked = time.perf_counter(), time.process_time()
        answered = sum(await asyncio.gather(*(ask(n) for n in range(clients))))
        return answered / (time.perf_counter() - begin), answered / (time.process_time() - worked)


async def adding(one: Contestant, clients: int, seconds: float, size: int) -> tuple[list[float], list[float]]:
    """Seconds of each change, one every tenth of a second, and of each batch, while clients ask again at once."""
    changes, batches = list[float](), list[float]()

    def timed(into: list[float], work: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        made = work()
        into.append(time.perf_counter() - begin)
        return made

    def run(group: Any, rows: Sequence[Any]) -> Sequence[Any]:
        return timed(batches, lambda: one.run(group, rows))

    async with Batcher(run, size=size) as batcher:
        until, add = time.perf_counter() + seconds, one.add
        assert add is not None

        async def ask(n: int) -> None:
            draw = random.Random(n)
            while time.perf_counter() < until:
                await batcher.ask(*one.asks(draw.randrange(1 << 30)))

        async def change() -> None:
            while time.perf_counter() < until:
                await batcher.apply(lambda: timed(changes, lambda: add(len(changes))))
                await asyncio.sleep(0.1)

        await asyncio.gather(*(ask(n) for n in range(clients)), change())
    return changes, batches


async def opened(one: Contestant, pace: float, seconds: float, size: int) -> list[float]:
    """Seconds to each answer, of requests at random moments."""
    async with Batcher(one.run, size=size, waiting=1 << 20) as batcher:
        draw, taken, asked = random.Random(0), list[float](), list[asyncio.Task[None]]()

        async def ask(n: int) -> None:
            begin = time.perf_counter()
            await batcher.ask(*one.asks(n))
            taken.append(time.perf_counter() - begin)

        begin = at = time.perf_counter()
        while at - begin < seconds:
            at += draw.expovariate(pace)
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            asked.append(asyncio.create_task(ask(draw.randrange(1 << 30))))
        await asyncio.gather(*asked)
        return taken


def spread(numbers: Sequence[float]) -> list[float]:
    """The lower quartile, the median, the upper quartile."""
    return statistics.quantiles(numbers, n=4, method="inclusive") if len(numbers) > 1 else [*numbers] * 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few tasks, for a moment")
    parser.add_argument("--tasks", type=int, nargs="+", default=[1, 32, 1000])
    parser.add_argument("--many", type=int, nargs=2, default=[100, 10_000])
    parser.add_argument("--others", type=int, default=32, help="tasks of what is no bank")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.tasks, options.many, options.others = [1, 4], [4, 40], 4
        options.rounds, options.seconds, options.clients = 1, 0.5, 8
    torch.set_num_threads(1)
    found = contestants(sorted({*options.tasks, *options.many}), options.others)
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in found}
    late: dict[str, list[tuple[float, float]]] = {name: [] for name in found}
    for one in found.values():
        warm(one, options.size)
    for turn in range(options.rounds):
        names = [*found][turn % len(found) :] + [*found][: turn % len(found)]
        for name in names:
            rates[name].append(asyncio.run(closed(found[name], options.clients, options.seconds, options.size)))
        pace = 0.7 * rates[PLAIN][-1][0]
        for name in names:
            taken = sorted(asyncio.run(opened(found[name], pace, options.seconds, options.size)))
            late[name].append((taken[len(taken) // 2], taken[int(0.99 * (len(taken) - 1))]))
    print(f"{'':24}{'rows/s':>9}{'/ plain':>9}{'by CPU':>9}{'p50 ms':>9}{'p99 ms':>9}{'/ plain':>9}")
    document: dict[str, Any] = {}
    for name in found:
        pairs = list(zip(rates[name], rates[PLAIN], strict=True))
        document[name] = made = {
            "rows_per_second": spread([one[0] for one in rates[name]]),
            "ratio": spread([a[0] / b[0] for a, b in pairs]),
            "ratio_of_cpu": spread([a[1] / b[1] for a, b in pairs]),
            "p50": spread([1e3 * one[0] for one in late[name]]),
            "p99": spread([1e3 * one[1] for one in late[name]]),
            "p99_ratio": spread([a[1] / b[1] for a, b in zip(late[name], late[PLAIN], strict=True)]),
        }
        rate, ratio, worked, half, most, tail = (one[1] for one in made.values())
        print(f"{name:24}{rate:>9.0f}{ratio:>9.2f}{worked:>9.2f}{half:>9.0f}{most:>9.0f}{tail:>9.2f}", flush=True)
    few, many = (rates[BANK.format(count)] for count in options.many)
    ratio, worked = (spread([a[at] / b[at] for a, b in zip(many, few, strict=True)]) for at in (0, 1))
    print("bank, {1:,} tasks / {0:,} tasks:".format(*options.many), f"{ratio[1]:.3f}, by CPU {worked[1]:.3f}")
    document["many"] = {"tasks": options.many, "ratio": ratio, "ratio_of_cpu": worked}
    for name, one in found.items():
        if one.add is not None:
            changes, batches = asyncio.run(adding(one, options.clients, options.seconds, options.size))
            half, most, batch = (
                1e3 * t for t in (statistics.median(changes), max(changes), statistics.median(batches))
            )
            print(f"{name}, adding one: {half:.1f} ms, at most {most:.1f} ms; a batch: {batch:.1f} ms")
            document[name]["adding"] = {"changes": len(changes), "median": half, "most": most, "batch": batch}
    if options.json:
        told = {key: value for key, value in vars(options).items() if key != "json"}
        options.json.write_text(json.dumps({"options": told, "found": document}, indent=1) + "\n")


if __name__ == "__main__":
    main()
