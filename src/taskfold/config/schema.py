"""JSON schemas of configurations, for editors and for the page of all keys."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any, Literal, get_args, get_type_hints

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from ..methods import build, names
from ..problems import PROBLEMS
from ._backbones import BackboneConfig
from ._kinds import KINDS
from ._method import settings_model
from ._networks import architectures, network_names
from ._problem import LEFT_OUT
from ._together import Together
from .compare import Compare
from .run import Config, TaskConfig
from .transfer import TransferConfig

__all__ = ["Command", "Row", "meanings", "rows", "schema"]

Command = Literal["train", "transfer", "compare"]
Row = tuple[str, str, str, str, str]
"""A key, its type, its default, its range and its meaning, in words."""

_ENTRY = re.compile(r"    (\w+(?:, \w+)*): (.+)")
_WHOLE = {"backbone": "The frozen network.", "method": "The method of adaptation; a name alone means its defaults."}
_WHOLE |= {"source": "The source of a task's data.", "train": "The settings of training."}
_WHOLE |= {"preprocessing": "The preprocessing of images.", "text": "The settings for texts."}
_WHOLE |= {"dense": "The settings for images with dense targets.", "image_size": "Short for preprocessing.size."}
_WHOLE |= {"together": "Train all tasks at once; true: with the settings of train."}


class _Schemas(GenerateJsonSchema):
    """A schema generator that allows any value for types without a schema."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
        del schema, error_info
        return {}


