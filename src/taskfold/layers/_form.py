"""What a layer is when a task comes to adapt it: a layer that is exchanged later must be alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from ..factors import Modes
from ..kinds import AnyLayer, LayerKind, WeightKind, kind_of
from ._where import check_plain


@dataclass(frozen=True)
class Form:
    """A layer, as far as a task's tensors depend on it.

    Attributes:
        kind: of layer.
        name: of the module's class.
        sizes: of its tensors, by name.
        modes: of its weight, if it has one.
        packed: whether its tensors can't be read.
        computed: why its tensors are no plain ones; empty: they are.
    """

    kind: type[LayerKind]
    name: str
    sizes: Mapping[str, tuple[int, ...]]
    modes: Modes | None
    packed: bool
    computed: str

    @classmethod
    def of(cls, module: nn.Module, path: str) -> Form:
        """That of a module, as it is now."""
        kind, computed, modes = kind_of(module), "", None
        try:
            check_plain(kind, path)
        except TypeError as error:
            computed = str(error)
        if isinstance(kind, WeightKind) and (kind.packed or module._parameters.get("weight") is not None):
            modes = kind.modes
        sizes = {name: tuple(tensor.shape) for name, tensor in kind.tensors().items()}
        packed = isinstance(kind, WeightKind) and kind.packed
        return cls(type(kind), type(module).__name__, sizes, modes, packed, computed)

    def __str__(self) -> str:
        sizes = " and ".join(
            f"a {name} of {' × '.join(map(str, size)) or 'one number'}" for name, size in self.sizes.items()
        )
        return f"{self.kind.words} ({self.name}) with {sizes or 'no tensors of its own'}"

    def takes(self, other: Form) -> bool:
        """Whether tensors for a layer of this form do for another."""
        if self.kind is AnyLayer:
            alike = True
        else:
            alike = issubclass(other.kind, self.kind) or issubclass(self.kind, other.kind)
        if self.packed or other.packed:
            return alike and self.modes == other.modes
        same = all(other.sizes.get(name) == size for name, size in self.sizes.items())
        return alike and same and (self.kind is AnyLayer or self.modes == other.modes)

    def odds(self, network: nn.Module, path: str) -> str:
        """What has become of a layer that tasks adapt; empty: their tensors do for it.

        Args:
            network: the backbone, as it is now.
            path: of the layer.
        """
        remedy = "put a layer like it back, or remove the tasks that adapt it and add them anew"
        was = f"layer {path!r} was a {self} when a task came to adapt it"
        module: nn.Module | None = network
        for name in path.split(".") if path else ():
            module = module._modules.get(name) if module is not None else None
        if module is None:
            return f"{was}, and is gone; {remedy}"
        now = Form.of(module, path)
        if now.computed and not self.computed:
            return f"{was}: {now.computed}"
        return "" if self.takes(now) else f"{was}, and is a {now} now; {remedy}"
