"""Transformer blocks with a normalisation before the feed-forward: x + F(norm(x))."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..kinds import is_norm
from ._feed_forward import FeedForwards
from ._where import Target, View, Where

# Names of the normalisation before the feed-forward.
_SPELLINGS = (
    "norm2",  # timm, torch, diffusers
    "ln_2",  # torchvision, GPT-2
    "layernorm_after",  # Hugging Face's ViT
    "layer_norm2",  # CLIP
    "post_attention_layernorm",  # Llama, GPT-NeoX
    "layer_norm",  # T5
    "final_layer_norm",  # Whisper, OPT
)


@dataclass(frozen=True)
class Block(Target):
    """A block; `norm` is its normalising child, `then` its child that holds the last layer of the feed-forward."""

    norm: str = ""
    then: str = ""


@dataclass(frozen=True)
class PreNormBlocks(Where):
    """Every block that holds a feed-forward and, under a known name, the normalisation before it.

    The name does not say which of the two runs first; blocks with `norm_first=False` (torch's encoder) are left out.
    """

    what: ClassVar[str] = "blocks that normalise before their feed-forward to adapt"

    def candidates(self, network: nn.Module) -> list[Target]:
        found: dict[str, Target] = {}
        for target in FeedForwards().candidates(network):
            for path, block in _above(network, target.path):
                names = [name for name in _SPELLINGS if (child := block._modules.get(name)) and is_norm(child)]
                if not names:
                    continue
                if getattr(block, "norm_first", True):
                    then = target.path.removeprefix(f"{path}.").partition(".")[0]
                    views: tuple[View, ...] = ()
                    found.setdefault(path, Block(path, views, None, names[0], then))
                break
        return list(found.values())


def _above(network: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    """The ancestors of a module, the nearest first."""
    while path:
        path = path.rpartition(".")[0]
        yield path, network.get_submodule(path)
