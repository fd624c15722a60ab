"""Few examples out of many, by seed."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, TypeVar
from zlib import crc32

import numpy as np

from ..factors import check_whole
from ._example import Example

Sample = TypeVar("Sample")


def few_shot(examples: Sequence[Sample], shots: int, seed: int, *, balanced: bool = False) -> list[Sample]:
    """A few of the examples, in their order: the same seed, the same ones; fewer shots are among those of more.

    Args:
        examples: to choose from; of any kind, unless balanced.
        shots: how many, ≥ 1.
        seed: ≥ 0.
        balanced: as many of each answer (of each target, without choices), up to one.

    Raises:
        ValueError: there are too few, of some answer if balanced, or shots or seed are out of range.

    Example:
        >>> many = [Example(str(n), "even" if n % 2 == 0 else "odd") for n in range(100)]
        >>> [example.target for example in few_shot(many, 4, seed=0, balanced=True)].count("odd")
        2
    """
    return [examples[n] for n in sorted(_chosen(examples, shots, seed, balanced))]


def few_shot_split(
    examples: Sequence[Example], shots: int, validation: int, seed: int, *, balanced: bool = False
) -> tuple[list[Example], list[Example]]:
    """The same few examples, and others to validate on that share no input with them.

    Args:
        examples: to choose from.
        shots: how many to train on, ≥ 1.
        validation: how many to validate on, ≥ 1, by chance from the remainder.
        seed: ≥ 0.
        balanced: what is trained on has as many of each answer.

    Raises:
        ValueError: there are too few, or a number is out of range.
    """
    chosen = _chosen(examples, shots, seed, balanced)
    known = {examples[n].input for n in chosen}
    rest = [n for n in range(len(examples)) if examples[n].input not in known]
    if not 1 <= validation <= len(rest):
        raise ValueError(
            f"validation must be 1 to {len(rest)}, the examples left beside {shots} shots, found {validation}"
        )
    held = random(seed, "validation").permutation(rest)[:validation]
    return [examples[n] for n in sorted(chosen)], [examples[n] for n in sorted(held.tolist())]


def random(seed: int, purpose: str) -> np.random.Generator:
    """Random numbers for one purpose, so that no choice shifts another."""
    return np.random.default_rng([check_whole("seed", seed, 0), crc32(purpose.encode())])


def _chosen(examples: Sequence[Any], shots: int, seed: int, balanced: bool) -> list[int]:
    if not 1 <= shots <= len(examples):
        raise ValueError(f"shots must be 1 to the {len(examples)} examples available, found {shots}")
    order = random(seed, "shots").permutation(len(examples)).tolist()
    if not balanced:
        return order[:shots]
    by_answer: dict[Hashable, list[int]] = {}
    for n in order:
        example = examples[n]
        by_answer.setdefault(example.target if example.answer is None else example.answer, []).append(n)
    # Round by round one of each answer; which answers have one more is by chance, as `order` is.
    least, more = divmod(shots, len(by_answer))
    longer = sum(len(members) > least for members in by_answer.values())
    scarce = min(by_answer.values(), key=len)
    if len(scarce) < least or longer < more:
        raise ValueError(
            f"shots={shots}, balanced over {len(by_answer)} answers, needs {least} of each and one more of {more}; "
            f"only {len(scarce)} are available of {examples[scarce[0]].target!r}: ask for fewer, or balanced=False"
        )
    rounds = [n for at in range(least + 1) for members in by_answer.values() for n in members[at : at + 1]]
    return rounds[:shots]
