"""Tasks that differ, on any network."""

from __future__ import annotations

import torch
from torch import nn

import taskfold as tfold
from taskfold import MultiTask


def tuned(net: nn.Module, method: tfold.Method | None = None, names: str = "ab") -> MultiTask:
    model = MultiTask(net, method or tfold.LoRA(rank=2, layers="linear"), num_features=6).eval()
    numbers = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name in names:
            for parameter in model.add_task(name).parameters():
                parameter.add_(torch.randn(parameter.shape, generator=numbers) * 0.3)
    return model
