"""Trains in several processes; each process writes its result. Run by `test_processes.py`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors.torch import save_file

from taskfold import Method, Poly
from taskfold.methods import Phase, Turn
from taskfold.train import JointSettings, OptimizerSettings, group_rates, train_task, train_together

from . import images, joint
from .cases import QUICK, Noisy, data, make
from .toys import Largest, Sparse

DECAY = OptimizerSettings(optimizer="sgd", lr=0.05, momentum=0.9, weight_decay=0.1)


def together(folder: Path, rank: int) -> None:
    """Steps of two samples for each process, so that most steps lack a task in one process or in both."""
    settings = joint.QUICK.model_copy(
        update={"batch_size": 4, "optimizers": {"factors": DECAY, "head": DECAY}, "select_by": "loss"}
    )
    for balance in (None, "upgrad"):
        model, watching = joint.team(seed=rank), joint.Watching()
        with_balance = settings.model_copy(update={"balance": balance})
        result = train_together(model, joint.sets(joint.EVEN), with_balance, objective=watching)
        found = [[sorted(names), sorted(moved)] for names, moved in watching.moved()]
        kept = {"best": result.best, "curve": result.curve, "steps": found}
        (folder / f"joint-{balance}-{rank}.json").write_text(json.dumps(kept))
        save_file(dict(model.state_dict()), folder / f"joint-{balance}-{rank}.safetensors")


POLY = Poly(rank=2, skills=3)
ROUTING = Turn(("routing",), own_loss=True)
ITERATIVE = (Phase(turns=(ROUTING,), epochs=1), Phase(turns=(ROUTING, Turn())))
SPARSE = Sparse(rank=2, init="normal", sharing="shared", strength=0.02)
SAME_IMAGES: dict[str, tuple[Method, dict[str, Any]]] = {
    "uncertainty": (POLY, {"weighting": "uncertainty", "uncertainty": DECAY, "phases": ITERATIVE}),
    "balance": (POLY, {"balance": "upgrad"}),
    "penalty": (SPARSE, {}),
    "penalty-balance": (SPARSE, {"balance": "upgrad"}),
    "prepare": (Largest(rank=2, init="normal", sharing="shared"), {}),
}


def same_images_settings(name: str) -> JointSettings:
    """Optimisers with momentum and decay for every group that the method has."""
    method, changes = SAME_IMAGES[name]
    optimizers = dict.fromkeys(group_rates(joint.team(method), joint.SIZES), DECAY)  # type: ignore[arg-type]
    changes = {"batch_size": 4, "select_by": "loss", "optimizers": optimizers, **changes}
    return joint.QUICK.model_copy(update=changes)


def same_images(folder: Path, rank: int) -> None:
    """Samples that serve all tasks, with few targets: most steps lack one in a process or in both."""
    for name, (method, _) in SAME_IMAGES.items():
        settings = same_images_settings(name)
        model, watched = joint.team(method, seed=rank), images.Watched()
        own = {"objective": watched, "collate": images.collate}
        result = train_together(model, images.images(32), settings, folder=folder / f"same-{name}", **own)
        found = [[sorted(here), sorted(moved)] for here, moved in zip(watched.names, watched.moved(), strict=False)]
        kept = {"curve": result.curve, "steps": found}
        (folder / f"same-{name}-{rank}.json").write_text(json.dumps(kept))
        save_file(dict(model.state_dict()), folder / f"same-{name}-{rank}.safetensors")


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

    together(folder, rank)
    same_images(folder, rank)

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
    # One exit in twenty, torch's own threads abort while the interpreter is taken down, all work done.
    sys.stdout.flush()
    os._exit(0)
