"""What the experiments on rendered rooms share: the bench, and one file per training so that processes can help."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from claimed import claimed

from taskfold.tasks import write_atomically
from taskfold_demos.jobs import DenseBench, DenseContender, DensePlan

RUNS = Path(__file__).parent / "runs"
started = time.perf_counter()


def say(text: str) -> None:
    """A line of the log."""
    print(f"{time.perf_counter() - started:6.0f} s  {text}", flush=True)


def bench(plan: DensePlan, rooms: Path | None, folder: str) -> DenseBench:
    """The rooms, rendered if they are not there yet (about a quarter of an hour).

    The networks that others stand on lie beside the folder of the runs.
    """
    torch.set_num_threads(1)
    return DenseBench(plan, rooms, RUNS / f"{folder}-networks", say=say)


def run(with_rooms: DenseBench, folder: str, contender: DenseContender, seed: int, name: str = "") -> None:
    """One training, unless another process has begun it; delete its file to have it done again."""
    file = f"{name or contender.label}-seed-{seed}".replace(" ", "-").replace("=", "-").replace(",", "")
    with claimed(RUNS / folder / f"{file}.json") as path:
        if path:
            record = with_rooms.run(contender, seed)
            pictures = record.pop("pictures", [])
            if pictures:
                torch.save(pictures, path.with_suffix(".pt"))
            write_atomically(path, json.dumps(record).encode())


def records(folder: str) -> list[dict[str, Any]]:
    """All that is done, with what is to be seen."""
    found = []
    for path in sorted((RUNS / folder).glob("*.json")):
        if text := path.read_text():
            seen = path.with_suffix(".pt")
            found.append(json.loads(text) | {"pictures": torch.load(seen) if seen.exists() else []})
    return found
