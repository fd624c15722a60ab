"""The place of a layer in its network, from its name: the block, and the kind of layer there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

GENERIC = {"model", "transformer", "backbone", "network", "module", "block", "blocks", "layer", "layers", "h"}
PARTS = {
    "SelfAttention": "self-attention",
    "self_attn": "self-attention",
    "EncDecAttention": "cross-attention",
    "encoder_attn": "cross-attention",
    "attention": "attention",
    "attention.self": "attention",
    "attention.output": "attention",
    "attn": "attention",
    "DenseReluDense": "feed-forward",
    "mlp": "feed-forward",
    "ffn": "feed-forward",
}


class Place(NamedTuple):
    """``stack`` and ``block`` number make a row, ``part`` of the block and ``name`` of the layer a column."""

    stack: str
    block: int | None
    part: str
    name: str

    @property
    def row(self) -> str:
        """The block in an axis label."""
        return self.stack or "outside" if self.block is None else f"{self.stack or 'block'} {self.block}"

    @property
    def kind(self) -> tuple[str, str]:
        """The kind of layer, comparable between blocks."""
        return self.part, self.name


def places(layers: Sequence[str]) -> list[Place]:
    """A place for every layer, all different.

    >>> places(["encoder.block.0.layer.0.SelfAttention.q", "model.layers.3.mlp.up_proj", "fc"])[0]
    Place(stack='encoder', block=0, part='self-attention', name='q')
    >>> [(place.row, place.kind) for place in places(["model.layers.3.mlp.up_proj", "layer1.0.conv1", "fc"])]
    [('block 3', ('feed-forward', 'up_proj')), ('layer1 0', ('', 'conv1')), ('outside', ('', 'fc'))]
    """
    short = [_place(layer, brief=True) for layer in layers]
    return short if len(set(short)) == len(short) else [_place(layer, brief=False) for layer in layers]


def _place(layer: str, *, brief: bool) -> Place:
    words = layer.split(".")
    at = next((index for index, word in enumerate(words) if word.isdecimal()), None)
    stack, rest = ([], words) if at is None else (words[:at], words[at + 1 :] or words[:at] or words)
    if brief:
        stack = [word for word in stack if word not in GENERIC]
        rest = [word for word in rest if not word.isdecimal() and word not in GENERIC] or rest
    part = ".".join(rest[:-1])
    return Place(".".join(stack), None if at is None else int(words[at]), PARTS.get(part, part), rest[-1])
