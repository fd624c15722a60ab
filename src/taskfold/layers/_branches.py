"""RepVGG (Ding et al. 2021): a convolution as three normalised branches in training, and one convolution afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._stand_in import stand_in
from ._standing import STATISTICS, Bank, Inventory, Standing, check_bank, grouped
from ._where import Patterns, matches, own_weight, units

EPSILON, MOMENTUM = 1e-5, 0.1


class Branches(Standing):
    """k×k, 1×1 and identity, each followed by BatchNorm, and their sum; what they have learned all tasks share.

    In training each branch runs by itself and is normalised over the batch. In evaluation they are one convolution:
    the sum of their kernels, each times γ/σ of its channel, with the sum of β − γμ/σ as bias. Section 3.3 of the paper.
    """

    def __init__(self, shared: Bank, names: tuple[str, ...]) -> None:
        super().__init__(shared)
        self.names = names

    def _leaf(self, name: str) -> Tensor:
        assert self.shared is not None
        return self.shared[1][name]

    def run(self, conv: nn.Conv2d, x: Tensor) -> Tensor:
        """The layer in training; moves the running statistics."""
        total = None
        for name in self.names:
            y = self._branch(conv, name, x)
            mean, var, gamma, beta = (self._leaf(f"{name}/{part}") for part in ("mean", "var", "gamma", "beta"))
            y = F.batch_norm(y, mean, var, gamma, beta, True, MOMENTUM, EPSILON)
            total = y if total is None else total + y
        assert total is not None
        return total

    def _branch(self, conv: nn.Conv2d, name: str, x: Tensor) -> Tensor:
        if name == "identity":
            return x
        weight = self._leaf(f"{name}/weight").to(x.dtype)
        if name == "point" and _centred(conv):
            return F.conv2d(x, weight, None, conv.stride, 0, 1, conv.groups)
        whole = _widened(weight, conv) if name == "point" else weight
        return stand_in(conv, {"weight": whole, "bias": None}).forward(x)

    def tensors(self, conv: nn.Conv2d) -> dict[str, Tensor]:
        """`weight` and `bias` of the one convolution."""
        dtype = conv.weight.dtype
        weight, bias = torch.zeros_like(conv.weight), torch.zeros(len(conv.weight), dtype=dtype).to(conv.weight.device)
        for name in self.names:
            mean, var, gamma, beta = (self._leaf(f"{name}/{part}") for part in ("mean", "var", "gamma", "beta"))
            scale = gamma * (var + EPSILON).rsqrt()
            weight = weight + (self._kernel(conv, name) * scale[:, None, None, None]).to(dtype)
            bias = bias + (beta - mean * scale).to(dtype)
        return {"weight": weight, "bias": bias}

    def _kernel(self, conv: nn.Conv2d, name: str) -> Tensor:
        if name == "kernel":
            return self._leaf("kernel/weight")
        if name == "point":
            return _widened(self._leaf("point/weight"), conv)
        inputs = conv.weight.shape[1]
        seen = torch.arange(len(conv.weight)) % inputs
        return _widened(F.one_hot(seen, inputs)[:, :, None, None].to(conv.weight), conv)


@dataclass(frozen=True)
class Branched:
    """A recipe: branches in every convolution with an odd kernel larger than 1×1, common to all tasks.

    The identity is a branch where the output has the input's size and channels. The start is the layer's own
    convolution: the other branches begin with γ = 0.
    """

    targets: Patterns = "*"

    def fit(self, network: nn.Module, inventory: Inventory, prefix: str) -> Iterator[tuple[str, Branches]]:
        """The branches of every selected layer; made in the inventory at first.

        Raises:
            ValueError: nothing is selected.
        """
        found = [(path, module) for path, module in units(network) if _fits(module) and matches(path, self.targets)]
        for path, conv in found:
            assert isinstance(conv, nn.Conv2d)
            names = ("kernel", "point", "identity") if _keeps_size(conv) else ("kernel", "point")
            key = f"{prefix}/{path}/branches"
            made = inventory[key] if key in inventory else _made(conv, path, names)
            check_bank(key, made, {f"{name}/gamma": (conv.out_channels,) for name in names})
            inventory[key] = made
            yield path, Branches((key, made), names)
        if not found:
            raise ValueError(
                f"targets={self.targets!r} selects no convolution of {type(network).__name__} with an odd kernel "
                "larger than 1×1, which branches are for; choose another method"
            )


def _made(conv: nn.Conv2d, path: str, names: tuple[str, ...]) -> nn.ParameterDict:
    weight = own_weight(conv, path).detach()
    like = torch.empty(0, dtype=torch.promote_types(weight.dtype, torch.float32), device=weight.device)
    bank, groups = nn.ParameterDict(), {}

    def hold(name: str, tensor: Tensor, group: str) -> None:
        bank[name] = nn.Parameter(tensor.to(like), requires_grad=False)
        groups[name] = group

    point = torch.empty_like(weight[:, :, :1, :1])
    nn.init.kaiming_uniform_(point, a=5**0.5)
    channels = torch.ones(conv.out_channels)
    for name in names:
        if name != "identity":
            hold(f"{name}/weight", weight.clone() if name == "kernel" else point, "factors")
        first = name == "kernel"
        hold(f"{name}/gamma", channels * ((1 + EPSILON) ** 0.5 if first else 0), "norm")
        hold(f"{name}/beta", conv.bias.detach().clone() if first and conv.bias is not None else channels * 0, "norm")
        hold(f"{name}/mean", channels * 0, STATISTICS)
        hold(f"{name}/var", channels.clone(), STATISTICS)
    return grouped(bank, groups)


def _fits(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1 and all(k % 2 for k in module.kernel_size)


def _centred(conv: nn.Conv2d) -> bool:
    """Whether the kernel's middle runs over the input's pixels, from the first on."""
    plain = type(conv).forward is nn.Conv2d.forward and conv.padding_mode == "zeros"
    middle = tuple(d * (k // 2) for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
    return plain and (conv.padding == middle or (conv.padding == "same" and conv.stride == (1, 1)))


def _keeps_size(conv: nn.Conv2d) -> bool:
    return _centred(conv) and conv.stride == (1, 1) and conv.in_channels == conv.out_channels


def _widened(weight: Tensor, conv: nn.Conv2d) -> Tensor:
    """A 1×1 kernel as the middle of a larger one."""
    high, wide = (k // 2 for k in conv.kernel_size)
    return F.pad(weight, (wide, wide, high, high))
