"""The named compositions. A new method is one file here and one line below."""

from ._base import Method, build, names
from ._fine_tuning import FineTuning
from ._ftn import FTN
from ._ftn_attention import FTNOutput, FTNQueryValue
from ._head_only import HeadNorm, HeadOnly
from ._lora import LoRA

__all__ = [
    "FTN",
    "FTNOutput",
    "FTNQueryValue",
    "FineTuning",
    "HeadNorm",
    "HeadOnly",
    "LoRA",
    "Method",
    "build",
    "names",
]
