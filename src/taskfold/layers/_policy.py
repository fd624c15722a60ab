"""A small residual net that chooses, for each image and each block, which of two branches runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from uuid import uuid4

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..factors import STATISTICS
from ..interventions import Choose
from ..kinds import LayerKind, Patterns, Tensors
from ..tasks import Leaves, kept_in
from ._gates import POLICY, chosen, relaxed
from ._part import Part, When
from ._recipe import Fitting, Recipe
from ._residual_blocks import residual_blocks

WIDTHS = (32, 64, 128, 256)
"""Channels of the stem and of the three blocks."""


def policy_net(channels: int, outputs: int, bias: float) -> Leaves:
    """The policy net's tensors: 1,172,672 numbers for images of 3 channels and 32 outputs.

    Args:
        channels: of the images.
        outputs: number of logits, two for each block.
        bias: initial bias of the first logit of each block.
    """
    first = WIDTHS[0]
    convs = {"stem": (first, channels)}
    norms = {"stem": first, "end": WIDTHS[-1]}
    for n, (inp, out) in enumerate(pairwise(WIDTHS)):
        convs |= {f"{n}a": (out, inp), f"{n}b": (out, out)}
        norms |= {f"{n}a": out, f"{n}b": out}
    tensors: dict[str, Tensor] = {}
    for name, (out, inp) in convs.items():
        weight = nn.init.kaiming_normal_(torch.empty(out, inp, 3, 3), mode="fan_out")
        tensors[f"policy/{name}/weight"] = nn.Parameter(weight)
    for name, size in norms.items():
        tensors[f"policy/{name}/gamma"] = nn.Parameter(torch.ones(size))
        tensors[f"policy/{name}/beta"] = nn.Parameter(torch.zeros(size))
        tensors[f"policy/{name}/mean"] = torch.zeros(size)
        tensors[f"policy/{name}/var"] = torch.ones(size)
    tensors["policy/last/weight"] = nn.Parameter(nn.init.normal_(torch.empty(outputs, WIDTHS[-1]), std=0.01))
    tensors["policy/last/bias"] = nn.Parameter(torch.tensor([bias, 0.0]).repeat(outputs // 2))
    groups = {name: POLICY if isinstance(one, nn.Parameter) else STATISTICS for name, one in tensors.items()}
    return Leaves(tensors, groups)


def run_policy(leaves: Leaves, x: Tensor, training: bool, momentum: float = 0.1) -> Tensor:
    """Images `[B, C, H, W]` → logits `[B, outputs]`; training uses and records the statistics of the batch."""

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        return F.conv2d(x, leaves[f"policy/{name}/weight"], stride=stride, padding=1)

    def norm(name: str, x: Tensor) -> Tensor:
        gamma, beta, mean, var = (leaves[f"policy/{name}/{key}"] for key in ("gamma", "beta", "mean", "var"))
        return F.batch_norm(x, mean, var, gamma, beta, training, momentum)

    h = norm("stem", conv("stem", x.to(leaves["policy/stem/weight"].dtype)))
    for n in range(len(WIDTHS) - 1):
        y = norm(f"{n}b", conv(f"{n}b", F.relu(norm(f"{n}a", conv(f"{n}a", h, 2)))))
        shortcut = F.avg_pool2d(h, 2, ceil_mode=True)
        h = F.relu(y + F.pad(shortcut, (0, 0, 0, 0, 0, y.shape[1] - h.shape[1])))
    h = F.relu(norm("end", h)).mean((2, 3))
    return F.linear(h, leaves["policy/last/weight"], leaves["policy/last/bias"])


class Policed(Part):
    """The choice between the tuned and the frozen branch of one block, for each image.

    Args:
        shortcut: the child that is the block's shortcut; None: the block's input.
        own: the policy net's tensors at the first block; empty at others.
        key: of the net's output in the context of a pass.
        place: index of the block.
        temperature: of the softmax in training.
        noise: Gumbel noise in training.
    """

    def __init__(
        self, shortcut: str | None, own: Leaves, key: str, place: int, temperature: float, noise: bool
    ) -> None:
        super().__init__(Choose("frozen", shortcut), own)
        self.key, self.place, self.temperature, self.noise = key, place, temperature, noise

    def look(self, x: Tensor, rows: Tensor | None, when: When) -> dict[str, object]:
        if not len(self.own):
            return {}
        channels = self.own["policy/stem/weight"].shape[1]
        if x.dim() != 4 or x.shape[1] != channels:
            raise ValueError(
                f"a policy net sees images [B, {channels}, H, W], and the network was given {list(x.shape)} first; "
                "give images first, or choose another method"
            )
        if rows is None:
            return {self.key: self._gates(x, when)}
        if not len(rows):
            return {self.key: x.new_zeros(len(x), self.own["policy/last/bias"].numel() // 2, 2)}
        mine = self._gates(x.index_select(0, rows), when)
        return {self.key: mine.new_zeros(len(x), *mine.shape[1:]).index_copy(0, rows, mine)}

    def _gates(self, x: Tensor, when: When) -> Tensor:
        """The gates `[B, blocks, 2]`."""
        logits = run_policy(self.own, x, when.training).unflatten(1, (-1, 2))
        if when.training:
            return relaxed(logits, self.temperature, self.noise, hard=True)
        return chosen(logits).to(logits.dtype)

    def tensors(self, kind: LayerKind, changed: Tensors, when: When) -> dict[str, Tensor]:
        gates = when.context.get(self.key)
        if gates is None:
            raise ValueError(
                "a net that sees each image chooses between this block and the backbone's, so that no plain network "
                "and no row of a bank's table does the same: serve the task as it is (model(x, task=…))"
            )
        assert isinstance(gates, Tensor)
        return {"gates": gates[:, self.place].to(kind.dtype)}


@dataclass(frozen=True)
class Policies(Recipe):
    """A choice for each image at every residual block, between the task's block and the backbone's.

    Args:
        targets: shell patterns over names of blocks; `!pattern` leaves blocks out, where the task's always runs.
        temperature: of the softmax in training.
        noise: Gumbel noise in training.
        start: initial bias of the first logit of each block.
    """

    targets: Patterns
    temperature: float
    noise: bool
    start: float

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        found, key = residual_blocks(at.network, self.targets), uuid4().hex
        conv = next(one for one in at.network.modules() if isinstance(one, nn.Conv2d))
        for place, (path, shortcut) in enumerate(found.items()):
            own = Leaves({}, {})
            if not place:
                own = policy_net(conv.in_channels, 2 * len(found), self.start)
                own.to(conv.weight.device, kept_in(conv.weight.dtype))
            yield path, "policy", Policed(shortcut, own, key, place, self.temperature, self.noise)
