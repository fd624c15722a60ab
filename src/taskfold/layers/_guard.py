"""Nobody writes the backbone while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ._origin import storage_of
from ._proxy import writes


class Guard(TorchDispatchMode):
    """Stops the step that would write one of a network's tensors, before it does.

    Args:
        network: the user's.
        training: the mode that it runs in.

    Raises:
        RuntimeError: in the block; it names the layer and the tensor.
    """

    def __init__(self, network: nn.Module, training: bool) -> None:
        super().__init__()
        self.training = training
        self.held = {_place(tensor): (path, module, name) for path, module, name, tensor in _tensors(network)}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        for n, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                value = args[n] if n < len(args) else given.get(argument.name)
                for one in tree_leaves(value):
                    if isinstance(one, Tensor) and (known := self.held.get(_place(one))) is not None:
                        raise writes(*known, self.training)
        return func(*args, **given)


class Unwritten:
    """Runs a network that must leave its tensors alone.

    The first pass of a mode is guarded. Later ones that train are compared afterwards, for what writes now and then.

    Args:
        network: the user's.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.known: set[bool] = set()
        self.held: list[tuple[str, nn.Module, str, Tensor]] = []

    def run(self, training: bool, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function.

        Raises:
            RuntimeError: it writes; the error names the layer and the tensor.
        """
        if training not in self.known:
            with Guard(self.network, training):
                output = call(*args, **kwargs)
            self.known.add(training)
            self.held = [one for one in _tensors(self.network) if not one[3].is_inference()]
            return output
        if not training:
            return call(*args, **kwargs)
        before = [tensor._version for *_, tensor in self.held]
        output = call(*args, **kwargs)
        for old, (path, module, name, tensor) in zip(before, self.held, strict=True):
            if tensor._version != old:
                raise writes(path, module, name, training)
        return output


def check_unwritten(network: nn.Module) -> None:
    """A network that leaves its tensors alone, as far as its layers say so.

    Raises:
        TypeError: one of them writes its table whenever it is read.
    """
    for path, module in network.named_modules():
        longest = getattr(module, "max_norm", None)
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and longest is not None:
            raise TypeError(
                f"layer {path!r} ({type(module).__name__}, max_norm={longest}) shortens rows of its table whenever it "
                "reads them, and a backbone is never written; shorten all of them once: layer.weight.data = "
                "torch.renorm(layer.weight.data, layer.norm_type, 0, layer.max_norm); layer.max_norm = None"
            )


def _tensors(network: nn.Module) -> Iterator[tuple[str, nn.Module, str, Tensor]]:
    for path, module in network.named_modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    yield path, module, name, tensor


def _place(tensor: Tensor) -> int:
    storage = storage_of(tensor)
    return id(tensor) if storage is None else storage
