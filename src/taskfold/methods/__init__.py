"""The named compositions. A new method is one file here and one line below."""

from ._base import Method, build, method_of, names
from ._fine_tuning import FineTuning
from ._ftn import FTN
from ._ftn_attention import FTNOutput, FTNQueryValue
from ._hard_sharing import HardSharing
from ._head_only import HeadNorm, HeadOnly
from ._lora import LoRA, TLoRA
from ._over_parameterised import ExpandNet, OverParameterised, RepVGG
from ._phases import Phase, Turn, check_phases, epochs_of
from ._poly import MHR, Poly
from ._tensor_poly import TensorPolyI, TensorPolyII

__all__ = [
    "FTN",
    "MHR",
    "ExpandNet",
    "FTNOutput",
    "FTNQueryValue",
    "FineTuning",
    "HardSharing",
    "HeadNorm",
    "HeadOnly",
    "LoRA",
    "Method",
    "OverParameterised",
    "Phase",
    "Poly",
    "RepVGG",
    "TLoRA",
    "TensorPolyI",
    "TensorPolyII",
    "Turn",
    "build",
    "check_phases",
    "epochs_of",
    "method_of",
    "names",
]
