"""Sources of data of any kind, from their settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BaseModel, PlainValidator, TypeAdapter, ValidationError

from ._errors import custom, problems, unknown
from ._kinds import KINDS, kind_of_tag


def _source(value: Any) -> BaseModel:
    if isinstance(value, BaseModel):
        return value
    if not isinstance(value, dict):
        raise ValueError(f"must be a mapping with a kind and its settings, found {value!r}")
    if "kind" not in value:
        raise ValueError("kind is missing")
    kind = kind_of_tag(value["kind"])
    if kind is None:
        raise ValueError(_unknown(value["kind"]))
    chosen = kind.sources[value["kind"]]
    try:
        return chosen.model_validate(value)
    except ValidationError as error:
        raise custom(problems(error, value, chosen), "source", value) from None


def _unknown(tag: object) -> str:
    known: list[str] = []
    lacking: list[str] = []
    for kind in KINDS:
        try:
            known += kind.sources
        except ImportError as error:
            lacking.append(f"; of {kind.words} there would be more: {error}")
    return unknown(tag, known, f"kind {tag!r}") + "".join(lacking)


if TYPE_CHECKING:
    AnySource: TypeAlias = BaseModel
else:
    # Not a union, which would import the sources of every kind.
    AnySource = Annotated[BaseModel, PlainValidator(_source)]


def parse_source(settings: Mapping[str, Any]) -> BaseModel:
    """A source of any kind from its settings.

    Raises:
        pydantic.ValidationError: names the key, the value found and what is allowed.

    Example:
        >>> from taskfold.config import kind_of
        >>> kind_of(parse_source({"kind": "examples", "file": "mail.csv"})).name
        'texts'
    """
    return TypeAdapter(AnySource).validate_python(dict(settings))
