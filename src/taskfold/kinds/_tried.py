"""Trials of layers with a forward of their own, once, on small inputs and on copies, which leave the layers alone."""

from __future__ import annotations

import copy
import random as python
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from math import prod
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ._stand_in import stand_in

_FOUND: WeakKeyDictionary[nn.Module, dict[str, tuple[object, object]]] = WeakKeyDictionary()
_ALIKE: dict[object, object] = {}
ALIKE = 1024
"""The most forms of modules whose results are kept."""
POOL = 4093
"""A prime, so that rows of a weight differ."""
PLAIN = (type(None), bool, int, float, str)
_CODE = (FunctionType, property, classmethod, staticmethod)
_OWN = frozenset({"weight", "bias", "running_mean", "running_var", "num_batches_tracked"})
_KEPT = frozenset({*nn.Module().__dict__})


def once(module: nn.Module, what: str, find: Callable[[], object]) -> object:
    """The cached result of a trial of a module; it is repeated if the module's class or settings change."""
    found, now = _FOUND.setdefault(module, {}), (type(module), settings(module))
    if what not in found or found[what][0] != now:
        found[what] = now, _alike(module, what, find)
    return found[what][1]


def _alike(module: nn.Module, what: str, find: Callable[[], object]) -> object:
    """The cached result of a module of the same form, or a new one."""
    form = _form(module)
    if form is None:
        return find()
    if (key := (what, form)) not in _ALIKE:
        if len(_ALIKE) >= ALIKE:
            _ALIKE.clear()
        _ALIKE[key] = find()
    return _ALIKE[key]


def _form(module: nn.Module) -> object:
    """A key of all that a forward can read, except values of weight, bias and statistics; None: it may read more."""
    plain, tensors = settings(module), {**module._parameters, **module._buffers}
    if module.__dict__.keys() - _KEPT - plain.keys() or tensors.keys() - _OWN:
        return None
    children = [(name, child and _form(child)) for name, child in module._modules.items()]
    if any(form is None for _, form in children):
        return None
    shapes = [(n, t if t is None else (tuple(t.shape), t.dtype, t.device)) for n, t in tensors.items()]
    kinds = [kind for kind in type(module).__mro__ if kind not in nn.Module.__mro__]
    said = [(kind, n, v) for kind in kinds for n, v in vars(kind).items() if isinstance(v, (*PLAIN, *_CODE))]
    own = [(n, type(v), v) for n, v in plain.items()]
    return type(module), *map(tuple, (own, shapes, children, said))


def settings(module: nn.Module) -> dict[str, object]:
    """The plain values among a module's attributes."""
    return {n: value for n, value in module.__dict__.items() if n not in _KEPT and isinstance(value, PLAIN)}


def random() -> Callable[..., Tensor]:
    """A source of normal numbers in double precision, with a fixed seed."""
    dice = torch.Generator().manual_seed(0)
    return lambda *size: torch.randn(*size, generator=dice, dtype=torch.float64, device="cpu")


@contextmanager
def apart() -> Iterator[None]:
    """Run a block on the CPU, without autocast, with fixed random numbers, and restore the generators' states."""
    numpy, state = sys.modules.get("numpy"), python.getstate()
    drawn = None if numpy is None else numpy.random.get_state()
    try:
        with (
            torch.no_grad(),
            torch.random.fork_rng(devices=[]),
            torch.autocast("cpu", enabled=False),
            torch.device("cpu"),
        ):
            begin()
            yield
    finally:
        python.setstate(state)
        if numpy is not None:
            numpy.random.set_state(drawn)


def begin() -> None:
    """Resets the random numbers in such a block."""
    torch.default_generator.manual_seed(0)


def double(
    module: nn.Module, state: Mapping[str, Tensor | None], training: bool = False, /, **attributes: Any
) -> nn.Module:
    """A deep copy of a module in double precision, with other tensors and attributes."""
    memo = {id(tensor): tensor for tensor in state.values() if tensor is not None}
    twin = copy.deepcopy(stand_in(module, state, **attributes), memo).train(training)
    for part in twin.modules():
        for table in (part._parameters, part._buffers):
            for name, tensor in table.items():
                if tensor is not None:
                    wanted = torch.float64 if tensor.is_floating_point() else tensor.dtype
                    table[name] = tensor.detach().to("cpu", wanted)  # type: ignore[assignment]
    return twin


def attempt(
    module: nn.Module, state: Mapping[str, Tensor | None], x: Tensor, training: bool = False, /, **attributes: Any
) -> Tensor:
    """The output of a module's own forward, with other tensors and attributes."""
    with apart():
        return double(module, state, training, **attributes).forward(x)  # type: ignore[no-any-return]


def shaken(module: nn.Module, names: Collection[str]) -> tuple[dict[str, Tensor | None], dict[str, Any]]:
    """Changed tensors (except `names`) and float settings of a module, so that a mask of ones or a scale of 1 shows."""
    dice = torch.Generator().manual_seed(1)
    state: dict[str, Tensor | None] = {}
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if name in names:
            continue
        chance = torch.rand(tensor.shape, generator=dice, dtype=torch.float64, device="cpu")
        if tensor.is_floating_point():
            state[name] = tensor.detach().to("cpu", torch.float64) * (0.5 + chance) + 0.1 * chance
        elif tensor.dtype == torch.bool:
            state[name] = chance < 0.5
    numbers: dict[str, Any] = {
        n: 0.75 * value + 0.05 for n, value in settings(module).items() if isinstance(value, float)
    }
    return state, numbers


def wide() -> Callable[..., Tensor]:
    """A source of numbers of all magnitudes, to reveal clamps; it repeats a few thousand."""
    normal, places = random(), count()
    pool = normal(POOL) * 10 ** normal(POOL)

    def draw(*size: int) -> Tensor:
        wanted, start = prod(size), 607 * next(places) % POOL
        return pool.roll(-start).repeat(-(-wanted // POOL))[:wanted].reshape(size)

    return draw
