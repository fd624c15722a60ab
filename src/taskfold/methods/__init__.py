"""The named compositions. A new method is one file here and one line below."""

from typing import TYPE_CHECKING

from ._adaptformer import *
from ._adashare import *
from ._allocator import Allocator as Allocator
from ._astmt import *
from ._ba2 import *
from ._base import Method as Method
from ._base import build as build
from ._base import method_of as method_of
from ._base import names as names
from ._base import register as _register
from ._bitfit import *
from ._bottleneck_adapter import *
from ._budgeted import Budgeted as Budgeted
from ._compacter import *
from ._dora import *
from ._fine_tuning import *
from ._fishmask import *
from ._fourierft import *
from ._ftn import *
from ._ftn_attention import *
from ._hard_sharing import *
from ._head_only import *
from ._ia3 import *
from ._kadaptation import *
from ._layernorm import *
from ._lora import *
from ._over_parameterised import *
from ._packnet import *
from ._parallel_adapter import *
from ._phases import Phase as Phase
from ._phases import Turn as Turn
from ._phases import check_phases as check_phases
from ._phases import epochs_of as epochs_of
from ._piggyback import *
from ._poly import *
from ._prefix import *
from ._prompt import *
from ._rank_allocator import RankAllocator as RankAllocator
from ._rank_policies import RankPolicy as RankPolicy
from ._rcm import *
from ._said import *
from ._series_adapter import *
from ._spottune import *
from ._ssf import *
from ._svft import *
from ._taps import *
from ._tensor_poly import *
from ._wtpb import *

if not TYPE_CHECKING:  # type checkers read the lines above; from a list made at run time they would learn less
    __all__ = [
        "Allocator",
        "Budgeted",
        "Method",
        "Phase",
        "RankAllocator",
        "RankPolicy",
        "Turn",
        "build",
        "check_phases",
        "epochs_of",
        "method_of",
        "names",
        *_register(globals()),
    ]
