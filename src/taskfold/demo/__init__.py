"""The main job on real data: several tasks on one backbone, methods side by side, proofs, a report."""

from ._plan import Compare, Entry, Plan, plan
from ._run import run_demo

__all__ = ["Compare", "Entry", "Plan", "plan", "run_demo"]
