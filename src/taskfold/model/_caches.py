"""Records which tasks wrote a state (keys and values, a recurrent state), so that no task continues another's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

WRITERS = "_taskfold_tasks"
"""The attribute of a cache with the tasks that wrote it, one per row or one for all."""
STATES = re.compile(r"past|cache|^(h|hx|hidden|hidden_state|mems|states?|encoder_(outputs|last_hidden_state))$")
"""Names of arguments and outputs that hold what a pass leaves for the next one."""
_written = WeakIdKeyDictionary()
"""The tasks that wrote a tensor of a state, likewise; also by its memory, which detached tensors and slices share."""


def with_caches(
    names: str | Sequence[str],
    network: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    run: Callable[[], Any],
) -> Any:
    """Runs a pass or the generation of a text, checks its states, and marks them as written by its tasks.

    Args:
        names: one task for all rows, or one per row; empty: unknown, and nothing is checked.
        network: the backbone.
        args, kwargs: of the pass.
        run: the pass.

    Raises:
        ValueError: other tasks wrote a state that is not empty.
    """
    if torch.compiler.is_compiling() or not names:
        return run()
    asked = (names,) if isinstance(names, str) else tuple(names)
    given = _given(network, args, kwargs) if kwargs or len(args) > 1 else []
    if given:
        _check(given, asked)
    output = run()
    for _, state in given:
        if not isinstance(state, Tensor):
            setattr(state, WRITERS, asked)
    if not isinstance(output, Tensor):
        _mark(output, asked, given)
    return output


def broadcast_with_caches(
    groups: Sequence[Sequence[str]],
    network: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    run: Callable[[], Sequence[Any]],
) -> Sequence[Any]:
    """Likewise for a broadcast, in which each task of a list answers: a state that is given must be each one's.

    Args:
        groups: the tasks of each output; several have equal networks.
        run: returns the outputs.
    """
    if torch.compiler.is_compiling():
        return run()
    given = _given(network, args, kwargs)
    for name in (one for names in groups for one in names):
        _check(given, (name,))
    outputs = run()
    for names, output in zip(groups, outputs, strict=True):
        if len(names) == 1 and not isinstance(output, Tensor):
            _mark(output, tuple(names), given)
    return outputs


def _check(given: Sequence[tuple[str, Any]], asked: tuple[str, ...]) -> None:
    for name, state in given:
        wrote = _wrote(state, asked) if isinstance(state, Tensor) else getattr(state, WRITERS, None)
        if wrote is not None and not _same(wrote, asked) and not _empty(state):
            raise ValueError(
                f"{name} holds what {_words(wrote)} made so far, and {_words(asked)} is to go on; give what the same "
                "tasks made in the same rows, or the whole input from its start"
            )


def _wrote(state: Tensor, asked: tuple[str, ...]) -> tuple[str, ...] | None:
    """The tasks that wrote a tensor; of a part of what tasks wrote, unless one of them goes on with it."""
    wrote: tuple[str, ...] | None = _written.get(state)
    part: tuple[str, ...] | None = None if wrote else _written.get(_memory(state))
    return wrote if part is None or not {*part}.isdisjoint(asked) else part


def _memory(state: Tensor) -> Any:
    """A tensor's memory; a packed or sparse tensor stands for its own."""
    try:
        return state.untyped_storage()
    except RuntimeError:
        return state


def _given(network: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The states among the arguments, by name."""
    named = dict(zip(_parameters(type(network)), args[1:], strict=False)) if len(args) > 1 else {}
    return [(name, one) for name, value in {**named, **kwargs}.items() for one in _states(name, value)]


@lru_cache(maxsize=256)
def _parameters(kind: type[nn.Module]) -> tuple[str, ...]:
    """The names of a forward's arguments after the first."""
    return tuple(signature(kind.forward).parameters)[2:]


def _mark(output: Any, asked: tuple[str, ...], given: Sequence[tuple[str, Any]]) -> None:
    """Marks the states of an output as written by these tasks; not tensors that were given and are handed through."""
    through = {id(_memory(state)) for _, state in given if isinstance(state, Tensor)}
    held: Mapping[Any, Any] = {}
    if isinstance(output, Mapping):
        held = output
    elif is_dataclass(output):
        held = {field.name: getattr(output, field.name, None) for field in fields(output)}
    elif isinstance(output, tuple | list):  # its parts have no names: any may be a state
        held = {"state": tuple(output)}
    for name, value in held.items():
        for state in _states(str(name), value):
            if not isinstance(state, Tensor):
                setattr(state, WRITERS, asked)
            elif id(memory := _memory(state)) not in through:
                _written[state] = _written[memory] = asked


def _states(name: str, value: Any) -> Iterator[Any]:
    """The caches in a value (Hugging Face's have `get_seq_length`), and what a value holds whose name is a state's."""
    if isinstance(value, tuple | list):
        for one in value:
            yield from _states(name, one)
    elif isinstance(value, Mapping):
        yield from _states(name, tuple(value.values()))
    elif hasattr(value, "get_seq_length") or (STATES.search(name) and _holds(value)):
        yield value


def _holds(value: Any) -> bool:
    """Whether a value is a tensor, or an object whose attributes can be set."""
    return isinstance(value, Tensor) or (hasattr(value, "__dict__") and not callable(value))


def _empty(state: Any) -> bool:
    """Whether a cache holds nothing: none of its positions is written, or it has numbers and words alone."""
    if isinstance(state, Tensor):
        return False
    if hasattr(state, "get_seq_length"):
        try:
            return not int(state.get_seq_length())
        except ValueError:  # no layer has positions: states of Mamba
            return not state.has_previous_state()
    leaves = tree_leaves({**vars(state), WRITERS: None})
    return all(leaf is None or isinstance(leaf, (bool, int, float, str)) for leaf in leaves)


def _same(wrote: Sequence[str], asked: Sequence[str]) -> bool:
    """Whether rows belong to the same tasks; beams and several answers repeat each row."""
    few, many = sorted((tuple(wrote), tuple(asked)), key=len)
    times = len(many) // max(1, len(few))
    return many == tuple(name for name in few for _ in range(times))


def _words(names: Sequence[str]) -> str:
    known = dict.fromkeys(names)
    return f"task {names[0]!r}" if len(known) == 1 else f"tasks {', '.join(map(repr, names))}"
