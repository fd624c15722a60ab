"""The main jobs on real data, methods side by side, with proofs and a report."""

from ._demos import DEMOS
from ._plan import Compare, Entry, Plan, plan
from ._routing_data import words_of
from ._routing_plan import Contender, RoutingPlan, Way, contenders, routing_plan
from ._routing_results import routing_document
from ._routing_run import run_routing_demo
from ._routing_stages import Bench
from ._run import run_demo

__all__ = [
    "DEMOS",
    "Bench",
    "Compare",
    "Contender",
    "Entry",
    "Plan",
    "RoutingPlan",
    "Way",
    "contenders",
    "plan",
    "routing_document",
    "routing_plan",
    "run_demo",
    "run_routing_demo",
    "words_of",
]
