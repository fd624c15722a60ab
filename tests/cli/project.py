"""A small project on disk: a backbone in Python, folders of coloured squares, a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

BACKBONE = """
import torch
from torch import nn

def build():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )
    net.num_features = 8
    return net
"""
COLOURS = {"blue": (40, 40, 220), "green": (40, 220, 40), "red": (220, 40, 40)}


def square(path: Path, colour: Sequence[int], seed: int) -> None:
    """A noisy square of one colour."""
    random = np.random.default_rng(seed)
    pixels = np.clip(np.array(colour) + random.normal(0, 25, (8, 8, 3)), 0, 255)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def images(root: Path, classes: Sequence[str], count: int = 12) -> Path:
    """`root/<class>/<n>.png`."""
    for kind, name in enumerate(classes):
        for number in range(count):
            square(root / name / f"{number}.png", COLOURS[name], 100 * kind + number)
    return root


def write(folder: Path, **changes: Any) -> Path:
    """A project of two tasks; its configuration, with top-level keys changed."""
    (folder / "net.py").write_text(BACKBONE)
    images(folder / "data" / "warm", ["blue", "red"])
    images(folder / "data" / "all", ["blue", "green", "red"])
    document = {
        "backbone": "net.py:build",
        "method": {"name": "ftn", "rank": 2},
        "train": {"epochs": 20, "batch_size": 8, "optimizers": {"factors": {"lr": 0.02}, "head": {"lr": 0.05}}},
        "image_size": 8,
        "output": "runs",
        "tasks": [
            {"name": "warm", "source": {"kind": "folder", "root": "data/warm"}},
            {"name": "all", "source": {"kind": "folder", "root": "data/all"}, "method": {"rank": 3}},
        ],
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**document, **changes}, sort_keys=False))
    return path
