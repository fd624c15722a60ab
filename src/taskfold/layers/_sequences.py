"""Finds the token sequences of a network by structure and signatures, not by names of networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from ..kinds import TokenStack, kind_of
from ._attention import Attention
from ._nothing import NothingToAdaptError
from ._skeleton import skeleton
from ._where import Target, kinds_in

Role = Literal["only", "encoder", "decoder"]
TRIED = (5, 7)
"""Lengths of the trial sequences."""


@dataclass(frozen=True)
class TokenSequence:
    """A sequence of tokens `[B, N, d]` through a network.

    Attributes:
        first: path of the module that it enters: a token stack, or the first block.
        last: path of the module that it leaves: the same stack, or the last block.
        width: d.
        role: `encoder` if a decoder attends to its output, `decoder`, or `only`.
        within: path of the module that holds the layers it runs through.
    """

    first: str
    last: str
    width: int
    role: Role
    within: str

    def holds(self, path: str) -> bool:
        """Whether the sequence runs through the layer at `path`."""
        return not self.within or path.startswith(f"{self.within}.")


def token_sequences(network: nn.Module) -> list[TokenSequence]:
    """The sequences of a text model, the encoder's first, or the one of a transformer with blocks in a list.

    Raises:
        ValueError: none is found; the message says which structures were tried.
    """
    stacks = {path: kind for path, module in network.named_modules() if isinstance(kind := kind_of(module), TokenStack)}
    if not stacks:
        return [_of_blocks(network)]
    if len(stacks) == 1:
        roles: dict[str, Role] = dict.fromkeys(stacks, "only")
    else:
        roles = _roles(network, stacks)
    return [TokenSequence(path, path, stacks[path].width, role, path) for path, role in roles.items()]


def _roles(network: nn.Module, stacks: dict[str, TokenStack]) -> dict[str, Role]:
    """The roles of two stacks: a decoder attends to an encoder."""
    for module in network.modules():
        ask = getattr(module, "get_encoder", None)
        encoder = ask() if callable(ask) else None
        if encoder is module or len(stacks) != 2:
            continue
        for path, kind in stacks.items():
            if kind.module is encoder:
                other = next(p for p in stacks if p != path)
                return {path: "encoder", other: "decoder"}
    raise ValueError(
        f"{type(network).__name__} has {len(stacks)} token stacks ({', '.join(map(repr, stacks))}), and rows before a "
        "sequence need one, or an encoder and its decoder as get_encoder() tells them apart; use the part of the "
        "network that the tasks need"
    )


def _of_blocks(network: nn.Module) -> TokenSequence:
    targets = Attention(projections=("key", "value")).candidates(network)
    try:
        return _blocks(network, targets)
    except _UnknownError as error:
        found = f"{len(targets)} layers of attention among {kinds_in(network)}" if targets else kinds_in(network)
        raise NothingToAdaptError(
            f"{type(network).__name__} has no token sequence that is known: looked for a module that takes input_ids "
            "or inputs_embeds and an attention_mask (text models), and for a row of blocks with attention that each "
            f"take [B, N, d] and put out the same (vision transformers); found {found}, and {error}; choose a method "
            "for one of these kinds"
        ) from None


class _UnknownError(Exception):
    pass


def _blocks(network: nn.Module, targets: Sequence[Target]) -> TokenSequence:
    paths = [target.path.split(".") for target in targets]
    if not paths:
        raise _UnknownError("no attention")
    common = 0
    while common < min(map(len, paths)) and len({path[common] for path in paths}) == 1:
        common += 1
    while common >= 0:  # go up to the nearest list
        within = ".".join(paths[0][:common])
        module = network.get_submodule(within)
        if isinstance(module, (nn.ModuleList, nn.Sequential)):
            break
        common -= 1
    else:
        raise _UnknownError("no list holds all of the attention")
    holding = {path[common] for path in paths if len(path) > common}
    names = list(module._modules)
    if holding != set(names):
        raise _UnknownError(f"of the {len(names)} modules in {within!r} {len(holding)} have attention")
    first, last = (f"{within}.{name}" if within else name for name in (names[0], names[-1]))
    width = prod(targets[0].views[0].modes.inp)
    _try(first, network.get_submodule(first), width)
    return TokenSequence(first, last, width, "only", within)


@torch.no_grad()
def _try(path: str, block: nn.Module, width: int) -> None:
    """Checks that a block takes any number of tokens and returns as many."""
    for name, module in block.named_modules():
        if isinstance(module, nn.MultiheadAttention) and not module.batch_first:
            raise _UnknownError(f"attention {path}.{name} takes tokens first (batch_first=False)")
    kind, quiet = kind_of(block), skeleton(block, (), quiet=True)
    for count in TRIED:
        x = torch.zeros(2, count, width, dtype=kind.dtype, device=kind.device)
        try:
            output = quiet(x)
        except Exception as error:
            raise _UnknownError(f"block {path!r} does not take {list(x.shape)} alone ({str(error)[:120]})") from None
        first = output[0] if isinstance(output, (tuple, list)) else output
        if not isinstance(first, Tensor) or first.shape != x.shape:
            shape = list(first.shape) if isinstance(first, Tensor) else type(first).__name__
            raise _UnknownError(f"block {path!r} makes {shape} of {list(x.shape)}")
