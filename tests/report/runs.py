"""A results document of runs with made-up, repeatable numbers."""

from __future__ import annotations

import base64
import io
import random
from typing import Any

from PIL import Image

METHODS = (
    ("head-only", "head only", None, 0, 0.80),
    ("ftn", "FTN R=1", 1, 33_000, 0.88),
    ("ftn", "FTN R=4", 4, 128_000, 0.91),
    ("ftn", "FTN R=16", 16, 512_000, 0.93),
    ("fine-tuning", "fine-tuning", None, 3_371_008, 0.935),
)


def png(shade: int) -> str:
    buffer = io.BytesIO()
    Image.new("L", (28, 28), shade).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def document(
    tasks: tuple[str, ...] = ("mnist", "digits", "animals"),
    seeds: int = 1,
    methods: tuple[tuple[str, str, int | None, int, float], ...] = METHODS,
    epochs: int = 3,
    images: int = 4,
) -> dict[str, Any]:
    """A results document with made-up, repeatable numbers."""
    noise = random.Random(0)
    runs = [
        {
            "task": task,
            "method": method,
            "label": label,
            "settings": {} if rank is None else {"rank": rank},
            "seed": seed,
            "metrics": {"test_accuracy": accuracy - 0.02 * index % 0.3 + noise.uniform(-0.01, 0.01)},
            "parameters": {"factors": adapter, "norm": 0, "head": 12_810},
            "bytes": 4 * (adapter + 12_810),
            "seconds": 20.0 + index,
            "curve": [
                {
                    "epoch": epoch,
                    "train_loss": 2 / epoch,
                    "val_loss": 1 / epoch,
                    "val_accuracy": accuracy - 0.2 / epoch,
                }
                for epoch in range(1, epochs + 1)
            ],
            "layers": [
                {"layer": f"blocks.{i}.conv", "ratio": 0.05 * i + 0.01 * index} for i in range(6 if rank else 0)
            ],
            "predictions": [
                {"image": png(40 * i), "target": "3", "predicted": "35"[i % 2], "confidence": 0.7}
                for i in range(images)
            ],
        }
        for method, label, rank, adapter, accuracy in methods
        for index, task in enumerate(tasks)
        for seed in range(seeds)
    ]
    return {
        "version": 1,
        "title": "Many tasks on one backbone",
        "command": "taskfold demo",
        "seconds": 201.3,
        "environment": {"python": "3.11", "torch": "2.15", "cores": 2},
        "backbone": {"name": "timm:tf_efficientnet_lite0", "parameters": 3_371_008, "bytes": 13_484_032},
        "tasks": [
            {
                "name": task,
                "source": f"packaged:{task}",
                "labels": ["3", "5"],
                "train": 1000,
                "val": 500,
                "test": 1000,
                "notes": ["2 images skipped"],
            }
            for task in tasks
        ],
        "runs": runs,
        "isolation": [
            {
                "task": task,
                "before": "ab" * 32,
                "after": "ab" * 32,
                "identical": True,
                "what": "outputs on 64 images",
            }
            for task in tasks
        ],
        "mixed_batch": {
            "tasks": list(tasks),
            "rows": 16,
            "agreement": 1.0,
            "max_abs_difference": 2e-6,
            "seconds": 0.2,
            "process": "fresh process",
        },
    }
