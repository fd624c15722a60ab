"""Networks of torchvision: names, inputs, and settings that make them small."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torchvision
from torch import nn

from .entry import Entry, Inputs, both, numbers, picture

NONE: dict[str, Any] = {"weights": None}
DENSE: dict[str, Any] = {"weights_backbone": None, "num_classes": 4}
TINY: dict[str, Any] = {"min_size": 64, "max_size": 64}
FOUND: dict[str, Any] = {"score_thresh": 0.0, "nms_thresh": 1.0, "detections_per_img": 5}
"""As many objects are found in every picture."""


def boxes(rows: int, dice: torch.Generator) -> dict[str, Any]:
    """Two boxes in each picture, for detectors."""
    corners = torch.rand(rows, 2, 2, generator=dice) * 20
    found = torch.cat([corners, corners + 20 + torch.rand(rows, 2, 2, generator=dice) * 20], 2)
    return {"targets": [{"boxes": one, "labels": torch.tensor([1, 2])} for one in found]}


FILM = numbers(3, 8, 32, 32)
# name: (family, inputs, settings)
NETWORKS: dict[str, tuple[str, Inputs, dict[str, Any]]] = {
    "squeezenet1_1": ("convolutions", picture(64), {}),
    "resnet18": ("convolutions", picture(), {}),
    "densenet121": ("convolutions", picture(32), {}),
    "googlenet": ("convolutions", picture(), {"aux_logits": False, "init_weights": False}),
    "inception_v3": ("convolutions", picture(96), {"aux_logits": False, "init_weights": False}),
    "shufflenet_v2_x0_5": ("convolutions", picture(), {}),
    "mnasnet0_5": ("convolutions", picture(), {}),
    "mobilenet_v2": ("convolutions", picture(), {}),
    "mobilenet_v3_small": ("convolutions", picture(), {}),
    "efficientnet_b0": ("convolutions", picture(), {}),
    "regnet_x_400mf": ("convolutions", picture(), {}),
    "convnext_tiny": ("convolutions", picture(32), {}),
    "swin_t": ("windows", picture(64), {}),
    "swin_v2_t": ("windows", picture(64), {}),
    "MaxVit": (
        "windows",
        picture(64),
        {"input_size": (64, 64), "stem_channels": 16, "partition_size": 4, "block_channels": [16, 32],
         "block_layers": [1, 1], "head_dim": 16, "stochastic_depth_prob": 0.0},
    ),
    "VisionTransformer": (
        "attention",
        picture(64),
        {"image_size": 64, "patch_size": 16, "num_layers": 2, "hidden_dim": 48, "mlp_dim": 96, "num_heads": 3},
    ),
    "video/r3d_18": ("film", FILM, {}),
    "video/r2plus1d_18": ("film", FILM, {}),
    "video/swin3d_t": ("film", numbers(3, 4, 64, 64), {}),
    "segmentation/fcn_resnet50": ("segmentation", picture(32), DENSE),
    "segmentation/deeplabv3_mobilenet_v3_large": ("segmentation", picture(64), DENSE),
    "segmentation/lraspp_mobilenet_v3_large": ("segmentation", picture(64), DENSE),
    "optical_flow/raft_small": (
        "optical flow",
        both(picture(128, name="image1"), picture(128, name="image2"), num_flow_updates=2),
        {},
    ),
    "detection/ssdlite320_mobilenet_v3_large": (
        "detection", picture(64), DENSE | FOUND | {"topk_candidates": 10},
    ),
    "detection/retinanet_resnet50_fpn": ("detection", picture(64), DENSE | FOUND | TINY | {"topk_candidates": 10}),
    "detection/fcos_resnet50_fpn": ("detection", picture(64), DENSE | FOUND | TINY | {"topk_candidates": 10}),
    "detection/fasterrcnn_mobilenet_v3_large_320_fpn": (
        "detection",
        picture(64),
        DENSE | TINY | {"box_score_thresh": 0.0, "box_nms_thresh": 1.0, "box_detections_per_img": 5},
    ),
}  # fmt: skip


def _built(name: str, settings: dict[str, Any]) -> nn.Module:
    if name[0].isupper():
        return getattr(torchvision.models, name)(**settings)
    return torchvision.models.get_model(name.rpartition("/")[2], **NONE, **settings)


def entries() -> list[Entry]:
    """All of them."""
    return [
        Entry(
            f"torchvision/{name.rpartition('/')[2]}",
            family,
            partial(_built, name, settings),
            inputs,
            boxes if family == "detection" else None,
        )
        for name, (family, inputs, settings) in NETWORKS.items()
    ]
