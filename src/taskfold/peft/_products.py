"""LOHA, LOKR and VERA: products of small matrices, each exactly a LoRA of a higher rank."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..methods import Method
from ._adapter import Adapter
from ._lora import as_low_rank
from ._types import AdapterType, Leaves

_TRAINED = ("rank_dropout", "module_dropout", "rank_dropout_scale", "init_weights", "fan_in_fan_out")
_RANKED = ("r", "alpha", "rank_pattern", "alpha_pattern")


class LoHa(AdapterType):
    """(A₁ B₁) ⊙ (A₂ B₂) α/r: a LoRA of rank r² whose vectors are products of theirs."""

    name = "LOHA"
    reads = frozenset((*_RANKED, "use_effective_conv2d"))
    idle = frozenset(_TRAINED)

    def take(self, adapter: Adapter) -> tuple[Method, Leaves]:
        made: dict[str, tuple[Tensor, Tensor]] = {}
        roles = [f"hada_{name}" for name in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")]
        for path, found in adapter.layers(*roles).items():
            inside = adapter.layer(path).modes.shape[1:]
            (one, left), (two, right) = _factors(adapter, path, found)
            up = (one[:, :, None] * two[:, None]).flatten(1) * _scale(adapter, path)
            down = (left.flatten(1)[:, None] * right.flatten(1)[None]).flatten(0, 1)
            made[path] = up, down.reshape(-1, *inside)
        return as_low_rank(adapter, made)


class LoKr(AdapterType):
    """(W₁ ⊗ W₂) α/r: a LoRA whose rank is the product of their ranks."""

    name = "LOKR"
    reads = frozenset((*_RANKED, "use_effective_conv2d"))
    idle = frozenset((*_TRAINED, "decompose_both", "decompose_factor"))

    def take(self, adapter: Adapter) -> tuple[Method, Leaves]:
        made: dict[str, tuple[Tensor, Tensor]] = {}
        roles = [f"lokr_{name}" for name in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")]
        for path, found in adapter.layers(*roles).items():
            inside = adapter.layer(path).modes.shape[1:]
            (one, left), (two, right) = _factors(adapter, path, found)
            up, down = torch.kron(one, two) * _scale(adapter, path), torch.kron(left.flatten(1), right.flatten(1))
            made[path] = up, down.reshape(-1, *inside)
        return as_low_rank(adapter, made)


class Vera(AdapterType):
    """diag(b) B diag(d) A, with slices of a common A and B for all layers: drawn from a seed, if not in the file."""

    name = "VERA"
    reads = frozenset(("r", "projection_prng_key", "save_projection", "bias"))
    idle = frozenset(("vera_dropout", "d_initial", "init_weights", "fan_in_fan_out"))

    def take(self, adapter: Adapter) -> tuple[Method, Leaves]:
        rank, found = adapter.number("r", 256), adapter.layers("vera_lambda_b", "vera_lambda_d")
        shapes = {path: adapter.layer(path).modes.shape for path in found}
        a, b = adapter.tensors.pop("vera_A", None), adapter.tensors.pop("vera_B", None)
        if a is None or b is None:
            draw = torch.Generator().manual_seed(adapter.config.get("projection_prng_key", 0))
            a = _drawn(rank, max(shape[1] for shape in shapes.values()), draw)
            b = _drawn(max(shape[0] for shape in shapes.values()), rank, draw)
        made: dict[str, tuple[Tensor, Tensor]] = {}
        for path, (out, inp) in shapes.items():
            up = adapter.shaped(found[path]["vera_lambda_b"], (out,), f"{path}.vera_lambda_b")[:, None] * b[:out]
            down = adapter.shaped(found[path]["vera_lambda_d"], (rank,), f"{path}.vera_lambda_d")[:, None] * a[:, :inp]
            made[path] = up, down
        return as_low_rank(adapter, made)


def _scale(adapter: Adapter, path: str) -> float:
    alpha = adapter.at("alpha_pattern", path, "alpha", 8, whole=False)
    return alpha / adapter.at("rank_pattern", path, "r", 8)


def _factors(adapter: Adapter, path: str, found: dict[str, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """The two products of a layer, whose tensors' roles have 1 or 2: `hada_w1_a`, `lokr_t2`."""
    for n in "12":
        roles = {role.partition("_")[2].replace(n, ""): tensor for role, tensor in found.items() if n in role}
        yield _product(adapter, path, roles)


def _product(adapter: Adapter, path: str, found: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """A matrix, or a convolution's weight, as left `[m, R]` times right `[R, n, …]`.

    Args:
        adapter, path: its adapter and layer.
        found: `w` itself; or `w_a` and `w_b`, perhaps with a core `t` `[r, r, *kernel]` between them.
    """
    found = {name: tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for name, tensor in found.items()}
    match sorted(found):
        case ["w"]:
            whole = found["w"]
            wide = whole[0].numel() >= len(whole)
            eye = torch.eye(len(whole) if wide else whole[0].numel(), dtype=whole.dtype)
            return (eye, whole) if wide else (whole.flatten(1), eye)
        case ["w_a", "w_b"]:
            return found["w_a"], found["w_b"]
        case ["t", "w_a", "w_b"]:
            core = torch.einsum("ijkl,jn->inkl", found["t"], found["w_b"])
            return found["w_a"].T, core
    raise adapter.error(f"layer {path!r} has tensors {sorted(found)}, of which no product is known")


def _drawn(rows: int, columns: int, draw: torch.Generator) -> Tensor:
    """He's uniform initialisation, as for VeRA's projections."""
    bound = math.sqrt(6 / columns)
    return torch.empty(rows, columns).uniform_(-bound, bound, generator=draw)
