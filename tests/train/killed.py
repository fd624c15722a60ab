"""Trains with methods that have hooks, once undisturbed and once killed (SIGKILL) in chosen moments.

    python -m tests.train.killed FOLDER

Every training is a process of its own, forked after the imports. Run by `test_hooks_resume.py`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch._dynamo  # these two: seconds of imports that torch puts off until there is an optimiser
import torch.distributed.tensor  # noqa: F401

from taskfold import BA2, FTN, Method, PackNet
from taskfold.train import train_task

from .cases import QUICK, Noisy, data, make
from .toys import CALLS, InTurn, Largest, Sparse

SAMPLES, EPOCHS = 30, 5
CASES: dict[str, tuple[Method, list[int]]] = {
    # How many training samples a process is given before it dies. Two passes of `Largest` are 60 samples.
    "penalty": (Sparse(rank=2, norm=True), [10, 45, 70]),
    "prepare": (Largest(rank=2, init="normal", norm=True), [7, 45, 70, 45, 50]),
    "multiplier": (BA2(budget=0.5), [10, 45, 70]),
    # 20 steps: components close from the third on, and from the tenth on it is settled which remain.
    "ranks": (FTN(rank="auto", budget=50, rank_policy="importance"), [10, 45, 30, 60]),
    # Pruned behind the tenth step of 20.
    "entries": (PackNet(prune=0.5, pruned_at=0.5), [10, 45, 30, 60]),
    "phases": (InTurn(rank=2, norm=True), [10, 40, 33, 45]),
}


class Deadly(Noisy):
    """Kills the process when it has given so many samples."""

    def __init__(self, *args: Any, after: int | None) -> None:
        super().__init__(*args)
        self.after, self.given = after, 0

    def __getitem__(self, index: int) -> Any:
        if self.given == self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        self.given += 1
        return super().__getitem__(index)


def train(folder: Path, method: Method, attempt: int, after: int | None) -> None:
    """In a new process what a task starts with does not matter: it comes from the checkpoint."""
    os.environ[CALLS] = str(folder.with_suffix(".calls"))
    begun = (folder / "checkpoint.safetensors").exists()
    model = make("a", "b", method=method, seed=attempt if begun else 0)
    settings = QUICK.model_copy(update={"epochs": EPOCHS, "log_every": 1})
    train_task(model, "a", Deadly(data(SAMPLES), after=after), data(30, 1), settings, folder=folder)
    model.save_task("a", folder / "a.safetensors")


def forked(folder: Path, method: Method, attempt: int, after: int | None) -> int:
    """The child's status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    code = 1
    try:
        train(folder, method, attempt, after)
        code = 0
    finally:
        os._exit(code)


def main(folder: Path) -> None:
    for name, (method, moments) in CASES.items():
        assert forked(folder / f"{name}-whole", method, 0, None) == 0
        for attempt, after in enumerate(moments):
            assert forked(folder / f"{name}-killed", method, attempt, after) == signal.SIGKILL
        assert forked(folder / f"{name}-killed", method, 99, None) == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
