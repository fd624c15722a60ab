from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ._loaded import BackboneError, Generative
from ._place import Place

_FILES = ("tokenizer*", "*.model", "vocab*", "*.gguf")


def tokenizer(library: Any, place: Place, kind: str, generative: Generative | None) -> Callable[[], Any] | None:
    """A function that loads the tokenizer beside a text model; None: not a text model."""
    of_text = generative is not None or kind in library.models.auto.tokenization_auto.TOKENIZER_MAPPING_NAMES
    if not of_text:
        return None
    return partial(_load, library, place, generative)


def _load(library: Any, place: Place, generative: Generative | None) -> Any:
    # Decoders continue at the last position, where padding must not be.
    options = {"padding_side": "left"} if generative == "causal" else {}
    try:
        if place.is_folder and not any(file for name in _FILES for file in Path(place.name).glob(name)):
            raise OSError("the folder has no files of one")  # or some classes begin with an empty vocabulary
        made = library.AutoTokenizer.from_pretrained(place.name, **place.options, **options)
    except (OSError, ValueError, ImportError) as error:
        raise BackboneError(
            f"backbone 'hf:{place.name}': its tokenizer cannot be loaded ({str(error).strip().partition(chr(10))[0]}); "
            "put tokenizer.json and tokenizer_config.json beside the model, or bring a tokenizer of your own"
        ) from error
    if made.pad_token is None and made.eos_token is not None:
        made.pad_token = made.eos_token
    return made
