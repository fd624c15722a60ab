"""Text tasks as a configuration file says them: where examples come from, how they are read, scored and measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union

from pydantic import Field, TypeAdapter

from ._text_data import TextData, TextSource
from ._text_settings import Losses, TextSettings
from ._text_sources import T0, Examples, Lemmas, Topics

__all__ = [
    "T0",
    "AnyTextSource",
    "Examples",
    "Lemmas",
    "Losses",
    "TextData",
    "TextSettings",
    "TextSource",
    "Topics",
    "parse_text_source",
]

if TYPE_CHECKING:
    AnyTextSource: TypeAlias = TextSource
else:
    AnyTextSource = Annotated[Union[tuple(TextSource.__subclasses__())], Field(discriminator="kind")]  # noqa: UP007
    """Any of the sources above, as a field of a pydantic model."""


def parse_text_source(settings: Mapping[str, Any]) -> TextSource:
    """A source from its settings.

    Raises:
        pydantic.ValidationError: names the key, the value found and what is allowed.

    Example:
        >>> parse_text_source({"kind": "lemmas", "language": "nl"}).origin
        'lemmas:nl'
    """
    return TypeAdapter(AnyTextSource).validate_python(dict(settings))
