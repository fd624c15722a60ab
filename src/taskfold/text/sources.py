"""Sources of text tasks: a packaged set, or the user's folders and files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ._example import Example
from ._few_shot import random
from ._rows import columns_of, read_rows, text_of
from ._texts import Labelled, read_texts

__all__ = ["Labelled", "TextTask", "read_examples", "read_texts", "topic_task"]


@dataclass(frozen=True)
class TextTask:
    """The examples of a text task; no input is in two parts.

    Attributes:
        train, val, test: examples.
        choices: the answers, the same for all examples.
    """

    train: list[Example]
    val: list[Example]
    test: list[Example]
    choices: tuple[str, ...]


def read_examples(path: str | Path) -> list[Example]:
    """Examples from a user's file.

    Args:
        path: a .jsonl, .csv or .tsv file with columns `input`, `target` and perhaps `choices` (a list in JSON; with
            `|||` between in a table); or `text` and `label`, with all labels of the file as choices, sorted.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has another layout; the message has the line.
    """
    rows = read_rows(Path(path).expanduser())
    source, target = columns_of(rows, among=[("input", "target"), ("text", "label")])
    labels = tuple(sorted({text_of(row, target, place) for place, row in rows})) if target == "label" else ()
    found = []
    for place, row in rows:
        given = row.get("choices") or labels
        choices = given.split("|||") if isinstance(given, str) else given
        try:
            texts = tuple(str(choice).strip() for choice in choices)
            found.append(Example(text_of(row, source, place), text_of(row, target, place), texts))
        except TypeError as error:
            raise ValueError(f"{place}: choices must be a list of texts, found {given!r}") from error
        except ValueError as error:
            raise error if str(error).startswith(place) else ValueError(f"{place}: {error}") from error
    return found


def topic_task(
    source: str | Path = "packaged:bbc",
    *,
    seed: int = 0,
    val: float = 0.1,
    test: float = 0.2,
    prompt: str = "{text}\nTopic:",
    max_words: int | None = 128,
    words: Mapping[str, str] | None = None,
) -> TextTask:
    """A text task that classifies texts: the choices are the class names.

    Args:
        source: as for `read_texts`.
        seed: the seed of the parts, classes in proportion.
        val, test: the held-out shares of each class, in (0, 1), together below 1.
        prompt: the network's input, with `{text}` for the text.
        max_words: the most words of a text, so that the prompt's end is not cut off; None: no limit.
        words: the choice for each class; None: its label.

    Returns:
        The task; each text appears once, even if the source repeats it.

    Raises:
        FileNotFoundError: the source is missing.
        ValueError: a setting is out of range, there are fewer than two classes or too few texts of one, a text has two
            classes, or `words` and the classes disagree.
    """
    if not (0 < val < 1 and 0 < test < 1 and val + test < 1):
        raise ValueError(f"val and test must be shares in (0, 1), together below 1, found {val} and {test}")
    if "{text}" not in prompt:
        raise ValueError(f"prompt must contain {{text}}, found {prompt!r}")
    if max_words is not None and max_words < 1:
        raise ValueError(f"max_words must be at least 1, or None, found {max_words}")
    label_of = _distinct(read_texts(source), max_words, source)
    labels = sorted(set(label_of.values()))
    if len(labels) < 2:
        raise ValueError(f"{source}: must have two classes or more, found {labels}")
    named = dict(words or {label: label for label in labels})
    if set(named) != set(labels):
        raise ValueError(f"words must name the classes {labels}, found {sorted(named)}")
    choices = tuple(named[label] for label in labels)
    part_of: dict[str, str] = {}
    for label in labels:
        texts = [text for text in label_of if label_of[text] == label]
        part_of |= _parts(texts, val, test, seed, label, source)
    parts: dict[str, list[Example]] = {"train": [], "val": [], "test": []}
    for text, label in label_of.items():
        parts[part_of[text]].append(Example(prompt.replace("{text}", text), named[label], choices))
    return TextTask(**parts, choices=choices)


def _distinct(items: Iterable[Labelled], max_words: int | None, source: str | Path) -> dict[str, str]:
    """Text → class. Runs of spaces become one, so that other line ends do not matter."""
    found: dict[str, str] = {}
    for item in items:
        text = " ".join(item.text.split()[:max_words])
        if found.setdefault(text, item.label) != item.label:
            raise ValueError(f"{source}: a text is both {found[text]} and {item.label}: {text[:60]!r}; keep one")
    return found


def _parts(texts: Sequence[str], val: float, test: float, seed: int, label: str, source: str | Path) -> dict[str, str]:
    """Text → part, for the texts of one class."""
    tested, held_out = (max(1, round(share * len(texts))) for share in (test, val))
    if tested + held_out >= len(texts):
        raise ValueError(f"{source}: class {label!r} has {len(texts)} texts, too few for three parts; add more")
    sizes = {"test": tested, "val": held_out, "train": len(texts) - tested - held_out}
    names = [name for name, size in sizes.items() for _ in range(size)]
    order: list[int] = random(seed, f"parts {label}").permutation(len(texts)).tolist()
    return dict(zip([texts[n] for n in order], names, strict=True))
