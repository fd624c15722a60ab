"""The base of layer kinds: a layer's tensors, and how it runs with a task's."""

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
"""The count of batches behind running statistics; a task with its own count trains on batch statistics."""


class LayerKind(ABC):
    """A module as a layer of some kind.

    Args:
        module: the layer; it does not change.
    """

    words: ClassVar[str]
    """The kind in words."""
    normalises: ClassVar[bool] = False
    """Whether it is a normalisation, whose buffers count as tensors too."""
    running: ClassVar[str] = ""
    """The name of the count of batches: tensors with it keep their types in training passes."""
    splits: ClassVar[bool] = True
    """Whether a batch can be cut into rows on any axis, and outputs may have other numbers of rows."""
    axes: ClassVar[tuple[int, ...]] = (0,)
    """The axis of rows in each output; the last one holds for all that follow."""
    replaces: ClassVar[bool] = False
    """Whether `plain` does more than the module's forward, and replaces it in skeletons."""

    def __init__(self, module: nn.Module) -> None:
        self.module = self.source = module

    @classmethod
    @abstractmethod
    def fits(cls, module: nn.Module) -> bool:
        """Whether a module is of this kind."""

    def at(self, module: nn.Module) -> Self:
        """The kind of a twin of the module, with the properties that trials of the `source` have shown."""
        # Cached here, so that a compiler does not trace the trials.
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
        held = next((t for t in (*self.module.parameters(), *self.module.buffers())), None)
        return torch.device("cpu") if held is None else held.device

    @property
    def dtype(self) -> torch.dtype:
        for tensor in self.module._parameters.values():
            if tensor is not None and tensor.is_floating_point():
                return tensor.dtype
        tensors = (*self.tensors().values(), *self.module.parameters())
        held = next((t for t in tensors if t.is_floating_point()), None)
        return torch.get_default_dtype() if held is None else held.dtype

    def is_single(self, x: Tensor) -> bool:
        """Whether an input has no batch axis, which torch's layers accept."""
        return x.dim() == self.single

    single: int | None = None
    """Number of axes of an input without a batch; None: unknown, or inputs always have one."""

    def in_use(self, tensors: Tensors, training: bool) -> dict[str, Tensor]:
        """Casts a task's tensors to the types of the layer's own.

        Args:
            tensors: the task's, with at least single precision.
            training: the pass is in training mode, and may write running statistics, which then keep their type.
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
        """The module's weight → the layout of factorisations, `[*, O, I, *kernel]`."""
        return weight

    def laid_out(self, weight: Tensor) -> Tensor:
        """`[*, O, I, *kernel]` → the layout of the module's weight."""
        return weight

    def plain(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the layer with its own tensors."""
        return type(self.module).forward(self.module, *args, **kwargs)

    def as_before(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the layer with its own tensors on the path that it takes for an `around` intervention."""
        return self.plain(*args, **kwargs)

    def run(self, args: tuple, kwargs: dict, tensors: Tensors = NONE, training: bool = False) -> Any:
        """Runs the layer's own forward with `tensors` in place of its own."""
        if not tensors:
            return self.plain(*args, **kwargs)
        if training and (self.normalises or not self.module._modules):
            tensors, training = unshared(self.module, tensors)
        return stand_in(self.module, tensors, training=training).forward(*args, **kwargs)

    def exchanges(self, x: Tensor) -> bool:
        """Whether the layer commutes with an exchange of the first two axes."""
        return False

    def check_training(self, args: tuple, kwargs: dict, tensors: Tensors, layer: str) -> None:
        """Checks that the layer can train on the input.

        Raises:
            ValueError: it can't.
        """
        del args, kwargs, tensors, layer

    def goes_by_rows(self, names: Set[str], training: bool) -> bool:
        """Whether `run_rows` takes tensors of these names; otherwise each entry's rows run in a call of their own."""
        return False

    def run_rows(self, args: tuple, kwargs: dict, tensors: Tensors, rows: Rows, training: bool, layer: str) -> Any:
        """Runs the layer with tensors `[T, …]`, of which each row uses its entry's."""
        raise NotImplementedError

    def trained_rows(self, each: Sequence[Tensors], rows: Rows, x: Tensor, layer: str) -> Tensor | None:
        """Runs a training pass that writes each entry's tensors; None: this kind needs no such pass."""
        return None

    def by_entry(self, args: tuple, kwargs: dict, tensors: Tensors, rows: Rows, training: bool, layer: str) -> Any:
        """`run_rows` with one call for each entry."""

        def one(entry: int, mine: tuple, named: dict) -> object:
            return self.run(mine, named, {name: tensor[entry] for name, tensor in tensors.items()}, training)

        return by_entry(rows.groups(layer), rows.size, (args, kwargs), one, self.axes)

    def served(self, tensors: Tensors) -> dict[str, Tensor]:
        """The fewest tensors with the same effect in evaluation."""
        return dict(tensors)

    # Scale and shift of output channels

    @property
    def outputs(self) -> int | None:
        """The number of output channels; None: their axis is unknown."""
        return None

    axis: int = -1
    """The axis of output channels."""

    @property
    def within(self) -> bool:
        """Whether the layer's own γ and β can absorb a scale and a shift, before any activation of the layer."""
        return False

    @property
    def has_bias(self) -> bool:
        """Whether the layer has a bias, or a slot for one."""
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
        """The changed tensors of a layer that absorbs a scale and a shift of its output, `[C]` or `[T, C]`.

        Raises:
            ValueError: layers of this kind can't absorb them.
        """
        raise ValueError(f"a {self.words} ({type(self.module).__name__}) can't take up a scale of its output")


def scaled_bias(bias: Tensor | None, scale: Tensor, shift: Tensor | None) -> dict[str, Tensor]:
    """The bias of a layer whose output is scaled and shifted; a layer without one gets the shift."""
    if bias is None:
        return {} if shift is None else {"bias": shift}
    return {"bias": bias * scale if shift is None else torch.addcmul(shift, bias, scale)}


def may_write() -> bool:
    """Whether a product may be added in place to a layer's fresh output."""
    return not (torch.is_grad_enabled() or traced())


def traced() -> bool:
    """Whether a compiler or a transform of `torch.func` traces the call."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
