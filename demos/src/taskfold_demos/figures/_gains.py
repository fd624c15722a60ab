"""Part of the results document that says what methods gain over single-task networks, seed by seed."""

from __future__ import annotations

import math
import statistics
from typing import Annotated

from pydantic import Field, model_validator

from taskfold.report.schema import Name, Part, Text


class GainRun(Part):
    """One seed: ±(M − M_single) / M_single in % by task, + for better; or why it ``failed``.

    A task may be null, not measured: then the seed has no Δm. A number that is not finite is a failure, too.
    """

    seed: int = 0
    gains: dict[Name, float | None] = Field(default_factory=dict)
    failed: Annotated[Text, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _measured_or_failed(self) -> GainRun:
        if (self.failed is None) != bool(self.gains):
            found = "both" if self.gains else "neither"
            raise ValueError(f"a run has either gains by task or says in 'failed' why it has none, found {found}")
        return self

    @property
    def failure(self) -> str | None:
        """Why there is nothing to compare, or None."""
        odd = [task for task, gain in self.gains.items() if gain is not None and not math.isfinite(gain)]
        return f"{', '.join(odd)}: not finite" if odd else self.failed

    @property
    def delta_m(self) -> float | None:
        """Δm in %: the mean over all tasks, None where one is missing or the run failed."""
        gains = [gain for gain in self.gains.values() if gain is not None]
        whole = self.failure is None and len(gains) == len(self.gains)
        return statistics.fmean(gains) if whole else None


class GainRow(Part):
    """One method and its runs, one for each seed."""

    label: Name
    runs: Annotated[tuple[GainRun, ...], Field(min_length=1)]

    def values(self, task: str | None = None) -> tuple[float, ...]:
        """The gain of every seed in one task, or Δm; failed seeds are left out."""
        runs = [run for run in self.runs if run.failure is None]
        found = [run.delta_m if task is None else run.gains[task] for run in runs]
        return tuple(value for value in found if value is not None)

    @property
    def failures(self) -> tuple[GainRun, ...]:
        """The seeds that failed."""
        return tuple(run for run in self.runs if run.failure is not None)


class Gains(Part):
    """What methods gain over ``single``, in % of its score; rows are shown in the order given.

    A row labelled as ``single`` shows the reference's own spread over seeds.
    Every run that did not fail names every task, so that Δm is the mean over the same tasks everywhere.
    """

    title: Name = "Gain over single-task networks"
    note: Text = ""
    single: Name = "single-task networks"
    tasks: Annotated[tuple[Name, ...], Field(min_length=1)]
    rows: Annotated[tuple[GainRow, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _complete(self) -> Gains:
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks must differ, found {', '.join(self.tasks)}")
        for index, row in enumerate(self.rows):
            if row.label in [other.label for other in self.rows[:index]]:
                raise ValueError(f"rows[{index}].label: {row.label!r} is there twice; labels must differ")
            seeds = [run.seed for run in row.runs]
            for place, run in enumerate(row.runs):
                name = f"rows[{index}].runs[{place}]"
                if run.seed in seeds[:place]:
                    raise ValueError(f"{name}: a second run of {row.label!r} with seed {run.seed}")
                if run.failed is None and set(run.gains) != set(self.tasks):
                    raise ValueError(
                        f"{name}.gains must name the tasks {', '.join(self.tasks)}, null for one that was not "
                        f"measured; found {', '.join(run.gains)}"
                    )
        return self
