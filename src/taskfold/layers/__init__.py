"""Where a factor meets a layer: which layers, seen as which tensors, and how they are run."""

from ._ahead import ahead
from ._attention import Attention
from ._linearity import is_additive
from ._own import Everything, Norms, Own, OwnState
from ._selection import Groups, Selection, current, selecting
from ._sites import Composition, Site, SiteState, fit
from ._skeleton import set_mode, sites_of, skeleton
from ._stand_in import stand_in
from ._update import Update, WeightUpdate, inventory_of, updates_of
from ._watch import Watch
from ._where import Convolutions, Linears, Patterns, Target, View, Where, matches, writes_text

__all__ = [
    "Attention",
    "Composition",
    "Convolutions",
    "Everything",
    "Groups",
    "Linears",
    "Norms",
    "Own",
    "OwnState",
    "Patterns",
    "Selection",
    "Site",
    "SiteState",
    "Target",
    "Update",
    "View",
    "Watch",
    "WeightUpdate",
    "Where",
    "ahead",
    "current",
    "fit",
    "inventory_of",
    "is_additive",
    "matches",
    "selecting",
    "set_mode",
    "sites_of",
    "skeleton",
    "stand_in",
    "updates_of",
    "writes_text",
]
