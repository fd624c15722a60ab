"""Ranks that the training chooses, where the ranks that a task needs are known.

    OMP_NUM_THREADS=1 python experiments/planted_ranks.py

Four linear layers side by side, each component of each of them 64 numbers; the targets are the network's with updates
of ranks that a seed draws, eight components in all, and some noise. LoRA with eight components: rank 2 everywhere, and
`rank="auto"` by each policy. The loss is of held-out data; the noise alone is 0.0025. About a minute for each seed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset, default_collate

from taskfold import LoRA, MultiTask
from taskfold.train import OptimizerSettings, Settings, train_task

OUT = Path(__file__).parent / "results" / "planted_ranks.json"
SIZES = ((48, 16), (16, 48), (24, 40), (40, 24))
COMPONENTS, SEEDS, NOISE = 8, range(10), 0.05
METHODS = {"uniform": LoRA(rank=2, layers="linear")} | {
    policy: LoRA(rank="auto", budget=64 * COMPONENTS, rank_policy=policy, layers="linear")
    for policy in ("importance", "gates", "gradients")
}


class Parallel(nn.Module):
    """No layer can do what another should."""

    num_features = sum(out for _, out in SIZES)

    def __init__(self) -> None:
        super().__init__()
        self.layers: Any = nn.ModuleList(nn.Linear(inp, out, bias=False) for inp, out in SIZES)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([layer(x[:, : layer.in_features]) for layer in self.layers], 1)


def planted(seed: int) -> tuple[Parallel, list[int], TensorDataset, TensorDataset]:
    """The network, the ranks, training and held-out data."""
    dice, ranks = random.Random(seed), [0] * len(SIZES)
    for _ in range(COMPONENTS):
        ranks[dice.choice([n for n, rank in enumerate(ranks) if rank < 4])] += 1
    torch.manual_seed(seed)
    network, x, y = Parallel(), torch.randn(384, 48), []
    with torch.no_grad():
        for layer, (inp, out), rank in zip(network.layers, SIZES, ranks, strict=True):
            update = 3 * torch.randn(out, rank) @ torch.randn(rank, inp) / (inp * out) ** 0.5
            y.append(x[:, :inp] @ (layer.weight + update).T)
    targets = torch.cat(y, 1)
    targets += NOISE * torch.randn(targets.shape)
    return network, ranks, TensorDataset(x[:256], targets[:256]), TensorDataset(x[256:], targets[256:])


def squared(model: MultiTask, batch: Any, tasks: Sequence[str]) -> Tensor:
    """`[B]`."""
    x, y = batch
    return (model(x, task=tasks[0]) - y).square().mean(1)


def run(name: str, seed: int) -> dict[str, Any]:
    """One training."""
    network, ranks, train, held = planted(seed)
    model = MultiTask(network, METHODS[name])
    task = model.add_task("planted")
    rates = {"factors": OptimizerSettings(lr=2e-2)}
    settings = Settings(epochs=20, batch_size=32, seed=seed, select_by="loss", schedule="cosine", optimizers=rates)
    best = train_task(
        model, "planted", train, held, settings, objective=squared, collate=default_collate, quiet=True
    ).best
    found = task.method["settings"]["rank"]
    chosen = [*found.values()] if isinstance(found, dict) else [found] * len(SIZES)
    return {"method": name, "seed": seed, "loss": best["val_loss"], "ranks": chosen, "planted": ranks}


if __name__ == "__main__":
    torch.set_num_threads(1)
    runs: list[dict[str, Any]] = json.loads(OUT.read_text()) if OUT.is_file() else []
    known = {(one["method"], one["seed"]) for one in runs}
    for seed in SEEDS:
        for name in METHODS:
            if (name, seed) not in known:
                runs.append(run(name, seed))
                OUT.write_text(json.dumps(runs, indent=1))
                print(runs[-1], flush=True)
    for name in METHODS:
        mine = [one for one in runs if one["method"] == name]
        right = sum(one["ranks"] == one["planted"] for one in mine)
        print(
            f"{name:>10}: all ranks found {right} of {len(mine)}, loss {sum(o['loss'] for o in mine) / len(mine):.4f}"
        )
