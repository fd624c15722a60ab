"""The last layers of feed-forward blocks, by the names that common libraries use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..kinds import Convolution, LayerKind, Linear, WeightKind, kind_of
from ._where import Target, View, Where, check_weight, units

# Paths of the first layer and of the last one, from the module that holds both.
_SPELLINGS = (
    (("fc1", "fc1_x"), "fc2"),  # timm; Hugging Face's ViT, CLIP, BART, OPT, Phi
    (("wi", "wi_0"), "wo"),  # T5
    (("up_proj", "gate_up_proj"), "down_proj"),  # Llama, Phi-3
    (("c_fc",), "c_proj"),  # GPT-2
    (("intermediate.dense",), "output.dense"),  # BERT
    (("intermediate_dense",), "output_dense"),  # wav2vec 2.0
    (("lin1",), "lin2"),  # DistilBERT
    (("linear1",), "linear2"),  # torch
    (("dense_h_to_4h",), "dense_4h_to_h"),  # BLOOM, GPT-NeoX
    (("fc_in",), "fc_out"),  # GPT-J
    (("ffn",), "ffn_output"),  # ALBERT
    (("layer_1",), "layer_2"),  # XLNet
    (("w12",), "w3"),  # DINOv2's SwiGLU
    (("weights_in",), "weights_out"),  # the same in Hugging Face's
    (("net.0.proj",), "net.2"),  # diffusers
)


@dataclass(frozen=True)
class FeedForwards(Where):
    """The last layer of every feed-forward block: linear, or a 1×1 convolution.

    A block is a module with a first and a last layer of known names, or an `nn.Sequential` with two layers and a
    module without parameters between them; it maps d channels to d or more, and back to d.
    """

    what: ClassVar[str] = "feed-forward blocks to adapt"

    def candidates(self, network: nn.Module) -> list[Target]:
        modules = dict(units(network))
        found: dict[str, Target] = {}
        for path, module in modules.items():
            for first, last in _pairs(path, module, modules):
                kinds = kind_of(modules[first]), kind_of(modules[last])
                if all(map(_maps, kinds)) and last not in found and _widens(first, last, *kinds):
                    found[last] = Target(last, (View("weight", "weight", None, kinds[1].modes),))  # type: ignore[attr-defined]
        return [found[path] for path in modules if path in found]


def _pairs(path: str, module: nn.Module, modules: dict[str, nn.Module]) -> Iterator[tuple[str, str]]:
    """The paths of a first and a last layer within a module."""
    prefix = f"{path}." if path else ""
    for firsts, last in _SPELLINGS:
        first = next((f"{prefix}{name}" for name in firsts if f"{prefix}{name}" in modules), None)
        if first is not None and f"{prefix}{last}" in modules:
            yield first, f"{prefix}{last}"
    if isinstance(module, nn.Sequential):
        holding = [name for name, child in module.named_children() if any(True for _ in child.parameters())]
        names = list(module._modules)
        if len(holding) == 2 and names.index(holding[1]) > names.index(holding[0]) + 1:
            yield f"{prefix}{holding[0]}", f"{prefix}{holding[1]}"


def _maps(kind: LayerKind) -> bool:
    """Whether a layer maps the channels of each position independently."""
    return isinstance(kind, Linear) or (type(kind) is Convolution and kind.points)


def _widens(first: str, last: str, before: LayerKind, after: LayerKind) -> bool:
    """Whether two layers map d channels to d or more, and back to d."""
    assert isinstance(before, WeightKind)
    assert isinstance(after, WeightKind)
    check_weight(before, first, "weight")
    check_weight(after, last, "weight")
    (_, entering), (leaving, inside) = before.modes.shape[:2], after.modes.shape[:2]
    return entering * before.modes.groups == leaving <= inside * after.modes.groups
