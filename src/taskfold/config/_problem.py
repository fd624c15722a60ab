"""The meaning of a task's outputs, as a configuration names it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import PlainValidator, ValidationError, ValidationInfo

from ..problems import PROBLEMS, Classification, Problem
from ._errors import custom, problems, unknown
from ._method import settings_model
from ._paths import located

BASE = "base"
"""The key, in pydantic's context, of the folder that relative paths start from."""
LEFT_OUT = {"mean", "std"}
"""Fields that the training fills in."""


def problem_kind(said: Any) -> type[Problem]:
    """The kind of problem that a section names; classification if it names none or an unknown one.

    Example:
        >>> problem_kind({"kind": "ordinal"}).kind, problem_kind("regression").kind, problem_kind(None).kind
        ('ordinal', 'regression', 'classification')
    """
    kind = said.get("kind") if isinstance(said, dict) else said
    return PROBLEMS.get(kind, Classification) if isinstance(kind, str) else Classification


def _problem(value: Any, info: ValidationInfo) -> Problem:
    if isinstance(value, Problem):
        return value
    if not isinstance(value, dict):
        raise ValueError(f"must be a kind of problem, or a mapping with a kind and its settings, found {value!r}")
    said = dict(value)
    kind = said.pop("kind", Classification.kind)
    if kind not in PROBLEMS:
        raise custom([(("kind",), unknown(kind, PROBLEMS, f"kind {kind!r}"))], "problem", value)
    base = (info.context or {}).get(BASE, Path())
    data = {key: _settled(item, base) for key, item in said.items()}
    model = settings_model(PROBLEMS[kind], kind, without=LEFT_OUT)
    try:
        checked = model.model_validate(data)
    except ValidationError as error:
        raise custom(problems(error, data, model), "problem", value) from None
    try:
        return PROBLEMS[kind](**{key: getattr(checked, key) for key in data})
    except ValueError as error:
        raise custom([((), str(error))], "problem", value) from None


def _settled(item: Any, base: Path) -> Any:
    """Lists as tuples, functions in files by their whole path."""
    if isinstance(item, list):
        return tuple(_settled(one, base) for one in item)
    return located(item, base) if isinstance(item, str) else item


if TYPE_CHECKING:
    AnyProblem: TypeAlias = Problem
else:
    AnyProblem = Annotated[Any, PlainValidator(_problem)]

__all__ = ["BASE", "AnyProblem", "problem_kind"]
