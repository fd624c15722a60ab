"""Rendered rooms for compare_dense.yaml, and its backbone: a ResNet-18 that learned their segmentation first.

python experiments/compare_dense.py                          renders the rooms; run it again to go on
taskfold train experiments/compare_dense_backbone.yaml       trains the network that all methods stand on
taskfold compare experiments/compare_dense.yaml
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from taskfold import MultiTask
from taskfold.backbones import LoadedBackbone
from taskfold.config import LoadedNetwork, parse_backbone
from taskfold_demos.rooms import CLASSES, rooms

RUNS = Path(__file__).parent / "runs" / "compare_dense"
LEARNED = RUNS / "backbone" / "tasks" / "segmentation.safetensors"


def build() -> LoadedBackbone:
    """The network of the segmentation, folded: the backbone of the comparison."""
    if not LEARNED.is_file():
        raise ValueError(f"there is no {LEARNED}; run taskfold train experiments/compare_dense_backbone.yaml first")
    loaded = parse_backbone("{network: deeplab, encoder: resnet18}", "backbone").load()
    assert isinstance(loaded, LoadedNetwork)
    model = MultiTask(loaded.network, features=loaded.features)
    model.load_task(LEARNED, head=loaded.heads(len(CLASSES)))
    folded = model.fold("segmentation", head=False).eval()
    return replace(loaded, network=folded, name="deeplab, resnet18, segmentation of rooms")


if __name__ == "__main__":
    print(rooms(RUNS / "rooms", train=600, val=100, test=200, size=(96, 128)))
