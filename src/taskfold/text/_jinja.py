"""Jinja as promptsource's templates expect it, in a sandbox: a template file is data, not a program to trust."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from random import Random
from types import ModuleType
from typing import Any

_RANDOM = "_taskfold_random"


class TemplateError(ValueError):
    """A template that cannot be read or rendered: the message names it, and the field that it lacks."""


def extra(module: str) -> ModuleType:
    """An optional module."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(f'templates need {module}: pip install "taskfold[text]"') from error


@cache
def compiled(source: str) -> Any:
    """A Jinja template of that text."""
    jinja2 = extra("jinja2")
    try:
        return _environment().from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"line {error.lineno}: {error.message}") from error


def render(source: str, fields: Mapping[str, Any], random: Random) -> str:
    """The text that a template makes of those fields."""
    template = compiled(source)
    try:
        return template.render({**fields, _RANDOM: random})
    except extra("jinja2").UndefinedError as error:
        known = ", ".join(sorted(fields)) or "none"
        raise TemplateError(f"{error.message}; fields: {known}") from error
    except Exception as error:  # the template's own code: it may divide by zero, or index a number
        raise TemplateError(f"{type(error).__name__}: {error}") from error


@cache
def _environment() -> Any:
    jinja2, sandbox = extra("jinja2"), extra("jinja2.sandbox")

    @jinja2.pass_context
    def choice(context: Any, items: Sequence[Any]) -> Any:
        return context[_RANDOM].choice(items)

    # Not the immutable one: templates build lists of their own. The row's lists are copies.
    made = sandbox.SandboxedEnvironment(undefined=jinja2.StrictUndefined)
    made.globals["zip"] = zip
    made.filters |= {"choice": choice, "most_frequent": _most_frequent}
    return made


def _most_frequent(items: Sequence[Any]) -> list[Any]:
    counts = Counter(items)
    most = max(counts.values(), default=0)
    return [item for item, count in counts.items() if count == most]
