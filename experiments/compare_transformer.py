"""A small vision transformer for compare_transformer.yaml, trained on Fashion-MNIST first: none installs as a package.

python experiments/compare_transformer.py       about an hour on two cores; run it again to go on
taskfold compare experiments/compare_transformer.yaml
"""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import timm
import torch
from torch import nn

import taskfold as tfold
from taskfold.backbones import LoadedBackbone
from taskfold.data import ImageTensors, Preprocessing
from taskfold.data.sources import Packaged
from taskfold.train import OptimizerSettings, Settings, train_task

RUNS = Path(__file__).parent / "runs" / "compare_transformer"
WEIGHTS = RUNS / "backbone.safetensors"
SIZE = 32
PREPROCESSING = Preprocessing(size=SIZE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def network() -> nn.Module:
    """Six blocks of width 192, patches of 4 × 4."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model(
            "vit_tiny_patch16_224", img_size=SIZE, patch_size=4, depth=6, num_classes=0, pretrained=False
        )


def build() -> LoadedBackbone:
    """With its weights: the backbone of the comparison."""
    if not WEIGHTS.is_file():
        raise ValueError(f"there is no {WEIGHTS}; run python experiments/compare_transformer.py first")
    net = network()
    net.load_state_dict(safetensors.torch.load_file(WEIGHTS))
    known = {"input_size": (3, SIZE, SIZE), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    return LoadedBackbone(net, "vit, 6 × 192, Fashion-MNIST", num_features=192, preprocessing=known)


def main(train: int = 20_000, epochs: int = 20) -> None:
    """Train everything, fold it, and save the plain network."""
    data = Packaged(name="fashion-mnist", train_size=train, val_size=2000).load("fashion-mnist")
    sets = [ImageTensors(images, PREPROCESSING) for images in (data.train, data.val)]
    model = tfold.MultiTask(network(), tfold.FineTuning(), num_features=192)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model.add_task("fashion-mnist", head=10)
    rate = OptimizerSettings(lr=5e-4, optimizer="adamw", weight_decay=0.05)
    settings = Settings(epochs=epochs, batch_size=64, optimizers={"factors": rate, "head": rate})
    result = train_task(model, "fashion-mnist", *sets, settings, folder=RUNS / "train")
    plain = model.fold("fashion-mnist", head=False)
    safetensors.torch.save_file({key: value.contiguous() for key, value in plain.state_dict().items()}, WEIGHTS)
    print(f"{result.best['val_accuracy']:.1%} on validation, {WEIGHTS}")


if __name__ == "__main__":
    main()
