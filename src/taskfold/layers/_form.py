"""Forms: descriptions of layers at the time a task is added, to check layers that replace them later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from ..factors import Modes
from ..kinds import AnyLayer, LayerKind, WeightKind, kind_of
from ._where import check_plain


@dataclass(frozen=True)
class Form:
    """The properties of a layer that a task's tensors depend on.

    Attributes:
        kind: the layer's kind.
        name: the class name of the module.
        sizes: shapes of its tensors, by name.
        modes: of its weight; None: it has none.
        packed: its weight is packed (quantised), and can't be read.
        computed: why its tensors are not plain ones, as `check_plain` says; empty: they are.
    """

    kind: type[LayerKind]
    name: str
    sizes: Mapping[str, tuple[int, ...]]
    modes: Modes | None
    packed: bool
    computed: str

    @classmethod
    def of(cls, kind: LayerKind, path: str) -> Form:
        """The layer's present form."""
        module, computed, modes = kind.module, "", None
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
        """Whether a task's tensors for this form fit a layer of the other form."""
        if self.kind is AnyLayer:
            alike = True
        else:
            alike = issubclass(other.kind, self.kind) or issubclass(self.kind, other.kind)
        if self.packed or other.packed:
            return alike and self.modes == other.modes
        same = all(other.sizes.get(name) == size for name, size in self.sizes.items())
        return alike and same and (self.kind is AnyLayer or self.modes == other.modes)

    def odds(self, kind: LayerKind | None, path: str) -> str:
        """The error for the layer now at `path`, of `kind` (None: no layer); empty: the tasks' tensors fit it."""
        now = None if kind is None else Form.of(kind, path)
        if now is not None and self.takes(now) and (self.computed or not now.computed):
            return ""
        was = f"layer {path!r} was a {self} when a task came to adapt it"
        if now is not None and now.computed and not self.computed:
            return f"{was}: {now.computed}"
        found = "is gone" if now is None else f"is a {now} now"
        return f"{was}, and {found}; put a layer like it back, or remove the tasks that adapt it and add them anew"


def module_at(network: nn.Module, path: str) -> nn.Module | None:
    """The module at `path`; None: the network has none there."""
    module: nn.Module | None = network
    for name in path.split(".") if path else ():
        module = module._modules.get(name) if module is not None else None
    return module


def odds_in(network: nn.Module, forms: Mapping[str, Form]) -> dict[str, str]:
    """The errors (`Form.odds`) by path, for layers of the backbone that no longer fit their `forms`."""
    now = {path: module_at(network, path) for path in forms}
    kinds = {path: None if module is None else kind_of(module) for path, module in now.items()}
    return {path: words for path, form in forms.items() if (words := form.odds(kinds[path], path))}
