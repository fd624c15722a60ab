"""Interventions: what a task's tensors do at a layer, one file for each. No other room interprets the tensors."""

from ._across import Across
from ._adapter import Activation, Adapter
from ._base import Call, Intervention, Layer, Shapes, padded, stacked
from ._before import Before, FirstRows
from ._beside import Beside
from ._branches import Branches, branches_of, merged
from ._change import Change
from ._choose import Choose
from ._forms import Execution, Form, Load, check_execution, form_at
from ._masks import added_to, entries_of, mask_on, scalars_on
from ._mix import EPSILON, Mix
from ._scale import Scale
from ._scale_input import ScaleInput
from ._squeeze_excite import SqueezeExcite

__all__ = [
    "EPSILON",
    "Across",
    "Activation",
    "Adapter",
    "Before",
    "Beside",
    "Branches",
    "Call",
    "Change",
    "Choose",
    "Execution",
    "FirstRows",
    "Form",
    "Intervention",
    "Layer",
    "Load",
    "Mix",
    "Scale",
    "ScaleInput",
    "Shapes",
    "SqueezeExcite",
    "added_to",
    "branches_of",
    "check_execution",
    "entries_of",
    "form_at",
    "mask_on",
    "merged",
    "padded",
    "scalars_on",
    "stacked",
]
