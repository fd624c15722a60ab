"""Tasks at layers: recipes make parts, sites run them."""

from ..tasks import Inventory, Leaves
from ._absent import AbsentError, absent_in
from ._adapters import AdapterInit, Adapters
from ._added_biases import AddedBiases
from ._ahead import ahead
from ._answers import OfTable, OfTasks, Table, stack_of
from ._attention import Attention, Matrices
from ._biases import Biases
from ._blocks import SecondConvolutions, SqueezeExcites
from ._branched import ConvolutionBranches
from ._calls import Calls
from ._columns import Plan
from ._components import Components, at_first, components_of, keep_components, numbers_of
from ._copied import Copied
from ._copies import Copies, Everything, LayerNorms, Norms, OwnTensors, Rest, Statistics, check_statistics, own_norms
from ._cut import PLAIN, Cut, NotCutError
from ._everywhere import Everywhere
from ._factored import Factored, updates_of
from ._feed_forward import FeedForwards
from ._form import Form, module_at, odds_in
from ._gains import InputGains, OutputGains, ProjectionGains
from ._gates import Gated, Gates, Schedule, gates_of
from ._guard import Guard, Unwritten, check_unwritten, memory_of
from ._hooks import HookChangesError, Hooks, Registered, are, hearing
from ._inside import inside
from ._layout import (
    ALL,
    ENTRIES,
    FIRST,
    TOLERANCE,
    TOLERANCES,
    Layout,
    Mark,
    Moves,
    Seen,
    directions,
    in_vmap,
    is_blind,
    is_same,
    unwrapped,
)
from ._left import GONE, OthersStateError, filed, first_states, is_kept, refile, states_as_before
from ._mixes import Reparameterisations, SeriesAdapters, SeriesInit
from ._multiplied import Multiplied, multipliers_of
from ._notes import Marked, Notes, Passes, Tracers
from ._nothing import GeometryError, NothingToAdaptError
from ._origin import Origins
from ._outlasting import Outlasting
from ._owned import FILED, Owned, Owners, Standing, check_leaving, owned_in
from ._part import (
    SERVING,
    LayerParts,
    Part,
    Place,
    When,
    as_stored,
    forms_of,
    groups_of_inventory,
    inventory_of,
    layers_of,
    own_groups,
    parts_of,
    silent_of,
    statistics_of,
    stood_on,
    stored_of,
)
from ._path import OnPath, OtherPathError, Unmoved, as_traced
from ._places import Places
from ._policy import Policed, Policies
from ._pre_norm import PreNormBlocks
from ._prefix import Prefix, Recorded, drawn
from ._prefixes import Prefixes
from ._projected import Projections
from ._prompts import PromptInit, Prompts
from ._put_out import Made, PrefixError
from ._reading import telling
from ._recipe import Composition, Fitting, Recipe, check_alike, check_once, fit, scope_of, several
from ._residual import MainConvolutions, Shortcuts, check_shortcuts, copied_shortcuts
from ._residual_blocks import residual_blocks
from ._ruled import Direct, Ruled, leaves_of
from ._scales import ScaleInit, Scales
from ._selection import RowsUnknownError, Selection, Stack, running, selecting
from ._sequences import token_sequences
from ._sites import Site
from ._skeleton import begun, caches, copy_again, follow, in_mode, kept_of, rebind, sites_of, skeleton
from ._sparse import Sparse, SparseUpdates, choose_by_fisher
from ._spread import sharing_passes, spread, worth_sharing
from ._stages import frozen, stages
from ._told import Told, not_followed, unseen
from ._update import Update
from ._watch import Watch, recomputes
from ._where import (
    Convolutions,
    Embeddings,
    Every,
    Linears,
    Recurrents,
    Target,
    View,
    Weights,
    Where,
    output_layer,
    units,
    writes_text,
)

