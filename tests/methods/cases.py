"""One row per method; every promise is kept by each, on every architecture it applies to."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import timm
import torch
import torchvision
from torch import nn
from transformers import ViTConfig, ViTModel

import taskfold as tfold


def _timm(name: str, **settings: object) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, num_classes=0, **settings)  # type: ignore[arg-type]


def _hugging_face_vit() -> nn.Module:
    return ViTModel(
        ViTConfig(
            num_hidden_layers=2,
            hidden_size=24,
            num_attention_heads=3,
            intermediate_size=48,
            image_size=32,
            patch_size=16,
        )
    )


def _torchvision_vit() -> nn.Module:
    network = torchvision.models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=48
    )
    network.heads = nn.Identity()  # type: ignore[assignment]
    network.num_features = 24  # type: ignore[assignment]
    return network


class TorchEncoder(nn.Module):
    """Torch's own encoder, whose fused evaluation path reads weights past their modules."""

    num_features = 16

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=False)
        self.patches = nn.Conv2d(3, 16, 16, 16)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).mT
        hidden = torch.zeros(tokens.shape[:2], dtype=torch.bool, device=x.device)
        return self.encoder(tokens, src_key_padding_mask=hidden).mean(1)


NARROW = {"resnet18": (64, 24, 32, 48), "resnet50": (16, 24, 32, 48)}
"""Channels of the stages: laws hold or fail at any width. The first stage changes no size, all others do."""
SHORT = (1, 1, 1, 1)
"""Blocks of the stages."""
CONVOLUTIONAL: dict[str, Callable[[], nn.Module]] = {
    # Blocks that start at zero would give their first convolutions no gradient.
    "resnet18": _timm("resnet18", zero_init_last=False, channels=NARROW["resnet18"], layers=SHORT),
    "resnet50": _timm("resnet50", zero_init_last=False, channels=NARROW["resnet50"], layers=SHORT),
    "mobilenet-v2": _timm("mobilenetv2_035", depth_multiplier=0.3, pad_type="same"),
}
ATTENTION: dict[str, Callable[[], nn.Module]] = {
    "timm-vit": _timm("vit_tiny_patch16_224", img_size=32, embed_dim=24, depth=2, num_heads=3),
    "hf-vit": _hugging_face_vit,
    "torchvision-vit": _torchvision_vit,
    "torch-encoder": TorchEncoder,
}
NETWORKS = CONVOLUTIONAL | ATTENTION


@dataclass(frozen=True)
class Case:
    method: tfold.Method
    networks: tuple[str, ...]
    counts: dict[str, int]
    """Exact numbers of one task on timm's network of that name, by network: factors and norm summed."""
    new_biases: bool = False
    """Whether a folded network has biases where the backbone has none."""
    bits: dict[str, int] = field(default_factory=dict)
    """Exact bits of one task, by network."""

    def __str__(self) -> str:
        settings = [
            f"{k}={v}"
            for k, v in self.method.as_json()["settings"].items()
            if k in ("layers", "init", "norm", "ternary")
        ]
        return "-".join([self.method.name, *settings])


