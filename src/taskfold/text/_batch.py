"""Batches of text rows for the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

IGNORED = -100


@dataclass(frozen=True)
class TextBatch:
    """Rows of token ids: one per answer choice of an example, the true target first; one row without choices.

    Attributes:
        inputs: the network's arguments, each `[rows, length]`.
        labels: `[rows, L]`, the token that the logits at this position should predict, without a shift; -100 for
            unscored tokens (padding, and the input of a decoder-only network).
        example: `[rows]`, the example that each row belongs to, in order.
        correct: `[rows]`, whether the row holds its example's true target.
        counts: the number of rows of each example.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    example: Tensor
    correct: Tensor
    counts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.counts)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> TextBatch:
        """The batch on a device."""
        return replace(
            self,
            inputs={name: tensor.to(device, non_blocking=non_blocking) for name, tensor in self.inputs.items()},
            labels=self.labels.to(device, non_blocking=non_blocking),
            example=self.example.to(device, non_blocking=non_blocking),
            correct=self.correct.to(device, non_blocking=non_blocking),
        )

    def row_tasks(self, tasks: str | Sequence[str]) -> list[str]:
        """The task of each row, from one name per example, or one for all.

        Raises:
            ValueError: the numbers of names and examples differ.
        """
        names = per_example(tasks, len(self))
        return [name for name, count in zip(names, self.counts, strict=True) for _ in range(count)]


def per_example(tasks: str | Sequence[str], examples: int) -> list[str]:
    """One task name per example; a single name stands for all.

    Raises:
        ValueError: the numbers of names and examples differ.
    """
    names = [tasks] * examples if isinstance(tasks, str) else list(tasks)
    if len(names) != examples:
        raise ValueError(f"tasks must be one name per example: {examples} examples, found {len(names)} names")
    return names
