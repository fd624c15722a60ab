"""One optimiser per group of parameters, under one schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from .settings import OptimizerSettings, Settings


def factor(settings: Settings, step: int, steps: int) -> float:
    """What every learning rate is multiplied by at a step (from 0), between 0 and 1.

    Example:
        >>> settings = Settings(warmup=0.2, schedule="linear")
        >>> [factor(settings, step, 10) for step in (0, 1, 2, 6)]
        [0.5, 1.0, 1.0, 0.5]
    """
    rising = round(settings.warmup * steps)
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(steps - rising, 1)
    return {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[settings.schedule]


class Optimisers:
    """The optimisers of all groups of parameters that train.

    Args:
        groups: parameters by group, none empty.
        chosen: the optimiser of each group.
        settings: of the schedule, and of clipping.
        accelerator: prepared for the settings' precision.
        steps: of the whole training.
    """

    def __init__(
        self,
        groups: Mapping[str, list[nn.Parameter]],
        chosen: Mapping[str, OptimizerSettings],
        settings: Settings,
        accelerator: Accelerator,
        steps: int,
    ) -> None:
        self.settings, self.accelerator, self.steps = settings, accelerator, steps
        self.parameters = [p for parameters in groups.values() for p in parameters]
        self.tops = {group: chosen[group].lr for group in groups}
        self._by_group = {group: chosen[group].build(parameters) for group, parameters in groups.items()}

    def rates(self, step: int) -> dict[str, float]:
        """The learning rate of each group at a step."""
        scale = factor(self.settings, step, self.steps)
        return {group: top * scale for group, top in self.tops.items()}

    def step(self, step: int) -> None:
        """One step along the gradients. What has none keeps its bits: no momentum, no decay moves it."""
        for group, rate in self.rates(step).items():
            for part in self._by_group[group].param_groups:
                part["lr"] = rate
        if self.accelerator.scaler is not None:
            self._step_scaled(self.accelerator.scaler)
            return
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm)
        for optimiser in self._by_group.values():
            optimiser.step()

    def _step_scaled(self, scaler: torch.amp.GradScaler) -> None:
        if all(parameter.grad is None for parameter in self.parameters):
            return  # a batch without a target; the scaler has nothing to judge by
        # Accelerate's wrapper updates the scale after each optimiser: once too often for the second.
        for optimiser in self._by_group.values():
            scaler.unscale_(optimiser)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm or math.inf)
        if torch.isfinite(norm):
            for optimiser in self._by_group.values():
                optimiser.step()
        scaler.update()

    def clear(self) -> None:
        """Forget the gradients."""
        for optimiser in self._by_group.values():
            optimiser.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        scaler = self.accelerator.scaler
        states = {group: optimiser.state_dict() for group, optimiser in self._by_group.items()}
        return {"optimisers": states, "scaler": scaler.state_dict() if scaler is not None else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        for group, optimiser in self._by_group.items():
            optimiser.load_state_dict(state["optimisers"][group])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
