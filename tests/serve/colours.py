"""A server of tasks on images of 4×4 pixels, whose classes are known."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2.functional import pil_to_tensor, resize

import taskfold as tfold
from taskfold.serve import Asked, Engine, Form, Limits, Ready, Stacked, TaskServer

COLOURS = ("red", "green", "blue")
TOKEN = "0123456789abcdef-secret"
MANAGER = {"authorization": f"Bearer {TOKEN}"}
LIMITS = Limits(body=100_000, pixels=10_000, rows=6, rank=8, outputs=10, seconds=5)


class Colours:
    """The mean of each channel."""

    takes: Form = "image"
    shape = (3, 4, 4)
    way = "colours"

    def __init__(self, task: tfold.Task) -> None:
        self.labels = task.info.labels

    def ready(self, content: Image.Image, asked: Asked) -> Ready:
        asked.refuse_choices()
        pixels = pil_to_tensor(resize(content, [4, 4])).float() / 255
        return Ready(Stacked(tuple(pixels.shape), pixels.dtype), pixels)

    def said(self, output: Tensor, ready: Ready, asked: Asked) -> dict[str, Any]:
        return {"label": self.labels[int(output.argmax())], "values": output.tolist()}


def network() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        for layer in net[:2]:
            layer.weight.copy_(torch.eye(3)[:, :, None, None])
            layer.bias.zero_()
    return net


@torch.no_grad()
def task_file(folder: Path, name: str, prefix: str, rank: int = 1, outputs: int = 3, weight: float = 1.0) -> Path:
    """A task that names the strongest colour, with a prefix."""
    model = tfold.MultiTask(network(), tfold.LoRA(rank=rank, layers="convolution"), num_features=3).eval()
    labels = [f"{prefix}{COLOURS[n]}" if n < 3 else f"none{n}" for n in range(outputs)]
    head = model.add_task(name, head=outputs, labels=labels).head
    assert isinstance(head, nn.Linear)
    head.weight.copy_(weight * torch.eye(outputs, 3))
    head.bias.zero_()
    return model.save_task(name, folder / f"{name}.safetensors")


def server(**settings: Any) -> TaskServer:
    return TaskServer(Engine(tfold.MultiTask(network(), num_features=3)), Colours, **settings)


def image(colour: str, size: tuple[int, int] = (6, 6), kind: str = "PNG") -> bytes:
    made = io.BytesIO()
    Image.new("RGB", size, colour).save(made, kind)
    return made.getvalue()
