"""The first seconds of a server that has just started, with and without batches of noise before them.

    python benchmarks/start.py --json start.json

ResNet-18 on images of 64×64 pixels, 32 tasks, FTN of rank 1, one thread, requests of one row at random moments. `warm`
is a server that looks at batches of all sizes before it answers, `cold` one that looks at each when it comes. Numbers
are seconds: what the start takes, and from a request to its answer, by when the request came.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

import taskfold as tfold
from taskfold.serve import Asked, Engine, Form, Limits, Ready, Stacked, TaskServer

SHAPE = (3, 64, 64)
TASKS = 32


class Tensors:
    """Tensors in, numbers out."""

    takes: Form = "image"
    shape = SHAPE
    way = "tensors"

    def ready(self, content: Tensor, asked: Asked) -> Ready:
        del asked
        return Ready(Stacked(SHAPE, content.dtype), content)

    def said(self, output: Tensor, ready: Ready, asked: Asked) -> dict[str, Any]:
        del ready, asked
        return {"outputs": output.tolist()}


def quantiles(taken: list[float]) -> dict[str, float]:
    ordered = sorted(taken)
    return {name: round(ordered[int(len(ordered) * part)], 3) for name, part in (("p50", 0.5), ("p99", 0.99))}


async def measured(file: Path, model: tfold.MultiTask, warm: bool, asked: argparse.Namespace) -> dict[str, Any]:
    """One server, from its start on."""
    server = TaskServer(Engine(model), lambda task: Tensors(), warm=warm, limits=Limits(seconds=600))
    draw, taken = random.Random(0), list[tuple[float, float]]()
    for n in range(TASKS):
        server.load(f"task{n}", file)

    async def one(came: float) -> None:
        async with server.lease(f"task{draw.randrange(TASKS)}") as version:
            await server.ask(version, version.reading.ready(torch.randn(SHAPE), Asked()))
        taken.append((came, time.perf_counter() - came))

    async with server:
        begin = time.perf_counter()
        await server.follow()
        start, due, requests = time.perf_counter() - begin, time.perf_counter(), []
        begin = due
        while due < begin + asked.seconds:
            due += draw.expovariate(asked.rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            requests.append(asyncio.ensure_future(one(due)))
        await asyncio.gather(*requests)
    early = [seconds for came, seconds in taken if came < begin + 30]
    late = [seconds for came, seconds in taken if came >= begin + 30]
    return {"start": round(start, 1), "first 30 s": quantiles(early), "later": quantiles(late) if late else None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=8, help="requests per second")
    parser.add_argument("--seconds", type=float, default=45)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = {}
    for name in ("warm", "cold"):
        model = tfold.MultiTask(timm.create_model("resnet18", num_classes=0), tfold.FTN(rank=1)).eval()
        model.add_task("one", head=10)
        with tempfile.TemporaryDirectory() as folder:
            file = model.save_task("one", Path(folder) / "one.safetensors")
            model.remove_task("one")
            found[name] = asyncio.run(measured(file, model, name == "warm", asked))
        print(name, json.dumps(found[name]), flush=True)
    if asked.json:
        document = {"command": f"benchmarks/start.py --rate {asked.rate:g} --seconds {asked.seconds:g}", "found": found}
        asked.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