# Outputs, inputs and kernel of each convolution.
RESNET18 = [(64, 3, 7)] + [(64, 64, 3)] * 4
for wide in (128, 256, 512):
    RESNET18 += [(wide, wide // 2, 3), (wide, wide, 3), (wide, wide // 2, 1), (wide, wide, 3), (wide, wide, 3)]


def spatial_svd(conv: tuple[int, int, int]) -> int:
    """U, V and a diagonal, at full rank."""
    out, inp, k = conv
    return min(inp * k, out * k) * (inp * k + out * k + 1)


def branches(conv: tuple[int, int, int]) -> int:
    """k×k, 1×1 and their γ and β; γ and β of the identity where it fits (within a stage)."""
    out, inp, k = conv
    if k == 1:
        return out * inp
    return out * inp * (k * k + 1) + 2 * out * (3 if out == inp else 2)


CONV, ATT, ALL = tuple(CONVOLUTIONAL), tuple(ATTENTION), tuple(NETWORKS)
CASES = [
    Case(tfold.FTN(rank=2), CONV, {"resnet18": 2 * 8723 + 9600, "resnet50": 2 * 49204 + 53120}),
    Case(tfold.FTN(rank=3, init="xavier", alpha=1.0), ("resnet18", "mobilenet-v2"), {}),
    Case(tfold.FTNQueryValue(rank=4), ATT, {"vit_base_patch32_224": 81024}),
    Case(tfold.FTNOutput(rank=4), ATT, {"vit_base_patch32_224": 40512}),
    Case(
        tfold.KAdaptation(terms=4),
        ("timm-vit", "torch-encoder"),
        {"vit_base_patch32_clip_224": 46144},
    ),
    Case(tfold.LoRA(rank=4), ATT, {"vit_base_patch32_224": 147456}),
    Case(tfold.LoRA(rank=2, layers="convolution"), ("resnet18", "mobilenet-v2"), {}),
    Case(tfold.LoRA(rank=2, layers="convolution", norm=True), ("resnet50",), {}),
    Case(tfold.LoRA(rank=2, layers="any", own="norm.*"), ("timm-vit",), {}),
    Case(tfold.DoRA(rank=2), ("timm-vit", "torch-encoder"), {}),
    Case(
        tfold.DoRA(rank={"layer2.*": 2, "*": 3}, alpha={"layer2.*": 1, "*": 4}, layers="convolution"), ("resnet18",), {}
    ),
    Case(tfold.FourierFT(count=40), ("timm-vit", "resnet18"), {"vit_base_patch32_224": 24 * 40}),
    Case(tfold.LoRA(rank=2, layers="all"), ("timm-vit", "hf-vit", "resnet18"), {}),
    Case(tfold.LoRA(rank=2, sharing={"name": "poly", "skills": 3}), ("timm-vit",), {}),
    Case(tfold.FTN(rank=3, sharing="tensorpoly-i"), ("resnet18",), {"resnet18": 3 * 8723 + 9600 + 3 * 19}),
    Case(tfold.TLoRA(rank=4, tensor_rank=2), ("timm-vit", "resnet18"), {}),
    Case(tfold.TLoRA(rank=2, sharing="shared", layers="linear"), ("timm-vit",), {}),
    Case(tfold.Poly(rank=2, skills=3), ("timm-vit", "torch-encoder", "resnet18"), {}),
    Case(tfold.MHR(rank=2, skills=3, splits=2), ("hf-vit",), {}),
    Case(tfold.TensorPolyI(rank=4, tensor_rank=3), ("timm-vit", "torchvision-vit", "resnet18"), {}),
    Case(tfold.TensorPolyI(rank=2, tensor_rank=2, granularity="block", norm=True), ("timm-vit",), {}),
    Case(tfold.TensorPolyII(rank=4, tensor_rank=3, order=3), ("timm-vit", "mobilenet-v2"), {}),
    Case(tfold.BottleneckAdapter(width=4), ATT, {"vit_base_patch32_224": 12 * (4 * 1537 + 768) + 25 * 1536}),
    Case(
        tfold.BottleneckAdapter(width=3, places="houlsby", activation="gelu", scale=0.5, init="authors", norm=False),
        ATT,
        {"vit_base_patch32_224": 24 * (3 * 1537 + 768)},
    ),
    Case(tfold.BottleneckAdapter(width=3, places="attention", sharing="shared"), ("timm-vit", "torch-encoder"), {}),
    Case(
        tfold.Compacter(width=8, terms=2),
        ("timm-vit",),
        {"vit_base_patch32_224": 24 * (2 * (8 + 768 + 8) + 776) + 25 * 1536},
    ),
    Case(
        tfold.CompacterPlusPlus(width=8, slow="common", norm=False),
        ("timm-vit", "torch-encoder"),
        {"vit_base_patch32_224": 64 + 12 * (2 * 776 + 776)},
    ),
    Case(tfold.AdaptFormer(width=4), ("timm-vit", "hf-vit"), {"vit_base_patch32_clip_224": 12 * (4 * 1537 + 768)}),
    Case(tfold.HeadOnly(), ALL, {"resnet50": 0}),
    Case(tfold.HeadNorm(), ALL, {"resnet18": 9600, "resnet34": 17024, "resnet50": 53120}),
    Case(tfold.IA3(), ("timm-vit", "torch-encoder"), {"vit_base_patch32_clip_224": 55296}),
    Case(tfold.LayerNormTuning(), ("timm-vit", "torch-encoder"), {"vit_base_patch32_clip_224": 2 * 19968}),
    Case(tfold.HardSharing(), ALL, {"resnet18": 11176512}),
    Case(tfold.OverParameterised(), (*CONV[:1], *ATT), {"resnet18": 9600 + sum(map(spatial_svd, RESNET18))}),
    Case(
        tfold.OverParameterised(rank=4, diagonals=2),
        ("resnet18", "mobilenet-v2"),
        {"resnet18": 9600 + sum(4 * (k * (o + i) + 2) for o, i, k in RESNET18)},
    ),
    Case(tfold.FTN(rank=3, sharing="diagonal"), ("resnet18",), {"resnet18": 3 * 19 + 9600 + 3 * 8723}),
    Case(
        tfold.ExpandNet(rate=1.5),
        ("resnet18", "timm-vit", "torchvision-vit"),
        {
            "resnet18": 9600
            + sum(math.ceil(1.5 * i) * i + 1.5 * o * (math.ceil(1.5 * i) * k * k + o) for o, i, k in RESNET18)
        },
    ),
    Case(
        tfold.RepVGG(),
        ("resnet18", "mobilenet-v2"),
        {"resnet18": 9600 + sum(map(branches, RESNET18))},
        new_biases=True,
    ),
    Case(tfold.BA2(), ("resnet18",), {"resnet50": 53120}, bits={"resnet50": 13385920, "resnet18": 1392832}),
    Case(tfold.ASTMT(), ("resnet50",), {"resnet18": 696320 + 9600}),
    Case(tfold.BitFit(), ALL, {"resnet50": 53120, "vit_base_patch32_clip_224": 82944 + 2 * 19968}),
    Case(
        tfold.BitFit(norms=False),
        ("resnet18", *ATT),
        {"resnet50": 26560, "vit_base_patch32_clip_224": 82944 + 19968},
    ),
    Case(tfold.SpotTune(noise=False), ("resnet18",), {"resnet50": 23508032 + 1172672}),
    Case(
        tfold.SSF(),
        (*CONV, "timm-vit", "hf-vit"),
        {"resnet50": 106240, "vit_base_patch32_clip_224": 207360, "vit_base_patch32_224": 205824},
        new_biases=True,
    ),
    Case(tfold.SSF(sharing={"name": "poly", "skills": 3}), ("timm-vit",), {}, new_biases=True),
    Case(tfold.SSF(init="authors", sharing="shared"), ("resnet18", "timm-vit"), {}, new_biases=True),
    Case(tfold.FishMask(0.02), ("resnet18", "timm-vit"), {"resnet50": 470160}),
    Case(tfold.SAID(300), ("resnet18", "timm-vit"), {"resnet50": 300}),
    Case(tfold.SVFT(), ("timm-vit",), {"vit_base_patch32_clip_224": 55296}),
    Case(
        tfold.SVFT(pattern="banded", gate=True),
        ("torch-encoder",),
        {"vit_base_patch32_clip_224": 165744 + 72},
    ),
    Case(tfold.FineTuning(), ALL, {"resnet18": 11176512}),
    Case(tfold.PrefixTuning(tokens=3), ("timm-vit",), {"vit_base_patch32_224": 12 * 2 * 3 * 768}),
    Case(tfold.ParallelAdapter(), ("resnet18",), {"resnet18": 1392832 + 9600}),
    Case(tfold.PromptTuning(tokens=3), ("timm-vit",), {"vit_base_patch32_224": 3 * 768}),
    Case(tfold.AdaShare(noise=False), ("resnet18",), {"resnet34": 21267648 + 17024 + 32}),
    Case(tfold.AdaShare(trunk="frozen", norm=False, noise=False), ("resnet50",), {"resnet50": 32}),
    Case(tfold.PackNet(prune=0.5), ("resnet18", "timm-vit"), {"resnet18": 11166912, "resnet50": 23454912}),
    Case(
        tfold.Piggyback(),
        ("resnet18", "mobilenet-v2", "timm-vit"),
        {"resnet18": 0},
        bits={"resnet18": 11166912, "resnet34": 21267648, "resnet50": 23454912},
    ),
    Case(
        tfold.Piggyback(ternary=True, norm=True),
        ("resnet18", "timm-vit"),
        {"resnet18": 9600},
        bits={"resnet18": 2 * 11166912},
    ),
    Case(tfold.RCM(), ("resnet18",), {"resnet18": 1568768 + 9600}),
    Case(tfold.SeriesAdapter(), ("resnet18",), {"resnet18": 1576576 + 9600}, new_biases=True),
    Case(tfold.TAPS(), ("resnet18",), {"resnet34": 21267648 + 17024 + 36, "resnet50": 23454912 + 53120 + 53}),
    Case(tfold.WTPB(), ("timm-vit",), {"resnet50": 53120 + 106}, bits={"resnet50": 23454912}),
]
