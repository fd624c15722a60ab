"""Sources of dense data: one file per kind, one line here; packages add others (`taskfold.plugins`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Union

from pydantic import Field, TypeAdapter

from ...plugins import kinds_of
from ._base import IMAGES, DenseSource, files
from .aligned import Aligned as Aligned
from .coco import CocoInstances as CocoInstances
from .coco import InstanceSample as InstanceSample
from .nyud_mt import NyudMt as NyudMt
from .nyuv2 import NYUv2 as NYUv2


def parse_dense_source(settings: Mapping[str, Any]) -> DenseSource:
    """A source from its settings, as a configuration file gives them.

    Raises:
        pydantic.ValidationError: a setting is wrong; the message has key, value found and allowed values.

    Example:
        >>> parse_dense_source({"kind": "nyuv2", "root": "nyu"}).kind
        'nyuv2'
    """
    known: Any = Annotated[Union[tuple(kinds_of(DenseSource).values())], Field(discriminator="kind")]  # noqa: UP007
    return TypeAdapter(known).validate_python(dict(settings))


__all__ = [
    "IMAGES",
    "Aligned",
    "CocoInstances",
    "DenseSource",
    "InstanceSample",
    "NYUv2",
    "NyudMt",
    "files",
    "parse_dense_source",
]
