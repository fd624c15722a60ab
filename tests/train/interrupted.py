"""Trains once undisturbed, and once killed (SIGKILL) again and again. Run by the test of the same name.

    python -m tests.train.interrupted FOLDER

Every training is a process of its own, forked after the imports so that a start costs milliseconds.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch._dynamo  # these two: seconds of imports that torch puts off until there is an optimiser
import torch.distributed.tensor  # noqa: F401
from safetensors import safe_open

from taskfold.train import train_task

from .cases import QUICK, Noisy, data, make

LEAST_KILLS = 4


def train(folder: Path, attempt: int) -> None:
    """In a new process what a task starts with does not matter: it comes from the checkpoint."""
    begun = (folder / "checkpoint.safetensors").exists()
    model = make("a", "b", seed=attempt if begun else 0)
    settings = QUICK.model_copy(update={"epochs": 3, "log_every": 1})
    train_task(model, "a", Noisy(data(90)), data(30, 1), settings, folder=folder)
    model.save_task("a", folder / "a.safetensors")


def forked(folder: Path, attempt: int) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        train(folder, attempt)
        code = 0
    finally:
        os._exit(code)


def steps_done(folder: Path) -> int:
    path = folder / "checkpoint.safetensors"
    if not path.exists():
        return 0
    with safe_open(path, "pt") as file:
        state = json.loads(file.metadata()["taskfold-training"])["state"]
    top = dict(state["dict"])
    return dict(top["state"]["dict"])["step"]


def main(folder: Path) -> None:
    start = time.monotonic()
    os.waitpid(forked(folder / "whole", 0), 0)
    seconds = time.monotonic() - start
    dice, killed_at = random.Random(0), list[int]()
    for attempt in range(1, 500):
        child = forked(folder / "killed", attempt)
        # Longer and longer, so that a slow machine gets there too.
        enough = len(killed_at) >= LEAST_KILLS
        time.sleep(seconds * (2 if enough else dice.uniform(0, 0.2) * (1 + attempt / 50)))
        os.kill(child, signal.SIGKILL)
        if os.waitpid(child, 0)[1] == 0:
            break
        if (step := steps_done(folder / "killed")) > (killed_at or [0])[-1]:
            killed_at.append(step)
    print(json.dumps(killed_at))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
