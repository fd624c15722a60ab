"""Linear heads of different sizes in one table, a row for each output."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

GROWTH = 1.1
"""A table that is full becomes so many times larger: adding stays cheap, and no more than a tenth is idle."""


class Heads(nn.Module):
    """Heads by place: `start` and `size` of each, and their weights and biases one after another."""

    weight: Tensor
    bias: Tensor
    start: Tensor
    size: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("weight", "bias"):
            self.register_buffer(name, torch.zeros(0), persistent=False)
        for name in ("start", "size"):
            self.register_buffer(name, torch.zeros(0, dtype=torch.long), persistent=False)
        self.used: bool | None = None
        self.end = 0
        self.widest = 0

    def tables(self) -> tuple[Tensor, ...]:
        return self.weight, self.bias, self.start, self.size

    def check(self, head: nn.Module | None, name: str) -> None:
        """A head of a kind that can be held beside the others.

        Raises:
            ValueError: it cannot.
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

    def put(self, row: int, head: nn.Module | None) -> None:
        """Hold a head at a place."""
        self.used = head is not None
        if not isinstance(head, nn.Linear):
            return
        if not self.end:
            self.weight = head.weight.new_zeros(0, head.in_features)
            self.bias = head.weight.new_zeros(0)
            self.start, self.size = (table.to(head.weight.device) for table in (self.start, self.size))
        outputs, begin = head.out_features, self.end
        self.end += outputs
        self.weight, self.bias = (room(table, self.end) for table in (self.weight, self.bias))
        self.start, self.size = (room(table, row + 1) for table in (self.start, self.size))
        self.weight[begin : self.end] = head.weight
        self.bias[begin : self.end] = 0 if head.bias is None else head.bias
        self.start[row], self.size[row] = begin, outputs
        self.widest = max(self.widest, outputs)

    def drop(self, row: int) -> None:
        """Close the gap that a head leaves."""
        if not self.used:
            return
        begin, size = int(self.start[row]), int(self.size[row])
        for table in (self.weight, self.bias):
            table[begin : self.end - size] = table[begin + size : self.end].clone()
        self.end -= size
        self.start[self.start > begin] -= size
        self.size[row] = 0
        self.widest = int(self.size.max())

    def forward(self, features: Tensor, index: Tensor) -> Tensor:
        """`[B, F]` → `[B, widest]`; -inf where a row's head has no such output."""
        outputs = torch.arange(self.widest, device=index.device)
        missing = outputs >= self.size.index_select(0, index)[:, None]
        places = (self.start.index_select(0, index)[:, None] + outputs).masked_fill(missing, 0)
        weight = self.weight.index_select(0, places.flatten()).reshape(*places.shape, -1)
        bias = self.bias.index_select(0, places.flatten()).reshape(places.shape)
        made = torch.baddbmm(bias[:, :, None], weight, features.to(weight.dtype)[:, :, None])[:, :, 0]
        return made.masked_fill(missing, -torch.inf)

    def trimmed(self, made: Iterable[Tensor], rows: list[int]) -> list[Tensor]:
        """Each output without what its head has not."""
        sizes = self.size.tolist()
        return [one[..., : sizes[row]] for one, row in zip(made, rows, strict=True)]


def room(table: Tensor, size: int) -> Tensor:
    """A table with at least so many rows."""
    if len(table) >= size:
        return table
    larger = table.new_zeros(max(size, int(size * GROWTH)), *table.shape[1:])
    larger[: len(table)] = table
    return larger
