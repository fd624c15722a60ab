"""Guards, which refuse writes to the backbone's tensors during a pass."""

from __future__ import annotations

import copy
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter, itemgetter
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn

from ..kinds import Quantised, lent, traced
from ..refusals import UnfitError
from ._inside import containers, inside, is_array, is_same, own_copy, refill
from ._left import COUNTING, begin_there, compute, frees, write_within
from ._listening import Go, Listener
from ._origin import storage_of, tensors_in, written
from ._proxy import KEPT, OF, PATH, SHARED, writes

PASSES = 4
"""The most passes that are guarded because no pass has computed with what earlier ones left in lists."""
_LOCKS: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
"""By network: held by the one guard that watches it."""


class Guard(Listener):
    """Refuses operations that write a network's tensors, or a task's tensor in place of a parameter.

    Replaced memory (`weight.data = …`) is restored at the end of the block. Writes into what attributes of modules hold
    are noted as states of the pass's tasks.

    Args:
        network: the user's.
        training: the mode of the pass.
        quiet: what attributes of modules hold is restored at the end of the block.

    Raises:
        RuntimeError: an operation writes such a tensor; names the layer and the tensor.
    """

    def __init__(self, network: nn.Module, training: bool, quiet: bool = False) -> None:
        self.network, self.training, self.quiet = network, training, quiet
        self.lock = _LOCKS.setdefault(network, threading.RLock())
        self.held = {_place(tensor): (path, module, name) for path, module, name, tensor in _tensors(network)}
        self.lent: dict[int, tuple[Callable[[], Tensor | None], nn.Module, str]] = {}
        """Parameters lent to layers in place of their own, by memory; held weakly unless the lender keeps them."""
        own = () if traced() else _tensors(network)  # torch.func refuses to replace memory
        self.memory = [(*one, one[3].data) for one in own if not one[3].is_inference()]
        """The tensors with their memory at the start: `weight.data = …` is no operation that a listener hears."""
        self.kept: dict[int, list[tuple[nn.Module, str]]] = {}
        """Attributes of modules, by the memory of the tensors in them."""
        self.before: list[tuple[nn.Module, str, Any, list[tuple[Any, Any]]]] = []
        """Attributes with their values, and the containers in these with what they held at the start."""
        self.computed: set[tuple[int, str]] = set()
        """Attributes whose tensors the pass has computed with."""
        self.made: dict[int, Any] = {}
        self.numbers: list[tuple[nn.Module, str, Any, Tensor, Tensor]] = []
        """Tensors of attributes with copies, since NumPy writes where no listener hears it."""
        self.saved: dict[int, tuple[Any, Any]] = {}
        """Memory that a quiet block has written, with its copy."""
        self._lending = lent(self._lend)

    def __enter__(self) -> Guard:
        self.lock.acquire()
        try:
            self._note()
        except BaseException:
            self.lock.release()
            raise
        super().__enter__()
        self._lending.__enter__()
        return self

    def __exit__(self, kind: Any, *error: Any) -> None:
        try:
            self._lending.__exit__(kind, *error)
            super().__exit__(kind, *error)
            self._left(self.quiet or kind is not None)
        finally:
            self.lock.release()
        exchanged = [one for one in self.memory if _place(one[3]) != _place(one[4]) and not _moved(*one[3:])]
        for _, _, _, tensor, before in exchanged:
            tensor.data = before
        if exchanged and kind is None:
            path, module, name, *_ = exchanged[0]
            raise writes(path, module, name, self.training)

    def _note(self) -> None:
        """Notes what attributes of modules hold at the start."""
        for module, name, value in _attributes(self.network):
            if held := [(one, copy.copy(one)) for one in containers(value)]:
                self.before.append((module, name, value, held))
            for tensor in inside(value):
                if (place := _place(tensor)) not in self.held:
                    self.kept.setdefault(place, []).append((module, name))
                    if not (self.quiet or traced()) and type(tensor) is Tensor and tensor.device.type == "cpu":
                        self.numbers.append((module, name, value, tensor, tensor.detach().clone()))

    def _left(self, undo: bool) -> None:
        """Notes, or undoes, what the pass has left in containers."""
        for storage, before in self.saved.values():
            storage.copy_(before)
        for module, name, value, held in self.before:
            changed = [one for one in held if not is_same(*one)]
            for one, parts in changed if undo else ():
                refill(one, parts)
            if changed and not undo and module.__dict__.get(name) is value:
                heard = (id(module), name) in self.computed or _exchanged(module, value, changed)
                write_within(module, name, self._at_start, not heard)
        for module, name, value, tensor, before in () if undo else self.numbers:
            if module.__dict__.get(name) is value and not torch.equal(tensor, before):
                self.made.setdefault(id(tensor), before)
                write_within(module, name, self._at_start)
        if not undo:
            begin_there(self.network, self._at_start)

    def _at_start(self, value: Any) -> Any:
        """A copy of a value as it was at the start."""
        held = [one for *_, found in self.before for one in found if not is_same(*one)]
        now = [(one, copy.copy(one)) for one, _ in held]
        for one, parts in held:
            refill(one, parts)
        made = own_copy(value, self.made)
        for one, parts in now:
            refill(one, parts)
        return made

    def check(self, tensor: Tensor) -> None:
        """Refuses a write to a guarded tensor.

        Raises:
            RuntimeError: the tensor is the network's, or lent to a layer.
        """
        place = _place(tensor)
        if (known := self.held.get(place)) is not None:
            raise writes(*known, self.training)
        if (borrowed := self.lent.get(place)) is not None and borrowed[0]() is not None:
            _, module, name = borrowed
            raise writes(module.__dict__.get(PATH, ""), module.__dict__.get(OF, module), name, self.training)

    def _lend(self, module: nn.Module, name: str, tensor: Tensor, keep: bool) -> None:
        self.lent[_place(tensor)] = (lambda: tensor) if keep else ref(tensor), module, name
        if isinstance(tensor, nn.Parameter) and not (tensor.is_inference() or traced()):
            path, owner = module.__dict__.get(PATH, ""), module.__dict__.get(OF, module)
            self.memory.append((path, owner, name, tensor, tensor.data))

    def hear(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], go: Go) -> Any:
        for tensor in tensors_in(args) if self.kept else ():
            for state in self.kept.get(_place(tensor), ()):
                self.computed.add((id(state[0]), state[1]))
                if not self.quiet:
                    compute(*state)
        for tensor in written(func, args, kwargs):
            self.check(tensor)
            for state in self.kept.get(place := _place(tensor), ()):
                if not self.quiet:
                    write_within(*state, self._at_start)
                elif place not in self.saved:
                    self.saved[place] = (storage := tensor.untyped_storage()), storage.clone()
        return go(func, args, kwargs)


