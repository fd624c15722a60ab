"""Hears the numbers that a pass of a network tells Python, on which its later operations may depend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Self

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.autograd.forward_ad import _set_fwd_grad_enabled
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from ._listening import Go, Listener
from ._path import number_of

_LEAVES = frozenset(("tolist", "numpy", "__array__", "__dlpack__", "__repr__"))
"""Functions by which numbers leave torch without an operation that a listener hears."""
_READS = {"tensor_split": 1}
"""Functions that read the numbers of an argument likewise, and its position."""


@contextmanager
def not_followed() -> Iterator[None]:
    """Run a block whose operations the listeners and modes of the pass do not hear."""
    with torch._C.DisableTorchFunction(), _disable_current_modes():
        yield


@contextmanager
def unseen(clear: bool = True) -> Iterator[None]:
    """Run a block whose operations no checkpoint, counter or derivative around it records.

    Args:
        clear: leave the transforms of `torch.func` too; False where `torch.vmap` hides an axis of the inputs.
    """
    cleared = temporarily_clear_interpreter_stack() if clear else nullcontext()
    with cleared, torch.no_grad(), _set_fwd_grad_enabled(False), _disable_current_modes():
        yield


class Told(Listener):
    """Records the numbers that one pass tells Python.

    Attributes:
        decisions: all numbers that operations returned, and sizes that numbers decide.
        left: tensors that became lists or arrays.
    """

    def __init__(self) -> None:
        self.decisions: list[Any] = []
        self.left: list[Tensor] = []
        self._leaving = _Leaving(self)

    def __enter__(self) -> Self:
        super().__enter__()
        self._leaving.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._leaving.__exit__(*error)
        super().__exit__(*error)

    def like(self, other: Told) -> bool:
        """Whether another pass told the same numbers."""
        if (self.decisions, len(self.left)) != (other.decisions, len(other.left)):
            return False
        pairs = zip(self.left, other.left, strict=True)
        return all(one.dtype == two.dtype and torch.equal(one, two) for one, two in pairs)

    def leaves(self, tensor: Tensor) -> None:
        """Records a tensor that becomes a list or an array."""
        with not_followed():
            self.left.append(tensor.detach().clone())

    def hear(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], go: Go) -> Any:
        output = go(func, args, kwargs)
        if (number := number_of(func, args, output)) is not None:
            self.decisions.append(number)
        return output


class _Leaving(TorchFunctionMode):
    def __init__(self, told: Told) -> None:
        super().__init__()
        self.told = told

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in _LEAVES:
            self.told.leaves(args[0])
        elif name in _READS and isinstance(given := [*args, *(kwargs or {}).values()][_READS[name]], Tensor):
            self.told.leaves(given)
        return output
