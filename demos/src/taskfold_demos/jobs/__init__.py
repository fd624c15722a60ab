"""The main jobs on real data, methods side by side, with proofs and a report."""

from ..trainings import Compare, Entry, Plan, plan
from ._demos import DEMOS
from ._dense_plan import SINGLE, DenseContender, DensePlan, dense_contenders, dense_plan
from ._dense_results import dense_document
from ._dense_run import run_dense_demo
from ._dense_stages import DenseBench
from ._routing_data import words_of
from ._routing_plan import Contender, RoutingPlan, Way, contenders, routing_plan
from ._routing_results import routing_document
from ._routing_run import run_routing_demo
from ._routing_stages import Bench
from ._run import run_demo

__all__ = [
    "DEMOS",
    "SINGLE",
    "Bench",
    "Compare",
    "Contender",
    "DenseBench",
    "DenseContender",
    "DensePlan",
    "Entry",
    "Plan",
    "RoutingPlan",
    "Way",
    "contenders",
    "dense_contenders",
    "dense_document",
    "dense_plan",
    "plan",
    "routing_document",
    "routing_plan",
    "run_demo",
    "run_dense_demo",
    "run_routing_demo",
    "words_of",
]