class Unwritten:
    """Runs the user's network and refuses passes that write its tensors.

    The first pass of each mode and kind runs under a `Guard`. After later passes the tensors' versions are compared.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.known: set[object] = set()
        self.guarded: Counter[object] = Counter()
        self.held: list[tuple[str, nn.Module, str, Tensor]] = []

    def run(
        self,
        training: bool,
        call: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        way: object = None,
    ) -> Any:
        """Calls a function that runs the network.

        Args:
            training: the network's mode.
            call, args, kwargs: the function and its arguments.
            way: a key of the kind of pass.

        Raises:
            RuntimeError: the pass writes a tensor; names the layer and the tensor.
        """
        if (training, way) not in self.known:
            with Guard(self.network, training):
                output = call(*args, **kwargs)
            self.guarded[training, way] += 1
            if not frees(self.network) or self.guarded[training, way] >= PASSES:
                self.known.add((training, way))
            self.held = [one for one in _tensors(self.network) if not one[3].is_inference()]
            return output
        before = self._states(training)
        output = call(*args, **kwargs)
        if before != (now := self._states(training)):
            path, module, name, _ = next(
                one for one, old, new in zip(self.held, before, now, strict=True) if old != new
            )
            raise writes(path, module, name, training)
        return output

    def _states(self, training: bool) -> list[Any]:
        """The tensors' states, which a write changes; outside training the versions alone."""
        if training:
            return [_state(tensor, module) for _, module, _, tensor in self.held]
        return [*map(attrgetter("_version"), map(itemgetter(3), self.held))]


def _state(tensor: Tensor, module: nn.Module) -> tuple[int, object]:
    """A tensor's version and memory; recurrent layers may move their tensors unchanged."""
    return tensor._version, None if isinstance(module, nn.RNNBase) else _place(tensor)


def check_unwritten(network: nn.Module) -> None:
    """Checks that no layer is set to write its own tensors.

    Raises:
        TypeError: an embedding has `max_norm`, and so writes its table when it reads it.
    """
    for path, module in network.named_modules():
        longest = getattr(module, "max_norm", None)
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and longest is not None:
            raise UnfitError(
                f"layer {path!r} ({type(module).__name__}, max_norm={longest}) shortens rows of its table whenever it "
                "reads them, and a backbone is never written; shorten all of them once: layer.weight.data = "
                "torch.renorm(layer.weight.data, layer.norm_type, 0, layer.max_norm); layer.max_norm = None"
            )


def memory_of(network: nn.Module) -> list[tuple[Any, ...]]:
    """The identity, memory, type and device of each tensor of a network: they change when it moves."""
    return [(id(tensor), _place(tensor), tensor.dtype, tensor.device) for *_, tensor in _tensors(network)]


def _tensors(network: nn.Module) -> Iterator[tuple[str, nn.Module, str, Tensor]]:
    for path, module in network.named_modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    yield path, module, name, tensor


def _attributes(network: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    """The attributes in which a module may keep something; what quantised layers keep is made of their weights."""
    for module in network.modules():
        for name, value in () if Quantised.fits(module) else [*module.__dict__.items()]:
            if name not in SHARED and name not in KEPT:
                yield module, name, value


def _moved(tensor: Tensor, before: Tensor) -> bool:
    """Whether a tensor has other memory with the same numbers: recurrent and 8-bit layers move theirs."""
    return tensor.dtype == before.dtype and tensor.shape == before.shape and torch.equal(tensor.data, before)


def _exchanged(module: nn.Module, value: Any, changed: list[tuple[Any, Any]]) -> bool:
    """Whether numbers changed where nobody hears it: in an array, or one by one in a module whose numbers matter."""
    if any(is_array(one) for one, _ in changed):
        return True
    return module in COUNTING and not any(True for _ in inside(value))


def _place(tensor: Tensor) -> int:
    storage = storage_of(tensor)
    return id(tensor) if storage is None else storage
