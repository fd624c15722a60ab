"""Trains in several processes; each process leaves what it ends with. Run by `test_processes.py`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from accelerate import PartialState

from taskfold.train import train_task

from .cases import QUICK, Noisy, data, make


def main(folder: Path) -> None:
    rank = int(os.environ["RANK"])
    # Heads start differently, as they do without a seed: the first process's must count.
    model = make("a", "b", seed=rank)
    settings = QUICK.model_copy(update={"epochs": 2, "batch_size": 6})
    # 41 = 6 · 6 + 5 samples: the last batch is shared out unevenly. Validation too.
    result = train_task(model, "a", Noisy(data(41)), data(31, 1), settings, folder=folder / "run")
    again = train_task(model, "a", Noisy(data(41)), data(31, 1), settings, folder=folder / "run")
    model.save_task("a", folder / f"a{rank}.safetensors")
    found = {"result": result.as_json(), "again": again.resumed, "processes": PartialState().num_processes}
    (folder / f"result{rank}.json").write_text(json.dumps(found))

    other = make("a", seed=0)
    with torch.no_grad():
        other.backbone[0].weight += rank
    try:
        train_task(other, "a", data(41), data(31, 1), settings)
    except ValueError as error:
        (folder / f"error{rank}.txt").write_text(str(error))
    PartialState().destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
