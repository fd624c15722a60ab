"""What layers are asked for without a pass: what stands there in evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pass:
    """A pass, as far as a task's tensors depend on it."""

    training: bool
    progress: float = 1.0
    context: Mapping[str, object] = field(default_factory=dict)


SERVING = Pass(training=False)
"""Evaluation."""
