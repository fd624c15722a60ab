"""The class of a library that loads a configuration: with the language head if the model generates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ._loaded import Generative


@dataclass(frozen=True)
class Kind:
    """A row of `KINDS`.

    Attributes:
        auto: the class of transformers that builds it.
        generative: how it generates text; None: it does not.
        applies: whether a configuration is of this kind; gets the library too.
    """

    auto: str
    generative: Generative | None
    applies: Callable[[Any, Any], bool]


def kind_of(library: Any, config: Any) -> Kind:
    """The first row of `KINDS` that applies."""
    return next(kind for kind in KINDS if kind.applies(library, config))


def _encoder_decoder(library: Any, config: Any) -> bool:
    return bool(config.is_encoder_decoder) and _has_head(library, config, "SEQ_TO_SEQ_CAUSAL_LM")


def _causal(library: Any, config: Any) -> bool:
    # BERT and its kin can be run as decoders too, but are encoders unless their configuration says otherwise.
    encoder = config.model_type in _heads(library, "MASKED_LM") and not getattr(config, "is_decoder", False)
    return _has_head(library, config, "CAUSAL_LM", assume=not encoder)


def _has_head(library: Any, config: Any, head: str, assume: bool = True) -> bool:
    """Whether the architecture named in the configuration is the one with this head; `assume`: if none is named."""
    wanted = _heads(library, head).get(config.model_type)
    # Old files name classes that no longer exist (T5WithLMHeadModel), which count as no name.
    named = [name for name in config.architectures or () if getattr(library, name, None) is not None]
    return wanted is not None and (wanted in named if named else assume)


def _heads(library: Any, head: str) -> dict[str, str]:
    return getattr(library.models.auto.modeling_auto, f"MODEL_FOR_{head}_MAPPING_NAMES")


KINDS = (
    Kind("AutoModelForSeq2SeqLM", "encoder-decoder", _encoder_decoder),
    Kind("AutoModelForCausalLM", "causal", _causal),
    Kind("AutoModel", None, lambda library, config: True),
)
