"""Pydantic's errors in the words of the file."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

_LONG = 60
_LONGEST = 2000
_WORDS = {
    "Input should": "must",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
    "a valid string": "text",
    "a valid dictionary": "a mapping",
    "a valid list": "a list",
    "a valid tuple": "a list",
    "a valid path": "a path",
    "an instance of Sequence": "a list",
    "a finite number": "finite",
    "greater than or equal to": "≥",
    "less than or equal to": "≤",
    "greater than": ">",
    "less than": "<",
    "Input is not a path": "must be a path",
    " for <class 'pathlib.Path'>": "",
    " for <class 'pathlib._local.Path'>": "",
    "Tuple should have": "must have",
    " after validation, not 0": "",
    ", got a number with a fractional part": "",
    ", unable to parse string as an integer": "",
    ", unable to parse string as a number": "",
    ", unable to interpret input": "",
}


class ConfigError(ValueError):
    """Settings that cannot be used: each line names the place, the value found and the allowed values."""


def listing(origin: str, problems: Sequence[str]) -> ConfigError:
    """An error that lists all problems of one file."""
    if len(problems) == 1:
        return ConfigError(f"{origin}: {problems[0]}")
    return ConfigError("\n  ".join([f"{origin}: {len(problems)} problems", *problems]))


def unknown(key: object, known: Iterable[str], what: str) -> str:
    """The message for an unknown key or name."""
    there = sorted(known)
    near = difflib.get_close_matches(str(key), there, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{what} is not known{hint} (known: {', '.join(there) or 'none'})"


def key_path(keys: Iterable[object]) -> str:
    """`tasks[1].source.root`.

    Example:
        >>> key_path(["tasks", 1, "source", "root"])
        'tasks[1].source.root'
    """
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")


Place = tuple[object, ...]
"""The keys that lead to a value."""


def sentence(place: Place, text: str) -> str:
    """A place and its problem; long values are cut."""
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return f"{key_path(place)}: {text}" if place else text


def problems(error: ValidationError, data: Any, model: type[BaseModel]) -> list[tuple[Place, str]]:
    """Each wrong place with its problem.

    Args:
        error: pydantic's error.
        data: the validated data.
        model: the expected class.
    """
    found: dict[Place, list[str]] = {}
    for problem in error.errors(include_url=False):
        path = tuple(_in_data(problem["loc"], data))
        text = _sentence(problem, model)
        # Each alternative of a union reports errors.
        if text not in found.setdefault(path, []):
            found[path].append(text)
    inner = {path[:n] for path in found for n in range(1, len(path))}  # a deeper place has a better message
    return [(path, _joined(texts)) for path, texts in found.items() if path not in inner]


def in_words(origin: str, error: ValidationError, data: Any, model: type[BaseModel]) -> ConfigError:
    """The problems as one error of a file, or of another origin."""
    return listing(origin, [sentence(*one) for one in problems(error, data, model)])


def _sentence(problem: Any, model: type[BaseModel]) -> str:
    kind, value = problem["type"], problem["input"]
    if kind == "missing" and isinstance(problem["loc"][-1], int):
        return f"has too few values, found {value!r}"
    if kind == "missing":
        return "is missing"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return unknown(problem["loc"][-1], _keys(model, problem["loc"][:-1]), "key")
    if kind == "union_tag_invalid":
        known = [tag.strip("' ") for tag in problem["ctx"]["expected_tags"].split(",")]
        tag, what = problem["ctx"]["tag"], problem["ctx"]["discriminator"].strip("'")
        return unknown(tag, known, f"{what} {tag!r}")
    if kind == "union_tag_not_found":
        return f"{problem['ctx']['discriminator'].strip(chr(39))} is missing"
    text = problem["msg"].removeprefix("Value error, ")
    if kind == "value_error":
        return text
    for theirs, ours in _WORDS.items():
        text = text.replace(theirs, ours)
    text = re.sub(r" or instance of \w+$", "", text)
    shown = repr(value)
    return f"{text}, found {shown if len(shown) <= _LONG else shown[: _LONG - 1] + '…'}"


def custom(found: list[tuple[Place, str]], title: str, value: Any) -> ValidationError:
    """Problems as a pydantic error, so that a part's validator can point into the part."""
    details = [
        InitErrorDetails(type=PydanticCustomError("value_error", "{text}", {"text": text}), loc=place, input=value)  # type: ignore[typeddict-item]
        for place, text in found
    ]
    return ValidationError.from_exception_data(title, details)


def _joined(texts: Sequence[str]) -> str:
    parted = [text.partition(", found ") for text in texts]
    if len(texts) > 1 and len({found for _, _, found in parted}) == 1:
        heads = [head if n == 0 else head.removeprefix("must be ") for n, (head, _, _) in enumerate(parted)]
        return " or ".join(heads) + "".join(parted[0][1:])
    return "; ".join(texts)


def adapted(said: Any, made: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Places where pydantic changed a value: true to 1, an empty path to the present folder.

    Args:
        said: the given value.
        made: pydantic's value.
        place: the place of both.
    """
    if isinstance(said, bool):
        if isinstance(made, int | float) and not isinstance(made, bool):
            yield place, f"must be a number, found {str(said).lower()}"
    elif said == "" and isinstance(made, Path):
        yield place, "must be a path, found ''"
    elif isinstance(said, dict):
        for key, value in said.items():
            inside = made.get(key) if isinstance(made, Mapping) else getattr(made, str(key), None)
            yield from adapted(value, inside, (*place, key))
    elif isinstance(said, list) and isinstance(made, Sequence):
        for number, (value, inside) in enumerate(zip(said, made, strict=False)):
            yield from adapted(value, inside, (*place, number))


def has(data: Any, key: object) -> bool:
    """Whether a mapping or a list has that key or index."""
    if isinstance(data, dict):
        return key in data
    return isinstance(data, list) and isinstance(key, int) and key < len(data)


def _in_data(keys: Sequence[object], data: Any) -> Iterator[object]:
    """A location without names of union members, which pydantic mixes in."""
    for n, key in enumerate(keys):
        last = n == len(keys) - 1
        if has(data, key):
            data = data[key]
            yield key
        elif last and isinstance(data, dict) and str(key).isidentifier() and not _is_tag(key, data):
            yield key


def _is_tag(key: object, data: dict[str, Any]) -> bool:
    return key in data.values() or str(key) in {"int", "str", "float", "bool", "dict", "list", "tuple"}


def _keys(kind: Any, path: Sequence[object]) -> list[str]:
    """The keys of a model at a location."""
    if get_origin(kind) is Annotated:
        return _keys(get_args(kind)[0], path)
    if get_origin(kind) in (Union, UnionType):
        members = get_args(kind)
        tagged = [member for member in members if path and _tag(member) == path[0]]
        return _keys(tagged[0], path[1:]) if tagged else [key for member in members for key in _keys(member, path)]
    if get_origin(kind) is dict:
        return _keys(get_args(kind)[1], path[1:]) if path else []
    if get_origin(kind) in (list, tuple):
        return _keys(get_args(kind)[0], path[1:])
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        fields = [field.name for field in dataclasses.fields(kind)]
        return _keys(hints[str(path[0])], path[1:]) if path and path[0] in fields else [] if path else fields
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return []
    if not path:
        return [field.alias or name for name, field in kind.model_fields.items()]
    field = kind.model_fields.get(str(path[0]))
    return _keys(field.annotation, path[1:]) if field else []


def _tag(kind: Any) -> object:
    fields = getattr(kind, "model_fields", {})
    return fields["kind"].default if "kind" in fields else None
