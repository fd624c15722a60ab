"""Residual blocks, found by their computation: a shortcut plus a function of the input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kinds import Patterns, kind_of, matches, stand_in
from ._nothing import NothingToAdaptError
from ._recipe import several
from ._skeleton import in_mode
from ._where import check_plain

SHORTCUTS = ("downsample", "shortcut")
"""Names of a block's shortcut, which may be None: in ResNets of torchvision and timm, and of Hugging Face."""


def residual_blocks(network: nn.Module, targets: Patterns = "*") -> dict[str, str | None]:
    """The residual blocks of a network in its order, each with the name of its shortcut; None: the block's input.

    Blocks are innermost: none holds another. A block has a convolution and a child or attribute named in `SHORTCUTS`,
    and computes σ(shortcut(x) + F(x)), where σ is a ReLU or nothing. A trial run checks this with all other tensors
    zero, where the output must be σ(shortcut(x)); tensors on `meta` are not tried.

    Raises:
        ValueError: there are none, or none is selected; names what was looked for and what was found.
    """
    found, alike = dict[str, str | None](), list[str]()
    for path, module in network.named_modules():
        name = next((name for name in SHORTCUTS if hasattr(module, name)), None)
        child = None if name is None else getattr(module, name)
        if name is None or not path or not (child is None or isinstance(child, nn.Module)):
            continue
        if _is_residual(module, name):
            found[path] = None if child is None else name
        elif any(isinstance(one, nn.Conv2d) for one in module.modules()):
            alike.append(path)
    found = {path: name for path, name in found.items() if not any(one.startswith(f"{path}.") for one in found)}
    if not found:
        others = f"; {', '.join(alike[:4])} have such a child and are no sum with it" if alike else ""
        raise NothingToAdaptError(
            f"{type(network).__name__} has no residual blocks: looked for modules with a convolution and a child "
            f"{' or '.join(map(repr, SHORTCUTS))} (or None there) that put out a ReLU, or nothing, of that plus the "
            f"rest, as the blocks of torchvision's, timm's and Hugging Face's ResNets do; found {_children(network)}"
            f"{others}"
        )
    chosen = {path: name for path, name in found.items() if matches(path, targets)}
    if not chosen:
        names = ", ".join([*found][:8]) + (", …" if len(found) > 8 else "")
        raise ValueError(f"targets={targets!r} selects none of the {len(found)} residual blocks: {names}")
    for path in chosen:
        check_plain(kind_of(network.get_submodule(path)), path, hooks=False)
    for path, places in several(network, chosen).items():
        raise ValueError(f"block {path!r} stands in several places ({', '.join(places)}); give each its own module")
    return chosen


def _children(network: nn.Module) -> str:
    kinds = dict.fromkeys(type(child).__name__ for child in network.children())
    return f"{', '.join(kinds) or 'no modules'} in it"


@torch.no_grad()
def _is_residual(module: nn.Module, name: str) -> bool:
    inside = f"{name}."
    rest = [(path, one) for path, one in module.named_modules() if not f"{path}.".startswith(inside)]
    conv = next((one for _, one in rest if isinstance(one, nn.Conv2d)), None)
    if conv is None:
        return False
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    if any(tensor.is_meta for tensor in state.values()):
        return True
    twin = in_mode(module, False)
    empty = {key: torch.zeros_like(tensor) for key, tensor in state.items() if not key.startswith(inside)}
    with torch.random.fork_rng(devices=[]):
        x = torch.randn(2, conv.in_channels, 8, 8).to(conv.weight)
        try:
            child: nn.Module | None = getattr(twin, name)
            given = x if child is None else child(x)
            made = stand_in(twin, empty).forward(x)
        except Exception:
            return False
    return isinstance(made, Tensor) and any(torch.equal(made, one) for one in (F.relu(given), given))
