"""Settings of a joint training."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from ._balance import Balance
from .settings import OptimizerSettings, Settings


class JointSettings(Settings):
    """Settings of a joint training: all of `Settings`, and how batches and losses combine the tasks.

    Example:
        >>> settings = JointSettings(sampling="temperature", temperature=2, max_steps=1000, steps_per_epoch=100)
    """

    sampling: Literal["proportional", "temperature", "uniform"] = Field(
        default="proportional",
        description="A task's share of each epoch: by its size, by size^(1/temperature), or equal.",
    )
    temperature: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="For sampling='temperature'; 1 is proportional."
    )
    cap: int | None = Field(
        default=None, ge=1, description="Upper limit on a task's size for its share; null: no limit."
    )
    task_weights: dict[str, float] = Field(
        default={}, description="Factors ≥ 0 on the losses of tasks; 1 for tasks that are not listed."
    )
    balance: Balance | None = Field(
        default=None, description="How gradients on shared factors are combined (TorchJD); null: added."
    )
    weighting: Literal["fixed", "uncertainty"] = Field(
        default="fixed",
        description="uncertainty: task_weights times ½·exp(−s), s learned for each task (Kendall et al., 2018).",
    )
    uncertainty: OptimizerSettings = Field(
        default=OptimizerSettings(lr=1e-2), description="The optimiser of s, for weighting='uncertainty'."
    )

    @model_validator(mode="after")
    def _weighting(self) -> JointSettings:
        if self.weighting == "uncertainty" and self.balance is not None:
            raise ValueError(
                f"balance={self.balance!r} does not go with weighting='uncertainty': one balances gradients, the other "
                "losses; choose one of them"
            )
        if self.weighting == "fixed" and self.uncertainty != type(self).model_fields["uncertainty"].default:
            raise ValueError("uncertainty is the optimiser of weighting='uncertainty'; choose that, or leave it out")
        return self

    @model_validator(mode="after")
    def _fit_each_other(self) -> JointSettings:
        if (self.sampling == "temperature") != (self.temperature is not None):
            raise ValueError(
                f"temperature={self.temperature} does not fit sampling={self.sampling!r}; give a temperature with "
                "sampling='temperature', and with no other"
            )
        if self.folds is not None:
            raise ValueError(f"folds={self.folds} is of training one task by itself (train_task); leave it out")
        for name, weight in self.task_weights.items():
            if not (weight >= 0 and math.isfinite(weight)):
                raise ValueError(f"task_weights[{name!r}]={weight} must be a number ≥ 0; give 1 to leave it as it is")
        if self.balance is not None and self.precision == "fp16":
            raise ValueError(f"balance={self.balance!r} does not go with precision='fp16'; use 'bf16' or 'no'")
        return self

    @property
    def exponent_temperature(self) -> float:
        """The temperature that `sampling` amounts to: 1 for proportional, infinite for uniform."""
        return {"proportional": 1.0, "temperature": self.temperature or 1.0, "uniform": math.inf}[self.sampling]
