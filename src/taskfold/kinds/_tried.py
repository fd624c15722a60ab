"""Layers with a forward of their own are tried once on small inputs, on copies: a trial writes nothing of theirs.

May an update run beside a layer, y = f(W, x) + f(ΔW, x)? Only if f is linear in its weight.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ._stand_in import stand_in

if TYPE_CHECKING:
    from ._base import WeightKind

_FOUND: WeakKeyDictionary[nn.Module, dict[str, object]] = WeakKeyDictionary()


def once(module: nn.Module, what: str, find: Callable[[], object]) -> object:
    """What was found out about a module by trying it; nothing is tried twice."""
    found = _FOUND.setdefault(module, {})
    if what not in found:
        found[what] = find()
    return found[what]


def random() -> Callable[..., Tensor]:
    """Numbers in double precision, the same every time."""
    dice = torch.Generator().manual_seed(0)
    return lambda *size: torch.randn(*size, generator=dice, dtype=torch.float64)


@torch.no_grad()
def attempt(module: nn.Module, state: Mapping[str, Tensor | None], x: Tensor, **attributes: object) -> Tensor:
    """What a module's own forward makes of an input in evaluation, with other tensors and attributes.

    Whatever it writes or draws meanwhile is a copy's: buffers, numbers that it counts, the state of random numbers.
    """
    memo = {id(tensor): tensor for tensor in state.values() if tensor is not None}
    twin = copy.deepcopy(stand_in(module, state, **attributes), memo).eval()
    for part in twin.modules():
        for table in (part._parameters, part._buffers):
            for name, tensor in table.items():
                if tensor is not None and tensor.is_floating_point():
                    table[name] = tensor.detach().to(x)  # type: ignore[assignment]
    with torch.random.fork_rng(devices=[]):
        return twin.forward(x)  # type: ignore[no-any-return]


def tried(kind: WeightKind) -> bool:
    """Whether a layer's own forward is linear in its weight: two weights and their sum, on a small input."""
    return bool(once(kind.source, "linear", lambda: _linear(kind)))


def _linear(kind: WeightKind) -> bool:
    if kind.weight.device.type == "meta":
        return False
    normal = random()
    first, second = (kind.laid_out(normal(*kind.modes.shape)) for _ in range(2))
    try:
        x = kind.example(normal)
        both, one, other = (
            attempt(kind.module, {"weight": weight, "bias": None}, x) for weight in (first + second, first, second)
        )
        return torch.allclose(both, one + other, rtol=1e-9, atol=1e-9)
    except Exception:
        # Whatever such a forward can't do with other tensors, a whole weight does not ask of it.
        return False
