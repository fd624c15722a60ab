"""What a pass leaves in attributes of modules (recurrent states, keys and values): each task goes on from its own."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

import torch
from torch import Tensor, nn

from ..refusals import StateError
from ._inside import FILLED, containers, inside, is_array, is_open, own_copy
from ._selection import running

MOST, FEW = 256, 8
"""The most tasks, or mixtures of tasks, whose states one attribute keeps; the longest unused goes first. The second
is for what all have left alike: a table of positions, say, which a network makes anew."""
TENSORS = frozenset((type(None), Tensor, nn.Parameter))
SIMPLE = TENSORS | {bool, int, float}
NESTED = (tuple, *FILLED)
"""Types of values that may be states: of a tensor; of numbers beside tensors; nested."""
COPIES = " copies"
"""The entry in `Selection.left` with the copies that a pass has made of what attributes were at first."""


class GONE:
    """Stands for the value of an attribute that is not there; the class itself does, also in copies."""


class OthersStateError(StateError):
    """A pass was about to go on from what other tasks have left; from then on each task keeps its own."""


@dataclass
class Left:
    """What passes have left in one attribute.

    Attributes:
        first: the value before the first pass of a task.
        held: returns the value that the latest pass has left, which the user's module holds.
        writer, during: the tasks of that pass, and the pass.
        writers: the single tasks that have left a value.
        own: by tasks, what their latest pass has left; None: nothing is kept, as long as no other tasks have read it.
        within: passes write into the value, so that tasks get copies of `first`.
        free: passes have changed a list, a dict or an object, and none has computed with what others left there.
        holds: some value is a tensor, or holds one.
        alike: all tasks have left the same.
    """

    first: Any
    held: Callable[[], Any]
    writer: Hashable | None = None
    during: object = None
    writers: set[Hashable] = field(default_factory=set)
    own: OrderedDict[Hashable, Any] | None = None
    within: bool = False
    free: bool = False
    holds: bool = False
    alike: bool = True

    def of(self, who: Hashable | None, now: dict[str, Any] | None, name: str) -> Any:
        """The value for these tasks in this pass; None: they are not known, and begin anew.

        Raises:
            RuntimeError: what they have left is gone.
        """
        if now is not None and now is self.during:
            return self.held()
        if self.own is None:
            self.own, self.alike = OrderedDict({self.writer: self.held()}), self.writers <= {self.writer}
        if who is not None and who in self.own:
            self.own.move_to_end(who)
            return self.own[who]
        if who is not None and who in self.writers and not self.alike:
            raise StateError(
                f"attribute {name!r} held what a task had left for its next pass, and other tasks have written it "
                "since; begin that task's input from its start once, from then on each task keeps its own"
            )
        if not self.within:
            return self.first
        return self.keep(who, own_copy(self.first, {} if now is None else now.setdefault(COPIES, {})))

    def keep(self, who: Hashable | None, value: Any) -> Any:
        """Keeps a value for these tasks."""
        if isinstance(who, tuple) and len(who) == 1:  # of one task; mixtures are many
            self.writers.add(who)
        if self.own is not None and who is not None:
            self.alike = self.alike and all(_equal(value, one) for one in [*self.own.values()][-1:])
            self.own[who] = value
            self.own.move_to_end(who)
            while len(self.own) > (FEW if self.alike else MOST):
                self.own.popitem(last=False)
        return value

    def shown_by(self, module: nn.Module, name: str) -> bool:
        """Whether the user's module holds what the latest pass has left; the user may have detached it meanwhile."""
        now, held = held_by(module, name), self.held()
        if now is held:
            return True
        pairs = [*zip(inside(now), inside(held), strict=False)]
        if type(now) is not type(held) or not pairs or not all(_detached(*pair) for pair in pairs):
            return False
        self.held = _held(self.keep(self.writer, now))
        return True

    def leave(self, value: Any) -> None:
        """Takes what this thread's pass leaves."""
        self.writer, self.during = _now()
        self.held = _held(self.keep(self.writer, value))
        self.holds = self.holds or holds_tensors(value)