def schema(command: Command) -> dict[str, Any]:
    """The JSON schema (2020-12) of a configuration of `taskfold train`, `transfer` or `compare`.

    Args:
        command: one of the three.

    Raises:
        ValueError: `command` is another.

    Example:
        >>> schema("train")["required"]
        ['backbone', 'output', 'tasks']
    """
    if command not in get_args(Command):
        raise ValueError(f"command must be one of {', '.join(get_args(Command))}, found {command!r}")
    transfers = command == "transfer"
    whole = _of(TransferConfig if transfers else Config)
    sections = {key: _section(key) for key in ("source", "train", "preprocessing", "text", "dense")}
    sections["problem"] = _problem()
    if not transfers:
        sections["backbone"], sections["method"] = _backbone(), _method()
        together = _loose(_of(Together))
        sections["together"] = {"anyOf": [{"type": "boolean"}, together], "description": _WHOLE["together"]}
    task = _of(TaskConfig)
    task["properties"] |= {key: sections[key] for key in sections if key in task["properties"]}
    if transfers:
        del task["properties"]["method"]
    task["required"] = ["name"]
    whole["properties"] |= sections
    whole["properties"]["tasks"] = {"type": "array", "minItems": 1, "items": task, "description": _tasks(command)}
    whole["properties"]["image_size"]["description"] = _WHOLE["image_size"]
    if command == "compare":
        del whole["properties"]["method"], task["properties"]["method"]
        whole["properties"]["compare"] = {**_of(Compare), "description": "The compared methods and their trainings."}
        candidate = _method({"label": {"type": "string"}, "search": {"type": "object"}})
        whole["properties"]["compare"]["properties"]["methods"] |= {"minItems": 1, "items": candidate}
    required = {"transfer": ["from"], "compare": ["backbone", "compare"]}.get(command, ["backbone"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"taskfold {command}",
        **{key: value for key, value in whole.items() if key not in ("title", "required")},
        "required": [*required, "output", "tasks"],
    }


def _tasks(command: str) -> str:
    return "The tasks; sections beside them apply to all, unless a task has its own." + (
        " None depends on another." if command == "transfer" else ""
    )


def _section(key: str) -> dict[str, Any]:
    if key == "source":
        kinds = [found for kind in KINDS for found in _sources(kind.sources)]
        return {"anyOf": kinds, "description": _WHOLE[key]}
    return {**_loose(_of(TaskConfig.model_fields[key].annotation)), "description": _WHOLE[key]}


def _sources(known: Mapping[str, type[BaseModel]]) -> Iterator[dict[str, Any]]:
    for tag, kind in known.items():
        found = _loose(_of(kind))
        found["properties"]["kind"] = {"const": tag}
        yield {**found, "title": tag}


def _backbone() -> dict[str, Any]:
    seed = {"seed": {"type": "integer", "minimum": 0, "description": "Of what is random in it."}}
    networks = [_entry("network", name, architectures()[name], seed) for name in network_names()]
    return {"anyOf": [{"type": "string"}, _of(BackboneConfig), *networks], "description": _WHOLE["backbone"]}


def _method(more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    each = [_entry("name", name, type(build(name)), more or {}) for name in names()]
    return {"anyOf": [{"type": "string", "enum": names()}, *each], "description": _WHOLE["method"]}


def _problem() -> dict[str, Any]:
    each = [_entry("kind", name, kind, {}, LEFT_OUT) for name, kind in PROBLEMS.items()]
    words = "The meaning of a task's outputs: classes, numbers, labels, levels; a kind alone means its defaults."
    return {"anyOf": [{"type": "string", "enum": [*PROBLEMS]}, *each], "description": words}


def _entry(
    key: str, name: str, kind: type[Any], more: Mapping[str, Any], without: Collection[str] = ()
) -> dict[str, Any]:
    """The schema of a data class whose name is a key beside its settings."""
    found = _loose(_of(settings_model(kind, name, without=without)))
    found["properties"] = {key: {"const": name}, **found.get("properties", {}), **more}
    _describe(found, kind)
    return {**found, "title": name}


def _of(kind: Any) -> dict[str, Any]:
    """A schema without references, with a description of each key."""
    made = TypeAdapter(kind).json_schema(by_alias=True, schema_generator=_Schemas)
    made.pop("description", None)
    found = _inlined(made, made.pop("$defs", {}))
    _describe(found, kind)
    return found


def _describe(found: dict[str, Any], kind: Any) -> None:
    """Adds descriptions from docstrings to keys and their inner keys."""
    if not isinstance(kind, type):
        return
    said, hints = meanings(kind), _hints(kind)
    for key, one in found.get("properties", {}).items():
        name = "origin" if key == "from" else key
        if name in said:
            one.setdefault("description", said[name])
        for inner in (one, *one.get("anyOf", ())):
            for part in (hints.get(name), *get_args(hints.get(name))):
                _describe(inner, part)


def _hints(kind: type) -> dict[str, Any]:
    if issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    return get_type_hints(kind) if is_dataclass(kind) else {}


def _inlined(value: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        if "$ref" in value:
            rest = {key: one for key, one in value.items() if key != "$ref"}
            there = {key: one for key, one in known[value["$ref"].rpartition("/")[2]].items() if key != "description"}
            return {**_inlined(there, known), **rest}
        return {key: _inlined(one, known) for key, one in value.items() if key != "title" or not isinstance(one, str)}
    return [_inlined(one, known) for one in value] if isinstance(value, list) else value


def _loose(found: dict[str, Any]) -> dict[str, Any]:
    """The schema of a section of which a task may have a part, and the top the rest."""
    return {key: one for key, one in found.items() if key not in ("required", "title", "description")}


def meanings(kind: type) -> dict[str, str]:
    """The descriptions of attributes in the docstrings of a class and its bases, under Attributes or Args.

    Example:
        >>> meanings(Compare)["seeds"]
        'Trainings of all tasks, with the found settings, for the reported numbers.'
    """
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        keys: list[str] = []
        for line in inspect.cleandoc(one.__doc__ or "").splitlines():
            if entry := _ENTRY.fullmatch(line):
                keys = entry[1].split(", ")
                found |= dict.fromkeys(keys, entry[2][0].upper() + entry[2][1:])
            elif keys and line.startswith("        "):
                found |= {key: f"{found[key]} {line.strip()}" for key in keys}
            else:
                keys = []
    return found


def rows(found: Mapping[str, Any], place: str = "") -> list[Row]:
    """A schema's keys in a flat list; inner keys have their place.

    Args:
        found: a schema of an object.
        place: the schema's place.
    """
    listed: list[Row] = []
    for key, one in found.get("properties", {}).items():
        name = f"{place}{key}"
        default = _shown(one["default"]) if "default" in one else ""
        listed.append((name, _type(one), default, _range(one), one.get("description", "")))
        for inner in (one, *(other for other in one.get("anyOf", ()) if len(one["anyOf"]) <= 3)):
            listed += rows(inner, f"{name}.")
    return listed


def _type(one: Mapping[str, Any]) -> str:
    if "const" in one:
        return f"{one['const']}"
    if "enum" in one:
        return " · ".join(map(_shown, one["enum"]))
    if "anyOf" in one:
        return " or ".join(dict.fromkeys(_type(other) for other in one["anyOf"]))
    if one.get("type") == "array":
        return f"list of {_type(one['items'])}" if one.get("items") else "list"
    words = {
        "integer": "whole number",
        "string": "text",
        "boolean": "true · false",
        "object": "mapping",
        "null": "null",
    }
    if one.get("format") == "path":
        return "path"
    kind = str(one.get("type", "any"))
    return words.get(kind, kind)


def _range(one: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}
    signs |= {"minItems": "at least {}", "maxItems": "at most {}"}
    found = [text.format(one[key]) for key, text in signs.items() if key in one]
    return ", ".join(found or [text for other in one.get("anyOf", ()) if (text := _range(other))])


def _shown(value: Any) -> str:
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))
