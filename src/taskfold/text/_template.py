"""A prompt template, from a row of a data set to an example."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any
from zlib import crc32

from ._example import Example
from ._jinja import TemplateError, compiled, render

_SEPARATOR = "|||"
_GUARD = "\ue000|\ue001"  # a stand-in, in the data, for the separator, while the rendered text is split


@dataclass(frozen=True)
class Template:
    """One way to put a row of a data set into words.

    Attributes:
        name: promptsource's name, unique in its data set.
        jinja: Jinja; `|||` separates input and target. It may use the row's fields, `answer_choices` (a list),
            the filters `choice` (at random, by row and seed) and `most_frequent`, and `zip`.
        answer_choices: Jinja whose rendering is the choices, separated by `|||`; None: open-ended.
        dataset: `super_glue/copa`.
        original_task: whether it asks the data set's own question, not another about the same rows.
        metrics: promptsource's names of metrics.

    Raises:
        TemplateError: it has no `|||`, or is not Jinja.

    Example:
        >>> template = Template("question", "Is {{ it }} wet? ||| {{ answer_choices[label] }}", "yes ||| no")
        >>> template.example({"it": "sand", "label": 1})
        Example(input='Is sand wet?', target='no', choices=('yes', 'no'), answer=1)
    """

    name: str
    jinja: str
    answer_choices: str | None = None
    dataset: str = ""
    original_task: bool | None = None
    metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if _SEPARATOR not in self.jinja:
            raise self._error(f"needs {_SEPARATOR} between input and target, found {self.jinja!r}")
        for source in filter(None, (self.jinja, self.answer_choices)):
            try:
                compiled(source)
            except TemplateError as error:
                raise self._error(f"is no Jinja: {error}") from error

    def example(self, row: Mapping[str, Any], *, choices: bool = True, seed: int = 0) -> Example | None:
        """The example of a row; None: the template renders nothing, as templates for some rows only do.

        Args:
            row: the data set's own fields.
            choices: include the answer choices, if the template has them; False for targets outside of them.
            seed: the seed of the `choice` filter; the same row and seed give the same text.

        Raises:
            TemplateError: a field is unknown, the rendered text does not have exactly one `|||`, or the target is empty
                (a row without its label) or not among the choices.
        """
        if "answer_choices" in row:
            raise self._error("cannot use a row with a field 'answer_choices', a name of its own; rename the field")
        fields = {key: _guarded(value) for key, value in row.items()}
        random = Random(crc32(json.dumps([seed, self.name, row], sort_keys=True, default=str).encode()))
        offered = self._render("answer_choices", self.answer_choices, fields, random) if self.answer_choices else None
        rendered = self._render("jinja", self.jinja, {**fields, "answer_choices": offered and _parts(offered)}, random)
        if not rendered.strip():
            return None
        parts = _parts(rendered)
        if len(parts) != 2:
            raise self._error(f"must render one {_SEPARATOR}, found {len(parts) - 1} in {rendered!r}")
        source, target, *answers = map(_bare, (*parts, *(_parts(offered) if offered and choices else ())))
        try:
            return Example(source, target, tuple(answers))
        except ValueError as error:
            raise self._error(f"{error}; the row is {dict(row)}") from error

    def _render(self, part: str, source: str, fields: Mapping[str, Any], random: Random) -> str:
        try:
            return render(source, fields, random)
        except TemplateError as error:
            raise self._error(f"{part}: {error}") from error

    def _error(self, message: str) -> TemplateError:
        return TemplateError(f"template {self.name!r}{f' of {self.dataset}' if self.dataset else ''}: {message}")


def _guarded(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(_SEPARATOR, _GUARD)
    if isinstance(value, Mapping):
        return {key: _guarded(one) for key, one in value.items()}
    return [_guarded(one) for one in value] if isinstance(value, list | tuple) else value


def _bare(text: str) -> str:
    return text.replace(_GUARD, _SEPARATOR)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(_SEPARATOR)]
