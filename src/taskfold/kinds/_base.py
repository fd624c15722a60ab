"""What a layer is, to a task: its tensors, and how it runs with others."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Set
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ._rows import Rows, by_entry
from ._stand_in import stand_in, unshared

Tensors = Mapping[str, Tensor]
NONE: Tensors = {}
SEEN = "num_batches_tracked"
"""The batches that running statistics are of: who has it trains on batch statistics."""


class LayerKind(ABC):
    """A module, seen as a layer of some kind.

    Args:
        module: the layer; it is not changed.
    """

    words: ClassVar[str]
    """The kind, in words."""
    normalises: ClassVar[bool] = False
    """Whether it is a normalisation: its buffers are its tensors too."""
    running: ClassVar[str] = ""
    """The count of batches: who has it trains on batch statistics, with tensors in the types that they are kept in."""
    splits: ClassVar[bool] = True
    """Whether the rows of a batch can be taken apart on any axis, and its outputs may have more or fewer of them."""
    axes: ClassVar[tuple[int, ...]] = (0,)
    """Of the rows in each of its outputs; the last one holds for all that follow."""
    replaces: ClassVar[bool] = False
    """Whether `plain` is more than the module's forward, and runs in its place wherever the layer stands."""

    def __init__(self, module: nn.Module) -> None:
        self.module = self.source = module

    @classmethod
    @abstractmethod
    def fits(cls, module: nn.Module) -> bool:
        """Whether a module is of this kind."""

    def at(self, module: nn.Module) -> Self:
        """The same for a twin of the module; what was found out by trying the `source` holds for it."""
        # Now: a compiler must not meet the trial.
        for name in ("additive", "rowwise", "scale", "affine", "within", "absorbs"):
            getattr(self, name, None)
        twin = copy.copy(self)
        twin.module = module
        return twin

    def tensors(self) -> dict[str, Tensor]:
        """The layer's own parameters by name, and a normalisation's buffers."""
        found: dict[str, Tensor] = dict(self.module.named_parameters(recurse=False))
        return found | dict(self.module.named_buffers(recurse=False)) if self.normalises else found

    @property
    def device(self) -> torch.device:
        """Of the layer's tensors."""
        held = next((t for t in (*self.module.parameters(), *self.module.buffers())), None)
        return torch.device("cpu") if held is None else held.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the layer's tensors."""
        for tensor in self.module._parameters.values():
            if tensor is not None and tensor.is_floating_point():
                return tensor.dtype
        tensors = (*self.tensors().values(), *self.module.parameters())
        held = next((t for t in tensors if t.is_floating_point()), None)
        return torch.get_default_dtype() if held is None else held.dtype

    def is_single(self, x: Tensor) -> bool:
        """Whether an input lacks the axis of the batch, as torch's layers take one."""
        return x.dim() == self.single

    single: int | None = None
    """Axes of an input without a batch; None: there is always one, or it is not known."""

    def in_use(self, tensors: Tensors, training: bool) -> dict[str, Tensor]:
        """Tensors in the place of the layer's own, in the types that those have.

        Args:
            tensors: as a task keeps them, in single precision at least.
            training: whether the pass trains, and writes to running statistics among them.
        """
        if training and self.running in tensors:
            return dict(tensors)  # small steps of running statistics are lost in half precision
        found: dict[str, Tensor] = {}
        held, buffers, usual = self.module._parameters, self.module._buffers, None
        for name, tensor in tensors.items():
            if tensor.is_floating_point():
                own = buffers[name] if name in buffers else held.get(name)
                own = self._own(name) if own is None and "." in name else own
                if own is None:
                    usual = self.dtype if usual is None else usual
                wanted = usual if own is None else own.dtype
                tensor = tensor if tensor.dtype == wanted else tensor.to(wanted)
            found[name] = tensor
        return found

    def _own(self, name: str) -> Tensor | None:
        owner = self.module
        if "." in name:
            path, _, name = name.rpartition(".")
            owner = owner.get_submodule(path)
        own = owner._parameters.get(name)
        return owner._buffers.get(name) if own is None else own

    def seen(self, weight: Tensor) -> Tensor:
        """A weight as the module has it → as factorisations see it, `[*, O, I, *kernel]`."""
        return weight

    def laid_out(self, weight: Tensor) -> Tensor:
        """`[*, O, I, *kernel]` → as the module has it."""
        return weight

    def plain(self, *args: Any, **kwargs: Any) -> Any:
        """The layer as it is."""
        return type(self.module).forward(self.module, *args, **kwargs)

    def as_before(self, *args: Any, **kwargs: Any) -> Any:
        """The layer as it is, on the path that it takes with something before its input, of which there is nothing."""
        return self.plain(*args, **kwargs)

    def run(self, args: tuple, kwargs: dict, tensors: Tensors = NONE, training: bool = False) -> Any:
        """The layer's own forward with tensors in place of its own."""
        if not tensors:
            return self.plain(*args, **kwargs)
        if training and (self.normalises or not self.module._modules):
            tensors, training = unshared(self.module, tensors)
        return stand_in(self.module, tensors, training=training).forward(*args, **kwargs)

    def exchanges(self, x: Tensor) -> bool:
        """Whether the first two axes of an input may change places, and those of the output with them."""
        del x
        return False

    def check_training(self, args: tuple, kwargs: dict, tensors: Tensors, layer: str) -> None:
        """Whether it can train on that input.

        Raises:
            ValueError: it can't.
        """
        del args, kwargs, tensors, layer

    def goes_by_rows(self, names: Set[str], training: bool) -> bool:
        """Whether `run_rows` takes tensors of these names; otherwise the rows of each entry run by themselves."""
        del names, training
        return False

    def run_rows(self, args: tuple, kwargs: dict, tensors: Tensors, rows: Rows, training: bool, layer: str) -> Any:
        """The layer where each row of the batch has tensors of its own, `[T, …]` by entry."""
        raise NotImplementedError

    def trained_rows(self, each: Sequence[Tensors], rows: Rows, x: Tensor, layer: str) -> Tensor | None:
        """A pass that trains and writes to the tensors that each entry has; None: it runs like any other."""
        del each, rows, x, layer
        return None

    def by_entry(self, args: tuple, kwargs: dict, tensors: Tensors, rows: Rows, training: bool, layer: str) -> Any:
        """The same, the rows of each entry by themselves."""

        def one(entry: int, mine: tuple, named: dict) -> object:
            return self.run(mine, named, {name: tensor[entry] for name, tensor in tensors.items()}, training)

        return by_entry(rows.groups(layer), rows.size, (args, kwargs), one, self.axes)

    def served(self, tensors: Tensors) -> dict[str, Tensor]:
        """The fewest tensors that say the same in evaluation."""
        return dict(tensors)

    # Channels of the output, scaled and shifted

    @property
    def outputs(self) -> int | None:
        """How many there are; None: it is not known which axis they are."""
        return None

    axis: int = -1
    """Of the channels in an output."""

    @property
    def within(self) -> bool:
        """Whether the layer's own γ and β take up a scale and a shift, with or without an activation behind them."""
        return False

    @property
    def has_bias(self) -> bool:
        """Whether it adds a bias, or has a place for one."""
        return "bias" in self.module._parameters

    def rescaled(self, y: Tensor, scale: Tensor, shift: Tensor | None) -> Tensor:
        """`y · scale + shift` by channel; `[C]`, or `[B, C]` by row."""
        shape = [1] * y.dim()
        shape[self.axis] = scale.shape[-1]
        if scale.dim() == 2:
            shape[0] = scale.shape[0]
        scale = scale.to(y.dtype).reshape(shape)
        return y * scale if shift is None else torch.addcmul(shift.to(y.dtype).reshape(shape), y, scale)

    def scaled(self, inside: Tensors, scale: Tensor, shift: Tensor | None) -> dict[str, Tensor]:
        """Tensors of a layer whose output is scaled and shifted, `[C]` or `[T, C]`; those that stay are not listed.

        Raises:
            ValueError: no layer of this kind does that.
        """
        raise ValueError(f"a {self.words} ({type(self.module).__name__}) can't take up a scale of its output")


def scaled_bias(bias: Tensor | None, scale: Tensor, shift: Tensor | None) -> dict[str, Tensor]:
    """The bias of a layer whose output is scaled and shifted; a layer without one gets the shift."""
    if bias is None:
        return {} if shift is None else {"bias": shift}
    return {"bias": bias * scale if shift is None else torch.addcmul(shift, bias, scale)}


def may_write() -> bool:
    """Whether a product may be added into a layer's output, which nobody else has seen."""
    return not (torch.is_grad_enabled() or traced())


def traced() -> bool:
    """Whether somebody takes the step apart: a compiler, or a transform of torch.func."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
