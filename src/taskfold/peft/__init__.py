"""Reads and writes adapters in PEFT's format, without PEFT."""

from ._adapter import AdapterError
from ._fourier import FourierFt
from ._ln_tuning import LnTuning
from ._lora import Lora
from ._poly import Poly
from ._products import LoHa, LoKr, Vera
from ._prompts import PrefixTuningType, PromptTuningType
from ._scales import Ia3
from ._types import AdapterType, Imported, read_adapter
from ._write import LowRankUpdate, low_rank_of, write_adapter

__all__ = [
    "AdapterError",
    "AdapterType",
    "FourierFt",
    "Ia3",
    "Imported",
    "LnTuning",
    "LoHa",
    "LoKr",
    "Lora",
    "LowRankUpdate",
    "Poly",
    "PrefixTuningType",
    "PromptTuningType",
    "Vera",
    "low_rank_of",
    "read_adapter",
    "write_adapter",
]
