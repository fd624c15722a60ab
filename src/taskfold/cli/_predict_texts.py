"""Answers to texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ..evaluate import evaluating
from ..files import read_text
from ..serve import Asked as Options
from ..serve import InputError, Reading, Ready
from ..text import Example
from ._asked import ROWS, Asked
from ._output import UserError
from ._reader import Reader

Answered = tuple[list[dict[str, Any]], list[dict[str, str]]]
EVERY = 1_000_000
"""More classes or choices than a task has."""
BETWEEN = "|||"
"""The separator of choices, as in templates and tables of examples."""


def inputs_of(arguments: Sequence[str], lines: Path | None) -> list[str]:
    """The texts of the arguments, then the lines of a file."""
    if lines is None:
        return list(arguments)
    try:
        found = read_text(lines).splitlines()
    except FileNotFoundError:
        raise UserError(f"--lines {lines}: there is no such file") from None
    return [*arguments, *(line.strip() for line in found if line.strip())]


def choices_of(text: str | None) -> tuple[str, ...]:
    """The choices in a text with `|||`."""
    if text is None:
        return ()
    found = tuple(choice.strip() for choice in text.split(BETWEEN))
    if len(found) < 2 or not all(found) or len(set(found)) < len(found):
        raise UserError(f"--choices {text!r}: must be two or more different texts with {BETWEEN} between them")
    return found


def answer_texts(asked: Asked, reading_of: Callable[[str], Reading]) -> Answered:
    """Every task's answer to every text, by the task's reading; and the texts that cannot be read."""
    texts, options = inputs_of(asked.inputs, asked.lines), Options(EVERY, choices_of(asked.choices))
    if not texts or not all(map(str.strip, texts)):
        raise UserError("give at least one text, none of them empty, or a file of them with --lines")
    found, errors, size = dict[tuple[int, str], Any](), list[dict[str, str]](), asked.batch_size or ROWS
    for name in asked.names:
        reading, given = reading_of(name), list[tuple[int, Ready]]()
        for number, text in enumerate(texts):
            try:
                given.append((number, reading.ready(text, options)))
            except InputError as error:
                errors.append({"input": text, "error": f"{name}: {error}"})
        for at in range(0, len(given), size):
            part = given[at : at + size]
            group: Any = part[0][1].group
            with evaluating(asked.model), asked.threads.piece(len(part)):
                outputs = group.run(asked.model, name, [ready.value for _, ready in part])
            for (number, ready), output in zip(part, outputs, strict=True):
                found[number, name] = {"input": texts[number], "task": name, **reading.said(output, ready, options)}
    keys = ((number, name) for number in range(len(texts)) for name in asked.names)
    return [found[key] for key in keys if key in found], errors


def text_table(found: Sequence[dict[str, Any]]) -> Table:
    ranked = any("choices" in answer for answer in found)
    table = Table("input", "task", "answer", *(["choices, log p"] if ranked else []), box=box.SIMPLE)
    for answer in found:
        each = ", ".join(f"{choice['text']} {choice['score']:.2f}" for choice in answer.get("choices", ()))
        table.add_row(
            Text(answer["input"]), Text(answer["task"]), Text(answer["answer"]), *([Text(each)] if ranked else [])
        )
    return table


def example_of(reader: Reader, text: str, choices: Sequence[str]) -> Example:
    """A text as an example for tasks; its target is unused."""
    return Example(reader.prompt.replace("{text}", text), choices[0] if choices else "?", tuple(choices))
