"""One optimiser for each group of parameters, under one schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from .settings import OptimizerSettings, Settings


def factor(settings: Settings, step: int, steps: int) -> float:
    """The factor, 0 to 1, on every learning rate at a step (from 0).

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
    """The optimisers of all trained groups of parameters.

    Args:
        groups: parameters by group, none empty.
        chosen: the optimiser of each group.
        settings: have the schedule and the clipping.
        accelerator: prepared for the settings' precision.
        steps: the steps of the whole training.
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
        """Step along the gradients. A parameter without a gradient keeps its bits: no momentum or decay moves it."""
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
            return  # a batch without a target gives the scaler no gradients
        # Accelerate's wrapper updates the scale after each optimiser, which is too often for two optimisers.
        for optimiser in self._by_group.values():
            scaler.unscale_(optimiser)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm or math.inf)
        if torch.isfinite(norm):
            for optimiser in self._by_group.values():
                optimiser.step()
        scaler.update()

    def clear(self) -> None:
        for optimiser in self._by_group.values():
            optimiser.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """The state that the next step depends on."""
        scaler = self.accelerator.scaler
        states = {group: optimiser.state_dict() for group, optimiser in self._by_group.items()}
        return {"optimisers": states, "scaler": scaler.state_dict() if scaler is not None else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for group, optimiser in self._by_group.items():
            optimiser.load_state_dict(state["optimisers"][group])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
