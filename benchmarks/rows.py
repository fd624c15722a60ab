"""What it costs to look which rows of a mixed batch layers see: the first batch of a form, and later ones.

    python benchmarks/rows.py
    python benchmarks/rows.py --rounds 7

Eight rows of eight tasks. Times are ratios to the same batch for one task, medians with quartiles of rounds in which
the contestants take turns; every round makes its model anew. `first`: the first mixed batch, in which the rows are
looked for. `later`: one after it. `separate`: the tasks one by one.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import timm
import torch
from _timing import ratios
from torch import nn
from transformers import T5Config, T5EncoderModel

import taskfold as tfold

TASKS = [f"task {n}" for n in range(8)]
LORA = tfold.LoRA(rank=4)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tfold.Method, Callable[[], torch.Tensor]]] = {
    # timm's own start has zeros for the last γ of every block, and weights that were trained have none.
    "ResNet-18, 64²": (
        lambda: timm.create_model("resnet18", num_classes=0, zero_init_last=False),
        tfold.FTN(rank=4),
        lambda: torch.randn(8, 3, 64, 64),
    ),
    "ResNet-18 with zeros, 64²": (
        lambda: timm.create_model("resnet18", num_classes=0),
        tfold.FTN(rank=4),
        lambda: torch.randn(8, 3, 64, 64),
    ),
    "ResNet-18, 224²": (
        lambda: timm.create_model("resnet18", num_classes=0, zero_init_last=False),
        tfold.FTN(rank=4),
        lambda: torch.randn(8, 3, 224, 224),
    ),
    "ViT-Ti, 224²": (
        lambda: timm.create_model("vit_tiny_patch16_224", num_classes=0),
        LORA,
        lambda: torch.randn(8, 3, 224, 224),
    ),
    "Swin-T, 224²": (
        lambda: timm.create_model("swin_tiny_patch4_window7_224", num_classes=0),
        LORA,
        lambda: torch.randn(8, 3, 224, 224),
    ),
    "T5-small's encoder, 64 words": (
        lambda: T5EncoderModel(T5Config(num_layers=6, d_model=512, d_ff=2048, num_heads=8)),
        LORA,
        lambda: torch.randint(3, 32000, (8, 64)),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"{'network':30}{'one task':>12}{'first':>20}{'later':>20}{'separate':>20}")
    for name in options.networks:
        taken: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            for step, seconds in one_round(name).items():
                taken.setdefault(step, []).append(seconds)
        found = ratios(taken, "one task")
        cells = [f"{one['ratio']:.2f} ({one['low']:.2f}–{one['high']:.2f})" for one in list(found.values())[1:]]
        print(
            f"{name:30}{found['one task']['seconds'] * 1e3:>9.0f} ms" + "".join(f"{cell:>20}" for cell in cells),
            flush=True,
        )


@torch.no_grad()
def one_round(name: str) -> dict[str, float]:
    build, method, batch = NETWORKS[name]
    torch.manual_seed(0)
    model = tfold.MultiTask(build(), method).eval()
    for task in TASKS:
        model.add_task(task)
    x = batch()

    def timed(task: Any) -> float:
        start = time.perf_counter()
        model(x, task=task)
        return time.perf_counter() - start

    model(x, task=TASKS[0])
    found = {"one task": min(timed(TASKS[0]) for _ in range(3)), "first": timed(TASKS)}
    found["later"] = min(timed(TASKS) for _ in range(3))
    model.rows = "separate"
    timed(TASKS)
    return found | {"separate": min(timed(TASKS) for _ in range(3))}


if __name__ == "__main__":
    main()
