"""Answers to texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from .. import MultiTask
from ..backbones import LoadedBackbone
from ..files import read_text
from ..text import Example, rank_classify
from ..threads import Threads
from ._output import UserError
from ._reader import Reader

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


def answer_texts(
    model: MultiTask,
    loaded: LoadedBackbone,
    names: Sequence[str],
    texts: Sequence[str],
    choices: tuple[str, ...],
    batch_size: int,
    threads: Threads,
) -> list[dict[str, Any]]:
    """Every task's answer to every text: the choices ranked, given here or the task's labels; else generated text.

    `threads` times the generation batch by batch.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for name in names:
        reader, among = Reader.of_task(model[name], loaded), choices or model[name].info.labels
        asked = [example_of(reader, text, among) for text in texts]
        if among:
            collator, normalised = reader.collator(True), reader.settings.length_normalised
            ranked = rank_classify(
                model, name, asked, collator, batch_size=batch_size, length_normalised=normalised
            ).scores
            for text, scores in zip(texts, ranked, strict=True):
                order = sorted(zip(among, scores, strict=True), key=lambda pair: -pair[1])
                listed = [{"text": choice, "score": score} for choice, score in order]
                found[text, name] = {"answer": order[0][0], "choices": listed}
        else:
            written: list[str] = []
            for at in range(0, len(asked), batch_size):
                part = [replace(one, choices=()) for one in asked[at : at + batch_size]]
                with threads.piece(len(part)):
                    written += reader.write(model, name, part, batch_size)
            found |= {(text, name): {"answer": answer} for text, answer in zip(texts, written, strict=True)}
    return [{"input": text, "task": name, **found[text, name]} for text in texts for name in names]


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
