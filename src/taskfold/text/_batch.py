"""A batch of text rows, ready for the network."""

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
        inputs: what the network is called with, each `[rows, length]`.
        labels: `[rows, L]`, the token that the logits at this place should give, so nothing needs shifting; -100 where
            nothing is scored (padding, and what a decoder-only network merely reads).
        example: `[rows]`, the example that each row belongs to, in order.
        correct: `[rows]`, whether the row holds its example's true target.
        counts: rows of each example.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    example: Tensor
    correct: Tensor
    counts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.counts)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> TextBatch:
        """The same batch on that device."""
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
            ValueError: there are not as many names as examples.
        """
        names = per_example(tasks, len(self))
        return [name for name, count in zip(names, self.counts, strict=True) for _ in range(count)]


def per_example(tasks: str | Sequence[str], examples: int) -> list[str]:
    """One task name per example; a single name stands for all."""
    names = [tasks] * examples if isinstance(tasks, str) else list(tasks)
    if len(names) != examples:
        raise ValueError(f"tasks must be one name per example: {examples} examples, found {len(names)} names")
    return names
