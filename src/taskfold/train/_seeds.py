"""Seeds from numbers and names."""

from __future__ import annotations

import random
from hashlib import blake2b

import numpy as np
import torch


def mixed(*parts: int | str) -> int:
    """A seed of 32 bits from numbers and names."""
    return int.from_bytes(blake2b("/".join(map(str, parts)).encode(), digest_size=4).digest())


def reseed(*parts: int | str) -> None:
    """Seed every global generator (Python, NumPy, torch) from these numbers."""
    seed = mixed(*parts)
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    # Like torch.manual_seed, which also keeps a stack trace per call for each accelerator that is not in use.
    for accelerator in (torch.cuda, torch.xpu):
        if accelerator.is_initialized():
            accelerator.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
