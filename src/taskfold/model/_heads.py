"""Linear heads of different sizes in one immutable table, with a row for each output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ..kinds import NUMBERS
from ._said import check_features, runs_in

GROWTH = 1.1
"""Growth factor of a full table: adding stays cheap, and at most a tenth is idle."""


class Heads(nn.Module):
    """Heads by place, with their weights and biases one after another.

    Args:
        weight, bias: of all outputs, `[N, F]` and `[N]`; outputs past `end` are idle.
        start, size: the first output and the number of outputs of each place, `[P]`.
        used: whether tasks have heads; None: there was no task yet.
        end: number of outputs that are or were in use.
        idle: number of these whose head was removed.
        widest: outputs of the largest head.
    """

    weight: Tensor
    bias: Tensor
    start: Tensor
    size: Tensor

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        start: Tensor,
        size: Tensor,
        used: bool | None = None,
        end: int = 0,
        idle: int = 0,
        widest: int = 0,
    ) -> None:
        super().__init__()
        for name, table in (("weight", weight), ("bias", bias), ("start", start), ("size", size)):
            self.register_buffer(name, table, persistent=False)
        self.used, self.end, self.idle, self.widest = used, end, idle, widest

    @classmethod
    def none(cls, like: Tensor) -> Heads:
        whole = torch.zeros(0, dtype=torch.long, device=like.device)
        return cls(like.new_zeros(0), like.new_zeros(0), whole, whole.clone())

    def tables(self) -> tuple[Tensor, ...]:
        return self.weight, self.bias, self.start, self.size

    def check(self, head: nn.Module | None, name: str) -> None:
        """Checks that the table can hold a head.

        Raises:
            ValueError: it is not linear, takes other features, or only some tasks have heads.
        """
        if head is not None and type(head) is not nn.Linear:
            raise ValueError(
                f"task {name!r} has a head of {type(head).__name__}; a bank holds linear heads, or none. Run such a "
                "task in a MultiTask, or put the head behind the bank"
            )
        if self.used is not None and self.used != (head is not None):
            raise ValueError(f"task {name!r}: all tasks of a bank have a head, or none has")
        if isinstance(head, nn.Linear) and self.used and head.in_features != self.weight.shape[1]:
            raise ValueError(f"task {name!r} has a head on {head.in_features} features, not {self.weight.shape[1]}")

    def added(self, place: int, head: nn.Module | None) -> Heads:
        """The heads with one more, at a place whose head was removed or at the next one; its outputs use idle rows."""
        if not isinstance(head, nn.Linear):
            return Heads(*self.tables(), used=False)
        weight, bias = self.weight, self.bias
        if not self.used:
            weight, bias = head.weight.new_zeros(0, head.in_features), head.weight.new_zeros(0)
        start, size = (room(table.to(head.weight.device), place + 1, copy=True) for table in (self.start, self.size))
        outputs, gone = head.out_features, int(size[place])
        begin, end, idle = int(start[place]), self.end, self.idle - gone
        if gone != outputs:
            begin, end, idle = self.end, self.end + outputs, self.idle
        weight, bias = room(weight, end), room(bias, end)
        weight[begin : begin + outputs] = head.weight
        bias[begin : begin + outputs] = 0 if head.bias is None else head.bias
        start[place], size[place] = begin, outputs
        return Heads(weight, bias, start, size, True, end, idle, max(self.widest, outputs))

    def without(self, place: int, kept: Iterable[int]) -> Heads:
        """The heads without the one at `place`; if half of the outputs are idle, places `kept` are compacted."""
        if not self.used:
            return self
        had, began = self.size.tolist(), self.start.tolist()
        idle, others = self.idle + had[place], list(kept)
        widest = max((had[n] for n in others), default=0)
        if 2 * idle <= self.end:
            return Heads(self.weight, self.bias, self.start, self.size, True, self.end, idle, widest)
        rows = [row for n in others for row in range(began[n], began[n] + had[n])]
        which = torch.tensor(rows, dtype=torch.long, device=self.weight.device)
        start, size = [0] * len(had), [0] * len(had)
        begin = 0
        for n in others:
            start[n], size[n] = begin, had[n]
            begin += had[n]
        starts, sizes = (torch.tensor(n, dtype=torch.long, device=self.start.device) for n in (start, size))
        return Heads(self.weight[which], self.bias[which], starts, sizes, True, begin, 0, widest)

    def forward(self, features: Tensor, index: Tensor) -> Tensor:
        """`[B, …, F]` → `[B, …, widest]`; -inf past the outputs of a row's head."""
        check_features(features, self.weight.shape[1], "the bank's heads take")
        outputs = torch.arange(self.widest, device=index.device)
        missing = outputs >= self.size.index_select(0, index)[:, None]
        places = (self.start.index_select(0, index)[:, None] + outputs).masked_fill(missing, 0)
        weight = self.weight.index_select(0, places.flatten()).reshape(*places.shape, self.weight.shape[1])
        bias = self.bias.index_select(0, places.flatten()).reshape(places.shape)
        if (dtype := runs_in(features)) is not None:
            weight, bias = weight.to(dtype), bias.to(dtype)
        each = features.unflatten(0, (features.shape[0], 1)).flatten(1, -2)  # every token of a row has the row's head
        made = torch.baddbmm(bias[:, :, None], weight, each.mT).masked_fill(missing[:, :, None], -torch.inf)
        return made.mT.reshape(*features.shape[:-1], self.widest)

    def trimmed(self, made: Iterable[Tensor], places: Sequence[int]) -> list[Tensor]:
        """Each output cut to its head's size."""
        sizes = self.size.tolist()
        return [one[..., : sizes[place]] for one, place in zip(made, places, strict=True)]


def like_of(network: nn.Module) -> Tensor:
    """A tensor with the device and the precision of heads on a network."""
    first = next(network.parameters(), torch.zeros(()))
    return next((p for p in network.parameters() if p.dtype in NUMBERS), torch.zeros((), device=first.device))


def room(table: Tensor, size: int, copy: bool = False) -> Tensor:
    """A table with at least `size` rows; `copy`: a copy in any case."""
    if len(table) >= size:
        return table.clone() if copy else table
    larger = table.new_zeros(max(size, int(size * GROWTH)), *table.shape[1:])
    larger[: len(table)] = table
    return larger
