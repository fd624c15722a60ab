"""What the demonstration of tasks trains, apart from its report: a process that trains imports no more than this."""

from ._plan import Compare, Entry, Plan, check_choices, one_of, plan
from ._trainings import BACKBONE, Bench, Training

__all__ = ["BACKBONE", "Bench", "Compare", "Entry", "Plan", "Training", "check_choices", "one_of", "plan"]
