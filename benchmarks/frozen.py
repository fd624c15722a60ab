"""Epochs of training with what the frozen part of a network puts out kept, beside the same computed in every epoch.

    python benchmarks/frozen.py --json benchmarks/results/frozen.json       ten rounds; about twenty minutes
    python benchmarks/frozen.py --quick                                     three rounds of fewer images

On one thread. In each round a training with `cache_features="always"` and one with "never" take turns, in changing
order; the weights come out the same to the bit, or the run fails. A time is that of an epoch from the second on, its
validation included, median over the epochs; a ratio is that of the two in one round, and tables show medians of ratios
with their quartiles. Images are random and lie in memory as tensors: what reading them costs comes to both. The first
epoch has what keeping costs.
"""

from __future__ import annotations

import statistics
from itertools import pairwise

import timm
import torch
from _report import Document, machine
from _report import options as asked
from _timing import ratios
from torch.utils.data import TensorDataset

import taskfold as tfold
from taskfold.train import Settings, train_task

CASES = {
    "head only, ResNet-18": ("resnet18", tfold.HeadOnly()),
    "head only, EfficientNet-lite0": ("efficientnet_lite0", tfold.HeadOnly()),
    "FTN R=8, 3 of 5 stages frozen, EfficientNet-lite0": ("efficientnet_lite0", tfold.FTN(rank=8, frozen_stages=3)),
    "FTN R=8, 3 of 4 stages frozen, ResNet-18": ("resnet18", tfold.FTN(rank=8, frozen_stages=3)),
}
CLASSES = 10


def images(count: int, size: int, seed: int) -> TensorDataset:
    dice = torch.Generator().manual_seed(seed)
    return TensorDataset(
        torch.randn(count, 3, size, size, generator=dice), torch.randint(CLASSES, (count,), generator=dice)
    )


def train(
    case: str, way: str, train_set: TensorDataset, val_set: TensorDataset
) -> tuple[list[float], dict[str, bytes]]:
    """Seconds of each epoch, and the task's tensors."""
    network, method = CASES[case]
    torch.manual_seed(0)
    model = tfold.MultiTask(timm.create_model(network, num_classes=0), method)
    model.add_task("task", head=CLASSES)
    settings = Settings(epochs=5, batch_size=32, cache_features=way)  # type: ignore[arg-type]
    found = train_task(model, "task", train_set, val_set, settings, quiet=True)
    ends = [0.0, *(point["seconds"] for point in found.curve)]
    tensors = {key: tensor.numpy().tobytes() for key, tensor in model["task"].state_dict().items()}
    return [end - begin for begin, end in pairwise(ends)], tensors


def main() -> None:
    parser = asked(__doc__, quick="three rounds of fewer images", rounds=10, seconds=600.0)
    parser.add_argument("--size", type=int, default=64, help="of the images, pixels")
    parser.add_argument("--images", type=int, default=320, help="of training; half as many of validation")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    count, number = (96, 3) if options.quick else (options.images, options.rounds)
    document = Document(options.json, "timm")
    document.content["machine"] = machine("timm")
    sets = images(count, options.size, 0), images(count // 2, options.size, 1)
    for case in (case for case in CASES if options.only in case):
        later: dict[str, list[float]] = {"kept": [], "computed": []}
        first: dict[str, list[float]] = {"kept": [], "computed": []}
        for turn in range(number):
            made = {}
            for name in ("kept", "computed")[:: 1 if turn % 2 else -1]:
                epochs, made[name] = train(case, "always" if name == "kept" else "never", *sets)
                later[name].append(statistics.median(epochs[1:]))
                first[name].append(epochs[0])
            assert made["kept"] == made["computed"], f"{case}: weights differ"
        title = f"{case}, {count} + {count // 2} images of {options.size}², {number} rounds"
        document.add(f"{title}, an epoch from the second on", ratios(later, "kept"), title=title, raw_seconds=later)
        document.add(f"{title}, the first epoch", ratios(first, "kept"), title=title, raw_seconds=first)


if __name__ == "__main__":
    main()
