"""A structural copy of a network that shares its tensors and runs adapted layers through sites."""

from __future__ import annotations

import copy
from collections.abc import Collection

from torch import nn

from ..kinds import is_norm, kind_of
from ._sites import Site


def skeleton(network: nn.Module, paths: Collection[str]) -> nn.Module:
    """The network again, module by module, over the same tensors; `paths` become sites.

    The network itself is not touched: its modules, names, hooks and modes stay as they are.

    Raises:
        TypeError: the network holds something that cannot be copied, or a patched layer is to be adapted.
    """
    shared = {id(t): t for t in [*network.parameters(), *network.buffers()]}
    try:
        twin = copy.deepcopy(network, shared)  # type: ignore[arg-type]
    except Exception as error:
        raise TypeError(
            f"the structure of {type(network).__name__} cannot be copied ({error}); remove what holds locks, files or "
            "non-leaf tensors from its attributes"
        ) from error
    for path, module in list(twin.named_modules()):
        if path in paths:
            module.__dict__["forward"] = Site(path, module, kind_of(network.get_submodule(path)).at(module))
        # Their fused paths read the children's weights without calling them.
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0
        if isinstance(module, nn.TransformerEncoder):
            module.enable_nested_tensor = module.use_nested_tensor = False
    return twin


def sites_of(twin: nn.Module) -> list[Site]:
    """The sites of a skeleton, in the network's order."""
    return [site for module in twin.modules() if isinstance(site := module.__dict__.get("forward"), Site)]


def set_mode(twin: nn.Module, training: bool) -> None:
    """Train or evaluate; what may write its buffers (BatchNorm) always evaluates, since they are the backbone's."""
    twin.train(training)
    for module in twin.modules():
        if module._buffers and (is_norm(module) or not module._modules):
            module.training = False
