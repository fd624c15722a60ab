from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from ..reach import why
from ..tasks import feature_width
from ._descriptions import DESCRIBED, describe
from ._image_processor import image_settings
from ._kinds import kind_of
from ._loaded import BackboneError, LoadedBackbone, Request, cannot_fetch, construct, extra
from ._place import Place
from ._pooling import pooling
from ._tokenizer import tokenizer
from ._weights import fill, read_state


def hugging_face(request: Request) -> LoadedBackbone:
    """`hf:NAME` from the hub or its cache, `hf:FOLDER` from a folder with a config.json or one GGUF file.

    A model that generates text keeps its language head; others have no head. Without published weights,
    described names need no internet.

    Features are the pooler's if its weights were trained, else the class token's, else the mean over positions.
    """
    library = extra("transformers", "text")
    place = Place.of(request)
    config = _configuration(library, request, place)
    kind = kind_of(library, config)
    auto, pooler = getattr(library, kind.auto), True
    if request.published:
        try:
            with _quiet(library):
                network, found = auto.from_pretrained(place.name, output_loading_info=True, **place.options)
        except (OSError, ValueError) as error:
            raise cannot_fetch(f"hf:{request.name}", error) from error
        pooler = _pooler_is_trained(request.name, found)
    else:
        network = construct(lambda: auto.from_config(config), request.meta)
        _untie(network, config)
    if request.weights:
        pooler = _load(network, request.weights)
    return LoadedBackbone(
        network,
        num_features=feature_width(network),
        preprocessing=image_settings(library, place.name, config) if not request.meta else None,
        features=pooling(network, kind.generative, pooler),
        tokenizer=tokenizer(library, place, config.model_type, kind.generative),
        generative=kind.generative,
    )


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Hides the bar of loading weights, if stderr is not a terminal."""
    logging = library.utils.logging
    hide = logging.is_progress_bar_enabled() and not sys.stderr.isatty()
    if hide:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if hide:
            logging.enable_progress_bar()


def _configuration(library: Any, request: Request, place: Place) -> Any:
    known = None if request.published or place.is_folder else describe(request.name)
    fetch = partial(library.AutoConfig.from_pretrained, place.name, **place.options)
    try:
        return fetch() if known is None else fetch(local_files_only=True)
    except (OSError, ValueError) as error:
        if known is not None:
            return library.AutoConfig.for_model(**known)
        if request.published:
            raise cannot_fetch(f"hf:{request.name}", error) from error
        near = difflib.get_close_matches(request.name, DESCRIBED, 3) or DESCRIBED[:8]
        raise BackboneError(
            f"backbone 'hf:{request.name}': its configuration cannot be fetched "
            f"({why(error)}); give a folder with a config.json, or a name that needs no "
            f"network, such as {', '.join(near)}"
        ) from error


def _untie(network: Any, config: Any) -> None:
    """Unties the language head of T5 1.1, which newer versions of transformers tie unless weights say otherwise."""
    if getattr(config, "scale_decoder_outputs", True):
        return
    head = network.get_output_embeddings()
    if head is not None and head.weight is network.get_input_embeddings().weight:
        head.weight = nn.Parameter(head.weight.detach().clone())


def _pooler_is_trained(name: str, found: Any) -> bool:
    missing = sorted(str(key) for key in found["missing_keys"])
    if absent := [key for key in missing if not key.startswith("pooler.")]:
        raise BackboneError(f"backbone 'hf:{name}': its weights lack {len(absent)} tensors, such as {absent[0]}")
    return not missing


def _load(network: Any, path: Path) -> bool:
    """Loads weights with or without a head; returns whether they include a pooler."""
    state, mine = read_state(path), network.state_dict()
    prefix = f"{network.base_model_prefix}."
    inside = {key: tensor for key, tensor in state.items() if key.startswith(prefix)}
    if not any(key.startswith(prefix) for key in mine):  # no head here, but perhaps in the file
        state = {key.removeprefix(prefix): tensor for key, tensor in inside.items()} or state
    elif not inside:  # a head here, but none in the file: enough if it is tied
        state = {f"{prefix}{key}": tensor for key, tensor in state.items()}
    pooler = {key: tensor for key, tensor in mine.items() if key.startswith("pooler.")}
    fill(network, {**pooler, **state}, str(path))
    return pooler.keys() <= state.keys()
