"""Where dense data comes from: one file per kind of source, one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union

from pydantic import Field, TypeAdapter

from ._base import DenseSource
from .aligned import Aligned as Aligned
from .coco import CocoInstances as CocoInstances
from .coco import InstanceSample as InstanceSample
from .nyud_mt import NyudMt as NyudMt
from .nyuv2 import NYUv2 as NYUv2

if TYPE_CHECKING:
    AnyDenseSource: TypeAlias = DenseSource
else:
    AnyDenseSource = Annotated[Union[tuple(DenseSource.__subclasses__())], Field(discriminator="kind")]  # noqa: UP007
    """Any of the sources of pixel targets, as a field of a pydantic model: told apart by `kind`."""


def parse_dense_source(settings: Mapping[str, Any]) -> DenseSource:
    """A source from its settings, as a configuration file gives them.

    Raises:
        pydantic.ValidationError: names the key, the value found and what is allowed.

    Example:
        >>> parse_dense_source({"kind": "nyuv2", "root": "nyu"}).kind
        'nyuv2'
    """
    return TypeAdapter(AnyDenseSource).validate_python(dict(settings))


__all__ = [
    "Aligned",
    "AnyDenseSource",
    "CocoInstances",
    "DenseSource",
    "InstanceSample",
    "NYUv2",
    "NyudMt",
    "parse_dense_source",
]
