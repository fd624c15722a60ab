"""Many small tasks: a pack in one process, beside a process for each task, and one task after another in one process.

    python benchmarks/packs.py --quick
    python benchmarks/packs.py --tasks 64 --rounds 3 --json packs.json

Each way is timed from the start of its interpreters to its last task, in turns; what is compared was measured in one
round. `side by side` has as many processes of one thread as `--cores` says, and `packs` deals the tasks out to as many.
Weights are compared too: the largest difference of any of a task's numbers between a pack and the task by itself,
beside that between two seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import timm
import torch
from torch import nn
from torch.utils.data import TensorDataset

import taskfold as tfold
from taskfold.train import PackTask, Settings, TaskSet, train_pack, train_task

CLASSES = 4


def network(name: str) -> tfold.MultiTask:
    """A network that is the same in every process."""
    torch.manual_seed(0)
    if name == "small":
        layers: list[nn.Module] = []
        for into, out in ((3, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(into, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(), nn.MaxPool2d(2)]
        return tfold.MultiTask(
            nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), tfold.FTN(rank=2), num_features=64
        )
    return tfold.MultiTask(timm.create_model(name, num_classes=0), tfold.FTN(rank=2))


def data(number: int, samples: int, side: int) -> TaskSet:
    """Classes that differ in the mean of one channel, by task."""
    dice = torch.Generator().manual_seed(number)

    def some(count: int) -> TensorDataset:
        targets = torch.randint(CLASSES, (count,), generator=dice)
        images = torch.randn(count, 3, side, side, generator=dice)
        images[:, number % 3] += targets[:, None, None]
        return TensorDataset(images, targets)

    return TaskSet(some(samples), some(max(8, samples // 4)))


def run(how: str, names: Sequence[int], options: argparse.Namespace) -> None:
    """What one process does, and the files of its tasks."""
    torch.set_num_threads(1)
    model = network(options.network)
    tasks: dict[str, PackTask] = {}
    for number in names:
        torch.manual_seed(number)
        model.add_task(f"task{number}", head=CLASSES)
        kept = "never" if how == "pack" else "auto"  # what is kept passes by itself
        settings = Settings(
            epochs=options.epochs, batch_size=options.batch_size, seed=options.seed, cache_features=kept
        )
        tasks[f"task{number}"] = PackTask(data(number, options.samples, options.side), settings)
    if how == "pack":
        train_pack(model, tasks, rows=options.rows)
    else:
        for name, one in tasks.items():
            train_task(model, name, one.data.train, one.data.val, one.settings, quiet=True)
    for name in tasks:
        model.save_task(name, options.folder / f"{name}.safetensors")


def timed(how: str, parts: Sequence[Sequence[int]], options: argparse.Namespace, at_once: int, seed: int = 0) -> float:
    """Seconds of processes that have these tasks, so many of them at once."""
    begin, waiting, there = time.perf_counter(), [*parts], list[subprocess.Popen[bytes]]()
    while waiting or there:
        while waiting and len(there) < at_once:
            numbers = [str(number) for number in waiting.pop(0)]
            keys = ("network", "side", "samples", "epochs", "batch_size", "rows", "folder")
            more = [part for key in keys for part in (f"--{key.replace('_', '-')}", str(getattr(options, key)))]
            line = [sys.executable, __file__, "--run", how, *numbers, "--seed", str(seed), *more]
            there.append(subprocess.Popen(line, env={**os.environ, "OMP_NUM_THREADS": "1"}))
        there[0].wait()
        if there[0].returncode:
            raise SystemExit(f"{how} failed")
        there = [one for one in there if one.poll() is None]
    return time.perf_counter() - begin


def apart(one: Path, other: Path) -> float:
    """The largest difference of any number in the files of two folders."""
    found = 0.0
    for file in one.glob("*.safetensors"):
        mine, theirs = (tfold.tasks.read(folder / file.name).tensors for folder in (one, other))
        floats = [key for key in mine if mine[key].is_floating_point()]
        found = max(found, *(float((mine[key].double() - theirs[key].double()).abs().max()) for key in floats))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4 tasks, one round")
    parser.add_argument("--tasks", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--network", default="small", help="small, or a name of timm's")
    parser.add_argument("--side", type=int, default=16, help="of images, in pixels")
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--run", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run(options.run[0], [int(number) for number in options.run[1:]], options)
        return
    if options.quick:
        options.tasks, options.rounds, options.samples, options.epochs = 4, 1, 32, 2
    numbers = list(range(options.tasks))
    each, dealt = [[n] for n in numbers], [numbers[n :: options.cores] for n in range(options.cores) if numbers[n:]]
    ways = {
        "pack": ("pack", [numbers], 1),
        f"packs, {options.cores} processes": ("pack", dealt, options.cores),
        "one after another": ("alone", [numbers], 1),
        "side by side": ("alone", each, options.cores),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as place:
        folders = {name: Path(place) / str(n) for n, name in enumerate([*ways, "another seed"])}
        for folder in folders.values():
            folder.mkdir()
        for turn in range(options.rounds):
            for name in [*ways][turn % len(ways) :] + [*ways][: turn % len(ways)]:
                options.folder = folders[name]
                taken[name].append(timed(*ways[name][:2], options, ways[name][2]))
        options.folder = folders["another seed"]
        timed("pack", [numbers], options, 1, seed=1)
        alone = folders["one after another"]
        differences = {"pack": apart(alone, folders["pack"]), "another seed": apart(alone, folders["another seed"])}
    print(f"{options.tasks} tasks on {options.network}, {options.cores} cores")
    print(f"{'':24}{'seconds':>9}{'/ pack':>9}")
    document = {}
    for name, found in taken.items():
        ratio = statistics.median(a / b for a, b in zip(found, taken["pack"], strict=True))
        print(f"{name:24}{statistics.median(found):>9.1f}{ratio:>9.2f}")
        document[name] = {"seconds": found, "ratio": ratio}
    print("largest difference from training alone: " + ", ".join(f"{k} {v:.2g}" for k, v in differences.items()))
    if options.json:
        told = {key: value for key, value in vars(options).items() if key not in ("json", "run", "folder")}
        text = json.dumps({"options": told, "found": document, "differences": differences}, indent=1)
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
