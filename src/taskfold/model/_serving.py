"""What layers are asked for without a pass: what stands there in evaluation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pass:
    """A pass, as far as a task's tensors depend on it."""

    training: bool
    progress: float = 1.0


SERVING = Pass(training=False)
"""Evaluation."""