def held_by(module: nn.Module, name: str) -> Any:
    """What the user's module has in an attribute or buffer; `GONE`: it has none of the name."""
    table = module.__dict__
    return table[name] if name in table else table["_buffers"].get(name, GONE)


def _held(value: Any) -> Callable[[], Any]:
    """Returns a value; a tensor is not kept alive."""
    return ref(value) if isinstance(value, Tensor) else lambda: value


def _equal(value: Any, other: Any) -> bool:
    """Whether two values hold equal tensors."""
    mine, theirs = [*inside(value)], [*inside(other)]
    if type(value) is not type(other) or len(mine) != len(theirs):
        return False
    if not mine:
        return type(value) in SIMPLE and bool(value == other)
    pairs = zip(mine, theirs, strict=True)
    return all(a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


def _detached(now: Any, held: Any) -> bool:
    """Whether the user has detached what a pass has left."""
    both = isinstance(now, Tensor) and isinstance(held, Tensor)
    return both and held.requires_grad > now.requires_grad and now.data_ptr() == held.data_ptr()


def _nothing() -> None:
    return None


STATES: WeakKeyDictionary[nn.Module, dict[str, Left]] = WeakKeyDictionary()
"""By the user's module and attribute; the dicts stay the same ones, which proxies hold."""
NUMBERS = SIMPLE - {Tensor}
COUNTING: WeakSet[nn.Module] = WeakSet()
"""Users' modules of networks that answer a repeated batch otherwise: numbers that passes leave there are states."""
_lock = threading.RLock()


def holds_tensors(value: Any) -> bool:
    """Whether a value is an object, or is or holds a tensor or an array."""
    if isinstance(value, NESTED):
        return any(True for _ in inside(value)) or any(map(is_array, containers(value)))
    return isinstance(value, Tensor) or is_open(value) or is_array(value)


def is_state(value: Any) -> bool:
    """Whether a value that a pass leaves may be a state."""
    return type(value) in SIMPLE or isinstance(value, NESTED) or is_open(value) or is_array(value)


def begin_there(network: nn.Module, before: Callable[[Any], Any]) -> None:
    """Has tasks begin with copies of what attributes were before the pass that first left something there.

    Args:
        network: the user's.
        before: returns a copy of a value as it was when the pass began.
    """
    with _lock:
        for module in network.modules():
            for one in STATES.get(module, {}).values():
                if not one.within and type(one.first) not in NUMBERS and one.first is not GONE:
                    one.first, one.within = before(one.first), True


def _now() -> tuple[Hashable | None, dict[str, Any] | None]:
    """The tasks of the rows of this thread's pass (None: not known, or no task runs), and the pass."""
    now = running()
    if now is None:
        return None, None
    return None if now.noting is not None else now.answers.who(now.rows), now.left


def states_of(module: nn.Module) -> dict[str, Left]:
    """What passes have left in the user's module, by attribute."""
    return STATES.setdefault(module, {})


def read(module: nn.Module, name: str, value: Any, quiet: bool) -> tuple[Any, bool]:
    """What a pass reads in an attribute of the user's module, and whether passes have written it.

    Args:
        module: the user's.
        name, value: the attribute as the module has it.
        quiet: a pass without tasks.
    """
    held = states_of(module)
    if name not in held:
        return value, False
    with _lock:
        one = held.get(name)
        now = held_by(module, name)
        if one is None or not one.shown_by(module, name):  # the user has set it: all begin with that
            held.pop(name, None)
            return now, False
        if one.free or not is_kept(module, name):  # a counter of passes
            return now, True
        if quiet:
            return one.first, True
        value = one.of(*_now(), name)
        if one.within and value is not now:
            one.leave(value)
            module.__dict__[name] = value
        return value, True


def write(
    module: nn.Module, name: str, value: Any, asked: bool, put: Callable[[nn.Module, str, Any], object] = setattr
) -> None:
    """Sets an attribute of the user's module, for the tasks of this pass.

    Args:
        module, name, value: the attribute.
        asked: a pass has read it before.
        put: sets it.
    """
    with _lock:
        held = states_of(module)
        now = held_by(module, name)
        one = held.get(name)
        if one is None or not one.shown_by(module, name):
            known = asked or any(left.own is not None for left in held.values())
            one = held[name] = Left(now, _held(now), own=OrderedDict() if known else None, holds=holds_tensors(now))
        one.leave(value)
        put(module, name, value)


def write_within(module: nn.Module, name: str, before: Callable[[Any], Any], free: bool = False) -> None:
    """Notes that this pass writes into what an attribute of the user's module holds.

    Args:
        module, name: the attribute.
        before: returns a copy of a value as it was when the pass began.
        free: the pass has not computed with it.
    """
    with _lock:
        held, value = states_of(module), module.__dict__[name]
        one = held.get(name)
        if one is None:
            first = before(value)
            one = held[name] = Left(first, _held(value), own=OrderedDict(), within=True, free=free, holds=True)
            one.leave(value)
        elif not one.within:
            one.first, one.within = before(one.first), True
        elif one.free:
            one.leave(value)


def compute(module: nn.Module, name: str) -> None:
    """Notes that this pass computes with what an earlier one has left inside a list, a dict or an object.

    Raises:
        OthersStateError: other tasks have left it.
    """
    with _lock:
        one = states_of(module).get(name)
        if one is None or not one.free:
            return
        one.free = False
        if one.writer != _now()[0]:
            raise OthersStateError(
                f"attribute {name!r} ({type(one.first).__name__}) holds what a task has left for its next pass, and "
                "another task was about to go on from it; begin that task's input from its start once more, from now "
                "on each task keeps its own"
            )


def frees(network: nn.Module) -> bool:
    """Whether passes change lists, dicts or objects of modules, and none has computed with what others left there."""
    return any(one.free for module in network.modules() for one in STATES.get(module, {}).values())


def is_kept(module: nn.Module, name: str) -> bool:
    """Whether passes have left a state in an attribute: not a number that no answer depends on."""
    held = STATES.get(module, {})
    return name in held and (module in COUNTING or any(one.holds for one in held.values()))


def first_states(module: nn.Module) -> dict[str, Any]:
    """What attributes of the user's module were before passes left states there, unless the user has set them since."""
    held = STATES.get(module, {}).items()
    return {name: one.first for name, one in held if one.shown_by(module, name)}


@contextmanager
def states_as_before(network: nn.Module) -> Iterator[None]:
    """Run a block in which tasks begin anew, and restore what passes had left in the network's modules."""
    with _lock:
        before = {module: dict(states_of(module)) for module in network.modules()}
        for module, held in before.items():
            anew = {
                name: replace(one, own=one.own if one.own is None else OrderedDict(), writers=set(), writer=None)
                for name, one in held.items()
            }
            states_of(module).update(anew)
    try:
        yield
    finally:
        with _lock:
            for module, held in before.items():
                states_of(module).clear()
                states_of(module).update(held)


def filed(network: nn.Module) -> dict[str, dict[str, Left]]:
    """What passes have left in a network's modules, for a copy or a file, by path and attribute."""
    return {
        path: {
            name: replace(one, held=_nothing, during=None, writers={*one.writers}, own=one.own and one.own.copy())
            for name, one in held.items()
        }
        for path, module in network.named_modules()
        if (held := states_of(module))
    }


def refile(network: nn.Module, states: dict[str, dict[str, Left]]) -> None:
    """Notes in a copy of a network what passes had left in the original, as `filed` says."""
    for path, held in states.items():
        module = network.get_submodule(path)
        here = {name: replace(one, held=_held(held_by(module, name))) for name, one in held.items()}
        states_of(module).update(here)
