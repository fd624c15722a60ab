"""A method from flat settings, each checked against the method's fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from ..methods import Method, build, names
from ._errors import ConfigError, Place, problems, sentence, unknown


def build_method(name: str, settings: Mapping[str, Any]) -> Method:
    """A method from its name and the settings of `--set`.

    Args:
        name: `ftn`, `lora`, …
        settings: the method's settings.

    Raises:
        ConfigError: there is no such method or setting, or a value is not allowed; one line each.

    Example:
        >>> build_method("ftn", {"rank": 4, "norm": False}).as_json()["settings"]["norm"]
        False
    """
    made = try_method(name, settings)
    if isinstance(made, Method):
        return made
    places = [(f"--set {place[0]}", *place[1:]) if place not in ((), ("name",)) else () for place, _ in made]
    raise ConfigError("\n".join(sentence(place, text) for place, (_, text) in zip(places, made, strict=True)))


def try_method(name: str, settings: Mapping[str, Any]) -> Method | list[tuple[Place, str]]:
    """The method, or all problems with its name and settings."""
    if name not in names():
        return [(("name",), unknown(name, names(), f"method {name!r}"))]
    data = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    model = settings_model(type(build(name)), name)
    try:
        checked = model.model_validate(data)
    except ValidationError as error:
        return problems(error, data, model)
    try:
        return build(name, {key: getattr(checked, key) for key in data})
    except (ValueError, TypeError) as error:
        return [((), str(error))]


def settings_model(kind: type[Any], name: str, without: Collection[str] = ()) -> type[BaseModel]:
    """A model that checks the settings of a data class by their types; `without` names fields that are not settings."""
    hints = get_type_hints(kind)
    kept = [field for field in dataclasses.fields(kind) if field.name not in without]
    fields: dict[str, Any] = {field.name: (hints[field.name], field.default) for field in kept}
    return create_model(name, __config__=ConfigDict(extra="forbid", strict=True), **fields)
