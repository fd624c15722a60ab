"""Where a factor meets a layer: which layers, seen as which tensors, and how they are run."""

from ._ahead import ahead
from ._attention import Attention
from ._banked import Banked, kind_of, padded
from ._branches import Branched, Branches
from ._forms import Execution, Form, check_execution
from ._own import Everything, Norms, Own, OwnState, Rest
from ._selection import Groups, Selection, current, selecting
from ._sites import Composition, Site, SiteState, fit
from ._skeleton import set_mode, sites_of, skeleton
from ._spread import PLAIN, spread, worth_sharing
from ._stages import stages
from ._stand_in import stand_in
from ._standing import STATISTICS, grouped, groups_of_bank, inventory_of, kinds_of, statistics_of
from ._traits import Traits, goes_by_rows
from ._update import Update, WeightUpdate, updates_of
from ._watch import Watch, recomputes
from ._where import Convolutions, Linears, Patterns, Target, View, Weights, Where, matches, writes_text

__all__ = [
    "PLAIN",
    "STATISTICS",
    "Attention",
    "Banked",
    "Branched",
    "Branches",
    "Composition",
    "Convolutions",
    "Everything",
    "Execution",
    "Form",
    "Groups",
    "Linears",
    "Norms",
    "Own",
    "OwnState",
    "Patterns",
    "Rest",
    "Selection",
    "Site",
    "SiteState",
    "Target",
    "Traits",
    "Update",
    "View",
    "Watch",
    "WeightUpdate",
    "Weights",
    "Where",
    "ahead",
    "check_execution",
    "current",
    "fit",
    "goes_by_rows",
    "grouped",
    "groups_of_bank",
    "inventory_of",
    "kind_of",
    "kinds_of",
    "matches",
    "padded",
    "recomputes",
    "selecting",
    "set_mode",
    "sites_of",
    "skeleton",
    "spread",
    "stages",
    "stand_in",
    "statistics_of",
    "updates_of",
    "worth_sharing",
    "writes_text",
]
