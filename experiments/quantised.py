"""A task on a quantised backbone: memory of the weights, and accuracy, trained there or on plain weights.

    pip install torchao==0.18.0 bitsandbytes==0.50.2
    OMP_NUM_THREADS=1 python experiments/quantised.py        # about a minute

The backbone, three linear layers (784 → 512 → 512 → 256), learns the first five classes of Fashion-MNIST. The task is
the other five: LoRA of rank 4 on all layers, 2,000 training and 4,000 test images. "Trained there" trains on the
quantised network; "from plain" loads the file of the task that was trained on plain weights. Writes
results/quantised.json.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import bitsandbytes
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchao.quantization import Int8WeightOnlyConfig, quantize_

import taskfold as tfold
from taskfold.data.sources import Packaged
from taskfold.tasks import write_atomically


def exchanged(network: nn.Module, kind: Any, **settings: Any) -> None:
    for name, layer in list(network.named_modules()):
        if type(layer) is nn.Linear:
            made = kind(layer.in_features, layer.out_features, **settings)
            made.load_state_dict(layer.state_dict())
            network.set_submodule(name, made.to("cpu"))


RECIPES: dict[str, Callable[[nn.Module], nn.Module | None]] = {
    "torchao int8 weight-only": lambda net: quantize_(net, Int8WeightOnlyConfig()),
    "torch dynamic int8": lambda net: torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8),
    "bitsandbytes int8": lambda net: exchanged(net, bitsandbytes.nn.Linear8bitLt, has_fp16_weights=False),
    "bitsandbytes nf4": lambda net: exchanged(
        net, bitsandbytes.nn.Linear4bit, quant_type="nf4", compute_dtype=torch.float32
    ),
}


def images(training: bool, classes: range, most: int) -> tuple[Tensor, Tensor]:
    parts = Packaged(name="fashion-mnist").parts()
    held = parts.train if training else parts.test
    assert held is not None
    chosen = [n for n, target in enumerate(held.targets) if target in classes][:most]
    pixels = np.stack([np.asarray(held.read(n).convert("L")) for n in chosen])
    return torch.tensor(pixels).flatten(1) / 255, torch.tensor([held.targets[n] - classes.start for n in chosen])


def batches(data: tuple[Tensor, Tensor], epochs: int) -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(epochs):
        for index in torch.randperm(len(data[0])).split(64):
            yield data[0][index], data[1][index]


def backbone() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 256))
    whole = nn.Sequential(network, nn.ReLU(), nn.Linear(256, 5))
    optimiser = torch.optim.AdamW(whole.parameters(), lr=1e-3)
    for x, targets in batches(images(True, range(5), 10_000), 3):
        optimiser.zero_grad()
        cross_entropy(whole(x), targets).backward()
        optimiser.step()
    return network.eval()


def model_of(network: nn.Module) -> tfold.MultiTask:
    return tfold.MultiTask(network, tfold.LoRA(rank=4, layers="linear"), num_features=256)


def trained(network: nn.Module, data: tuple[Tensor, Tensor]) -> tfold.MultiTask:
    torch.manual_seed(1)
    model = model_of(network)
    optimiser = torch.optim.AdamW(model.add_task("clothes", head=5).parameters(), lr=2e-3)
    for x, targets in batches(data, 5):
        optimiser.zero_grad()
        cross_entropy(model(x, task="clothes"), targets).backward()
        optimiser.step()
    return model


@torch.no_grad()
def accuracy(model: tfold.MultiTask, data: tuple[Tensor, Tensor]) -> float:
    return (model.eval()(data[0], task="clothes").argmax(1) == data[1]).double().mean().item()


def kilobytes(network: nn.Module) -> float:
    held = BytesIO()
    torch.save(network.state_dict(), held)
    return held.tell() / 1000


def main() -> None:
    plain = backbone().state_dict()

    def fresh() -> nn.Module:
        network = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 256))
        network.load_state_dict(plain)
        return network.eval()

    data, test = images(True, range(5, 10), 2000), images(False, range(5, 10), 4000)
    reference = trained(fresh(), data)
    file = reference.save_task("clothes", Path(tempfile.mkdtemp(), "clothes.safetensors"))
    score = accuracy(reference, test)
    rows = {"none, float32": {"kilobytes": kilobytes(reference.backbone), "trained there": score, "from plain": score}}
    for recipe, by in RECIPES.items():
        network = tfold.quantised(fresh(), recipe, by)
        here, there = trained(network, data), model_of(network)
        there.load_task(file)
        scores = {"trained there": accuracy(here, test), "from plain": accuracy(there, test)}
        rows[recipe] = {"kilobytes": kilobytes(network), **scores}
    for name, row in rows.items():
        print(f"| {name} | {row['kilobytes']:,.0f} | {row['trained there']:.3f} | {row['from plain']:.3f} |")
    found = {"train": len(data[0]), "test": len(test[0]), "rows": rows}
    write_atomically(Path(__file__).parent / "results/quantised.json", (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
