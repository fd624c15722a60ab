"""Text tasks in a configuration: sources of examples, and settings for reading, scoring and measuring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Union

from pydantic import Field, TypeAdapter

from ..plugins import kinds_of
from ._text_data import TextData, TextSource
from ._text_settings import Losses, TextSettings
from ._text_sources import T0, Examples, Topics

__all__ = ["T0", "Examples", "Losses", "TextData", "TextSettings", "TextSource", "Topics", "parse_text_source"]


def parse_text_source(settings: Mapping[str, Any]) -> TextSource:
    """A source from its settings.

    Raises:
        pydantic.ValidationError: a setting is wrong; the message has key, value found and allowed values.

    Example:
        >>> parse_text_source({"kind": "examples", "file": "mail.csv"}).origin
        'examples:mail.csv'
    """
    known: Any = Annotated[Union[tuple(kinds_of(TextSource).values())], Field(discriminator="kind")]  # noqa: UP007
    return TypeAdapter(known).validate_python(dict(settings))
