"""Sources of images: one file per kind, one line here; packages add others (`taskfold.plugins`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Union

from pydantic import Field, TypeAdapter

from ...plugins import kinds_of
from ._base import Parts, Source, existing_folder
from .cifar import Cifar as Cifar
from .csv_file import CsvFile as CsvFile
from .domainnet import DomainNet as DomainNet
from .dtd import Dtd as Dtd
from .fer2013 import Fer2013 as Fer2013
from .folder import Folder as Folder
from .hugging_face import HuggingFace as HuggingFace
from .packaged import Packaged as Packaged
from .python import Python as Python
from .sketch import ImageNetToSketch as ImageNetToSketch
from .stl10 import Stl10 as Stl10


def parse_source(settings: Mapping[str, Any]) -> Source:
    """A source from its settings, as a configuration file gives them.

    Raises:
        pydantic.ValidationError: a setting is wrong; the message has key, value found and allowed values.

    Example:
        >>> parse_source({"kind": "packaged", "name": "digits"}).origin
        'packaged:digits'
    """
    known: Any = Annotated[Union[tuple(kinds_of(Source).values())], Field(discriminator="kind")]  # noqa: UP007
    return TypeAdapter(known).validate_python(dict(settings))


__all__ = ["Parts", "Source", "existing_folder", "parse_source"]
