"""More tasks than fit in memory: what a request costs whose task comes from the disk, beside one whose task is there.

    python benchmarks/evictions.py --tasks 64 --resident 16 --requests 200

ResNet-18 on images of 64×64 pixels, FTN of rank 1, one request at a time for a task at random. Times are medians with
quartiles; the network has run a batch before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

import taskfold as tfold
from taskfold.serve import Asked, Engine, Form, Ready, Stacked, TaskServer


class Tensors:
    """Tensors in, numbers out."""

    takes: Form = "image"
    shape = (3, 64, 64)
    way = "tensors"

    def ready(self, content: Tensor, asked: Asked) -> Ready:
        del asked
        return Ready(Stacked(tuple(content.shape), content.dtype), content)

    def said(self, output: Tensor, ready: Ready, asked: Asked) -> dict[str, Any]:
        del ready, asked
        return {"outputs": output.tolist()}


async def measured(options: argparse.Namespace, folder: Path) -> tuple[dict[str, list[float]], int, int]:
    """Seconds of requests by where the task was, bytes of a task, and how many tasks left memory."""
    model = tfold.MultiTask(timm.create_model("resnet18", num_classes=0), tfold.FTN(rank=1)).eval()
    model.add_task("one", head=10)
    file = model.save_task("one", folder / "one.safetensors")
    model.remove_task("one")
    server, names = TaskServer(Engine(model), lambda task: Tensors(), resident=options.resident), list[str]()
    for n in range(options.tasks):
        server.load(f"task{n}", file)
        names.append(f"task{n}")
    taken: dict[str, list[float]] = {"memory": [], "disk": []}
    async with server:
        draw = random.Random(0)
        for n in range(options.requests + 8):
            async with server.lease(draw.choice(names)) as version:
                where, begin = "memory" if version.held.present else "disk", time.perf_counter()
                await server.ask(version, version.reading.ready(torch.randn(3, 64, 64), Asked()))
                if n >= 8:
                    taken[where].append(time.perf_counter() - begin)
        size = next(iter(server.versions.values())).nbytes
        return taken, size, server.residents.evictions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=64)
    parser.add_argument("--resident", type=int, default=16)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        taken, size, left = asyncio.run(measured(options, Path(folder)))
    document: dict[str, Any] = {"tasks": options.tasks, "resident": options.resident, "bytes": size, "evictions": left}
    for where, found in taken.items():
        low, half, high = (1e3 * one for one in statistics.quantiles(found, n=4, method="inclusive"))
        print(f"from {where:8}{len(found):>6} requests {half:>8.1f} ms ({low:.1f}–{high:.1f})")
        document[where] = {"requests": len(found), "ms": [low, half, high]}
    print(f"a task has {size:,} bytes; {left} left memory")
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
