"""A results document of many language tasks that share inventories, with made-up, repeatable numbers."""

from __future__ import annotations

import math
import random
from typing import Any

import torch
from torch import Tensor

from taskfold.report import routing_record

FAMILIES = {
    "Germanic": ("German", "Dutch", "English", "Swedish", "Danish", "Norwegian Bokmål", "Icelandic"),
    "Romance": ("French", "Spanish", "Italian", "Portuguese", "Romanian", "Catalan", "Galician"),
    "Slavic": ("Polish", "Czech", "Slovak", "Slovene", "Russian", "Ukrainian", "Serbo-Croatian"),
    "Uralic": ("Finnish", "Estonian", "Hungarian"),
    "Celtic": ("Irish", "Welsh", "Scottish Gaelic"),
    "other": ("Turkish", "Greek", "Armenian"),
}
LANGUAGES = tuple(language for family in FAMILIES.values() for language in family)
METHODS = ("LoRA shared", "LoRA private", "TLoRA", "Poly", "MHR", "TensorPoly-I", "TensorPoly-II")


def layers(blocks: int = 4) -> list[str]:
    """The linear layers of a T5."""
    feed = ("wi_0", "wi_1", "wo")
    names = []
    for stack, places in (("encoder", ("SelfAttention",)), ("decoder", ("SelfAttention", "EncDecAttention"))):
        for block in range(blocks):
            names += [
                f"{stack}.block.{block}.layer.{place}.{kind}.{name}"
                for place, kind in enumerate(places)
                for name in "qkvo"
            ]
            names += [f"{stack}.block.{block}.layer.{len(places)}.DenseReluDense.{name}" for name in feed]
    return names


class Inventory:
    """Stands for a model: tasks of one family route alike, later blocks more decidedly."""

    def __init__(self, groups: int = 2, experts: int = 8, blocks: int = 4, width: int = 40, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.layers = layers(blocks)
        self.inventory: dict[str, Tensor] = {}
        self.alpha: dict[str, dict[str, Tensor]] = {language: {} for language in LANGUAGES}
        for depth, layer in enumerate(self.layers):
            strength = 3 * depth / len(self.layers)
            common = torch.randn(width, generator=generator)
            own = torch.randn(experts, width, generator=generator)
            self.inventory[layer] = 0.02 * (own + (1 - strength / 3) * common) * (0.3 + strength)
            for members in FAMILIES.values():
                family = torch.randn(groups, experts, generator=generator)
                for language in members:
                    logits = strength * family + 0.3 * torch.randn(groups, experts, generator=generator)
                    self.alpha[language][layer] = logits.sigmoid() / logits.sigmoid().sum(-1, keepdim=True)

    def routing(self, name: str) -> dict[str, Tensor]:
        """α by layer; none for a task that is not routed."""
        return self.alpha.get(name, {})

    def experts(self, name: str, layer: str) -> Tensor:
        """Flat experts."""
        assert layer in self.alpha[name]
        return self.inventory[layer]


def languages(**shape: int) -> dict[str, Any]:
    """Comparisons, studies and routing, no runs of single tasks."""
    noise = random.Random(0)

    def measure(mean: float, std: float = 0.01) -> dict[str, float]:
        return {"mean": mean + noise.gauss(0, std), "std": abs(noise.gauss(std, std / 3)), "n": 3}

    held_out = ("Latvian", "Lithuanian", "Bulgarian", "Persian", "Hindi", "Indonesian")
    quality = {method: 0.35 + 0.04 * index for index, method in enumerate(METHODS)}
    sizes = (58_368, 1_751_040, 21_504, 466_944, 485_376, 172_032, 204_800)
    return {
        "version": 1,
        "title": "Thirty languages, one inventory: lemmatisation",
        "command": "python experiments/lemmas.py --seeds 3 --out lemmas.json",
        "seconds": 3312.4,
        "environment": {"python": "3.11", "torch": "2.15", "device": "cpu", "cores": 2},
        "backbone": {"name": "byte-level T5, 4 + 4 blocks, d=192", "parameters": 5_412_864, "bytes": 21_651_456},
        "tasks": [
            {"name": name, "source": "simplemma", "train": 2000, "val": 200, "test": 500, "notes": []}
            for name in LANGUAGES
        ],
        "comparisons": [
            {
                "title": "New languages, 32 examples",
                "note": "Exact match after the few-shot stage, factors and routing trained.",
                "columns": [
                    *({"title": name, "kind": "percent", "best": "highest"} for name in (*held_out, "mean")),
                    {"title": "parameters in training", "kind": "count", "best": "lowest"},
                    {"title": "parameters per new task", "kind": "count", "best": "lowest"},
                    {"title": "time per language", "kind": "seconds", "best": "lowest"},
                ],
                "rows": [
                    {
                        "label": method,
                        "cells": [
                            *(measure(quality[method] + 0.05 * place) for place in range(7)),
                            size,
                            size // 10,
                            {"mean": 12.0 + 3 * index, "std": 0.4},
                        ],
                    }
                    for index, (method, size) in enumerate(zip(METHODS, sizes, strict=True))
                ],
            },
            {
                "title": "What is trained on a new language",
                "first": "mode",
                "columns": [
                    {"title": "exact match", "kind": "percent", "best": "highest"},
                    {"title": "rank classification", "kind": "percent", "best": "highest"},
                    {"title": "parameters", "kind": "count"},
                    "what",
                ],
                "rows": [
                    {"label": "all", "cells": [measure(0.62), measure(0.81), 20_480, "factors and routing"]},
                    {"label": "mu", "cells": [measure(0.60), measure(0.80), 17_204, "factors"]},
                    {"label": "z", "cells": [measure(0.57), measure(0.79), 608, "routing"]},
                    {"label": "random-mu", "cells": ["diverged", None, 17_204, "factors, random routing before"]},
                ],
            },
        ],
        "studies": [
            {
                "title": "Validation loss in multi-task training",
                "x": "steps",
                "y": "validation loss",
                "series": [
                    {
                        "label": method,
                        "x": list(range(0, 6001, 250)),
                        "mean": [
                            1.2 + 2.5 * math.exp(-step / 900) - 0.1 * index * step / 6000 + noise.gauss(0, 0.01)
                            for step in range(0, 6001, 250)
                        ],
                        "std": [0.03] * 25,
                    }
                    for index, method in enumerate(METHODS)
                ],
            },
            {
                "title": "Exact match against tensor rank and order",
                "x": "tensor rank R",
                "y": "exact match (%)",
                "log_x": True,
                "note": "R = 1 is TLoRA.",
                "series": [
                    {
                        "label": f"TensorPoly-{kind}, order {order}",
                        "x": [1, 2, 4, 8, 16],
                        "mean": [50 + 4 * step - order + noise.gauss(0, 0.5) for step in range(5)],
                        "std": [1.1, 0.9, 0.8, 0.9, 0.7],
                    }
                    for kind in ("I", "II")
                    for order in (2, 4)
                ],
            },
        ],
        "routing": [routing_record(Inventory(**shape), LANGUAGES, "MHR")],
    }
