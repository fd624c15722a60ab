"""Where data comes from: one file per kind of source, one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union

from pydantic import Field, TypeAdapter

from ._base import Parts, Source
from .cifar import Cifar as Cifar
from .csv_file import CsvFile as CsvFile
from .domainnet import DomainNet as DomainNet
from .dtd import Dtd as Dtd
from .fer2013 import Fer2013 as Fer2013
from .folder import Folder as Folder
from .hugging_face import HuggingFace as HuggingFace
from .packaged import Packaged as Packaged
from .sketch import ImageNetToSketch as ImageNetToSketch
from .stl10 import Stl10 as Stl10

if TYPE_CHECKING:
    AnySource: TypeAlias = Source
else:
    AnySource = Annotated[Union[tuple(Source.__subclasses__())], Field(discriminator="kind")]  # noqa: UP007
    """Any of the sources above, as a field of a pydantic model: told apart by `kind`."""


def parse_source(settings: Mapping[str, Any]) -> Source:
    """A source from its settings, as a configuration file gives them.

    Raises:
        pydantic.ValidationError: names the key, the value found and what is allowed.

    Example:
        >>> parse_source({"kind": "packaged", "name": "digits"}).origin
        'packaged:digits'
    """
    return TypeAdapter(AnySource).validate_python(dict(settings))


__all__ = ["AnySource", "Parts", "Source", "parse_source"]