__all__ = [
    "ALL",
    "ENTRIES",
    "FILED",
    "FIRST",
    "GONE",
    "PLAIN",
    "SERVING",
    "TOLERANCE",
    "TOLERANCES",
    "AbsentError",
    "AdapterInit",
    "Adapters",
    "AddedBiases",
    "Attention",
    "Biases",
    "Calls",
    "Components",
    "Composition",
    "ConvolutionBranches",
    "Convolutions",
    "Copied",
    "Copies",
    "Cut",
    "Direct",
    "Embeddings",
    "Every",
    "Everything",
    "Everywhere",
    "Factored",
    "FeedForwards",
    "Fitting",
    "Form",
    "Gated",
    "Gates",
    "GeometryError",
    "Guard",
    "HookChangesError",
    "Hooks",
    "InputGains",
    "Inventory",
    "LayerNorms",
    "LayerParts",
    "Layout",
    "Leaves",
    "Linears",
    "Made",
    "MainConvolutions",
    "Mark",
    "Marked",
    "Matrices",
    "Moves",
    "Multiplied",
    "Norms",
    "NotCutError",
    "Notes",
    "NothingToAdaptError",
    "OfTable",
    "OfTasks",
    "OnPath",
    "Origins",
    "OtherPathError",
    "OthersStateError",
    "Outlasting",
    "OutputGains",
    "OwnTensors",
    "Owned",
    "Owners",
    "Part",
    "Passes",
    "Place",
    "Places",
    "Plan",
    "Policed",
    "Policies",
    "PreNormBlocks",
    "Prefix",
    "PrefixError",
    "Prefixes",
    "ProjectionGains",
    "Projections",
    "PromptInit",
    "Prompts",
    "Recipe",
    "Recorded",
    "Recurrents",
    "Registered",
    "Reparameterisations",
    "Rest",
    "RowsUnknownError",
    "Ruled",
    "ScaleInit",
    "Scales",
    "Schedule",
    "SecondConvolutions",
    "Seen",
    "Selection",
    "SeriesAdapters",
    "SeriesInit",
    "Shortcuts",
    "Site",
    "Sparse",
    "SparseUpdates",
    "SqueezeExcites",
    "Stack",
    "Standing",
    "Statistics",
    "Table",
    "Target",
    "Told",
    "Tracers",
    "Unmoved",
    "Unwritten",
    "Update",
    "View",
    "Watch",
    "Weights",
    "When",
    "Where",
    "absent_in",
    "ahead",
    "are",
    "as_stored",
    "as_traced",
    "at_first",
    "begun",
    "caches",
    "check_alike",
    "check_leaving",
    "check_once",
    "check_shortcuts",
    "check_statistics",
    "check_unwritten",
    "choose_by_fisher",
    "components_of",
    "copied_shortcuts",
    "copy_again",
    "directions",
    "drawn",
    "filed",
    "first_states",
    "fit",
    "follow",
    "forms_of",
    "frozen",
    "gates_of",
    "groups_of_inventory",
    "hearing",
    "in_mode",
    "in_vmap",
    "inside",
    "inventory_of",
    "is_blind",
    "is_kept",
    "is_same",
    "keep_components",
    "kept_of",
    "layers_of",
    "leaves_of",
    "memory_of",
    "module_at",
    "multipliers_of",
    "not_followed",
    "numbers_of",
    "odds_in",
    "output_layer",
    "own_groups",
    "own_norms",
    "owned_in",
    "parts_of",
    "rebind",
    "recomputes",
    "refile",
    "residual_blocks",
    "running",
    "scope_of",
    "selecting",
    "several",
    "sharing_passes",
    "silent_of",
    "sites_of",
    "skeleton",
    "spread",
    "stack_of",
    "stages",
    "states_as_before",
    "statistics_of",
    "stood_on",
    "stored_of",
    "telling",
    "token_sequences",
    "units",
    "unseen",
    "unwrapped",
    "updates_of",
    "worth_sharing",
    "writes_text",
]
