"""The stages of a network, and the modules of the first ones."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def stages(network: nn.Module) -> list[str]:
    """The names of a network's stages, in its order.

    Those that timm lists (`layer1` to `layer4` of a ResNet, the blocks of a transformer); otherwise the blocks in the
    outermost `Sequential` and `ModuleList` containers.

    Example:
        >>> stages(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3)))
        ['0', '2']
    """
    listed = [info["module"] for info in getattr(network, "feature_info", None) or ()]
    known = dict(network.named_modules())
    return [name for name in listed if name in known and known[name]._modules] or list(_blocks(network, ""))


def _blocks(module: nn.Module, path: str) -> Iterator[str]:
    inner = [
        (f"{path}{name}", child) for name, child in module.named_children() if any(True for _ in child.parameters())
    ]
    if isinstance(module, (nn.Sequential, nn.ModuleList)) and len(inner) > 1:
        yield from (name for name, _ in inner)
    else:
        for name, child in inner:
            yield from _blocks(child, f"{name}.")


def frozen(network: nn.Module, count: int, what: str = "frozen_stages") -> frozenset[str]:
    """The paths of the modules of the first stages, and of those before them.

    Args:
        network: the backbone.
        count: number of stages.
        what: the name of the user's setting, for the error.

    Raises:
        ValueError: the network has fewer stages.
    """
    if not count:
        return frozenset()
    found = stages(network)
    if count > len(found):
        raise ValueError(
            f"{what}={count} is more than {type(network).__name__} has: "
            f"{len(found)} stages ({', '.join(found) or 'none'})"
        )
    names = [name for name, _ in network.named_modules()]
    if count < len(found):
        return frozenset(names[: names.index(found[count])])
    last = max(n for n, name in enumerate(names) if f"{name}.".startswith(f"{found[-1]}."))
    return frozenset(names[: last + 1])
