"""LORA, with DoRA: on linear layers, convolutions and embeddings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor

from ..kinds import Embedding
from ..methods import DoRA, LoRA, Method
from ._adapter import Adapter
from ._types import AdapterType, Leaves

N = TypeVar("N", int, float)
_HARMLESS = (True, False, "gaussian", "eva", "orthogonal", "mica")
"""Starts that leave the backbone as it is; others subtract from it what the adapter then holds."""


class Lora(AdapterType):
    """W + s B A, s = α/r, or α/√r (rslora); on an embedding A and B lie under names of their own."""

    name = "LORA"
    reads = frozenset(
        ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "bias", "init_lora_weights")
    )
    idle = frozenset(
        {
            *("lora_dropout", "fan_in_fan_out", "loftq_config", "eva_config", "corda_config", "lora_ga_config"),
            *("megatron_core", "megatron_config", "runtime_config", "qalora_group_size"),
        }
    )

    def take(self, adapter: Adapter) -> tuple[Method, Leaves]:
        start, dora = adapter.config.get("init_lora_weights", True), adapter.config.get("use_dora") is True
        if start not in _HARMLESS:
            raise adapter.error(
                f"init_lora_weights={start!r} changes the backbone too; save the adapter again as plain LoRA: "
                "save_pretrained(…, path_initial_model_for_weight_conversion=…)"
            )
        roles = ("lora_A.weight", "lora_B.weight", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector")
        ranks: dict[str, int] = {}
        alphas: dict[str, float] = {}
        leaves: Leaves = {}
        for path, found in adapter.layers(*roles).items():
            kind = adapter.layer(path)
            names = ("lora_embedding_A", "lora_embedding_B") if isinstance(kind, Embedding) else roles[:2]
            wanted = {*names, "lora_magnitude_vector"} if dora else {*names}
            if found.keys() != wanted:
                raise adapter.error(f"layer {path!r} has tensors {sorted(found)}, and LoRA needs {sorted(wanted)}")
            rank = ranks[path] = adapter.at("rank_pattern", path, "r", 8)
            alpha = adapter.at("alpha_pattern", path, "lora_alpha", 8, whole=False)
            alphas[path] = alpha * math.sqrt(rank) if adapter.config.get("use_rslora") else alpha
            out, *inside = kind.modes.shape
            shapes = {names[0]: ("down", (rank, *inside)), names[1]: ("up", (out, rank))}
            shapes["lora_magnitude_vector"] = ("magnitude", (out,))
            for role, tensor in found.items():
                leaf, shape = shapes[role]
                leaves[path, "weight", leaf] = adapter.shaped(tensor, shape, f"{path}.{role}")
        return low_rank(adapter, ranks, alphas, dora), leaves


def low_rank(
    adapter: Adapter, ranks: Mapping[str, int], alphas: Mapping[str, float] | None, dora: bool = False
) -> Method:
    """LoRA at these layers."""
    if not ranks:
        raise adapter.error(f"its file holds no layer of {adapter.config['peft_type']}")
    rank, alpha = _of_all(ranks), None if alphas is None else _of_all(alphas)
    return (DoRA if dora else LoRA)(rank=rank, alpha=alpha, layers="any", targets=tuple(ranks))


def _of_all(numbers: Mapping[str, N]) -> N | dict[str, N]:
    """One number, if layers have the same."""
    different = set(numbers.values())
    return different.pop() if len(different) == 1 else dict(numbers)


def as_low_rank(adapter: Adapter, products: Mapping[str, tuple[Tensor, Tensor]]) -> tuple[Method, Leaves]:
    """What another type does, as the LoRA that it is exactly.

    Args:
        adapter: of that type.
        products: up `[O, R]`, scaled, and down `[R, I, *kernel]` of each layer.
    """
    leaves: Leaves = {}
    for path, (up, down) in products.items():
        out, *inside = adapter.layer(path).modes.shape
        leaves[path, "weight", "up"] = adapter.shaped(up, (out, up.shape[1]), f"{path} (outputs)")
        leaves[path, "weight", "down"] = adapter.shaped(down, (len(down), *inside), f"{path} (inputs)")
    return low_rank(adapter, {path: up.shape[1] for path, (up, _) in products.items()}, None), leaves
