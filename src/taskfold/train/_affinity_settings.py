from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Measure = Literal["linear", "lookahead", "cosine"]


class AffinitySettings(BaseModel):
    """How affinity between tasks is measured, and grouped by.

    Example:
        >>> AffinitySettings(steps=40, every=10).measurements
        4
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=100, ge=2, description="Steps of the short joint training.")
    every: int = Field(default=10, ge=1, description="Steps between two measurements.")
    samples: int = Field(default=32, ge=1, description="Samples per task, for its step and again for its loss.")
    lookahead: bool = Field(default=True, description="Also take each step; a forward pass per pair of tasks.")
    by: Measure = Field(default="linear", description="The measure by which groups are proposed.")
    groups: int | None = Field(default=None, ge=1, description="Number of groups; null: the best number.")

    @property
    def measurements(self) -> int:
        """The number of measurements."""
        return self.steps // self.every

    @model_validator(mode="after")
    def _several(self) -> AffinitySettings:
        if self.measurements < 2:
            raise ValueError(
                f"steps={self.steps} and every={self.every} make {self.measurements} measurements, and an interval "
                "needs two at the least; raise steps, or lower every"
            )
        if self.by == "lookahead" and not self.lookahead:
            raise ValueError("by='lookahead' needs lookahead=True; leave one of them out")
        return self
