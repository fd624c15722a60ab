"""Records which tasks wrote a cache of keys and values, so that no task continues from another's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

WRITERS = "_taskfold_tasks"
"""The attribute of a cache with the tasks that wrote it, one per row or one for all."""


def with_caches(names: str | Sequence[str], kwargs: Mapping[str, Any], run: Callable[[], Any]) -> Any:
    """Runs a pass or the generation of a text, checks its caches, and marks them as written by its tasks.

    Args:
        names: one task for all rows, or one per row; empty: unknown, and nothing is checked.
        kwargs: of the pass.
        run: the pass.

    Raises:
        ValueError: other tasks wrote a cache that is not empty.
    """
    if torch.compiler.is_compiling() or not names:
        return run()
    asked = (names,) if isinstance(names, str) else tuple(names)
    given = [*_caches(kwargs)] if kwargs else []
    for name, cache in given:
        wrote: tuple[str, ...] | None = getattr(cache, WRITERS, None)
        if wrote is not None and not _same(wrote, asked) and int(cache.get_seq_length()):
            raise ValueError(
                f"{name} holds what {_words(wrote)} made of the text so far, and {_words(asked)} is to go on; give a "
                "cache of the same tasks in the same rows, or the whole text and no cache"
            )
    output = run()
    for _, cache in given if isinstance(output, torch.Tensor) else (*given, *_caches(output)):
        setattr(cache, WRITERS, asked)
    return output


def _caches(held: object) -> Iterator[tuple[str, Any]]:
    """The caches among arguments or outputs, by name: Hugging Face's have `get_seq_length`."""
    if isinstance(held, Mapping):
        yield from ((str(name), one) for name, one in held.items() if hasattr(one, "get_seq_length"))
    elif isinstance(held, tuple):
        yield from (("a cache", one) for one in held if hasattr(one, "get_seq_length"))


def _same(wrote: Sequence[str], asked: Sequence[str]) -> bool:
    """Whether rows belong to the same tasks; beams and several answers repeat each row."""
    few, many = sorted((tuple(wrote), tuple(asked)), key=len)
    times = len(many) // max(1, len(few))
    return many == tuple(name for name in few for _ in range(times))


def _words(names: Sequence[str]) -> str:
    known = dict.fromkeys(names)
    return f"task {names[0]!r}" if len(known) == 1 else f"tasks {', '.join(map(repr, names))}"
