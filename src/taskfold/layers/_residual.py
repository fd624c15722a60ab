"""The convolutions of residual networks, on shortcuts and elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from torch import nn

from ..factors import Copy
from ..kinds import Convolution, Patterns, TransposedConvolution, kind_of, matches
from ._nothing import GeometryError
from ._update import Update
from ._where import Convolutions, Target

SHORTCUTS = frozenset({"downsample", "shortcut"})
"""Names of modules on shortcuts: of torchvision and timm, and of Hugging Face."""
Shortcuts = Literal["copied", "adapted"]


@dataclass(frozen=True)
class MainConvolutions(Convolutions):
    """Every convolution, the first one included, except those on shortcuts.

    Args:
        targets: shell patterns over layer names; `!pattern` leaves layers out.
        shortcuts: include convolutions on shortcuts.
        centred: refuse convolutions with which a 1×1 convolution beside them can't be merged into one weight.
    """

    stem: bool = True
    shortcuts: bool = False
    centred: bool = False

    def candidates(self, network: nn.Module) -> list[Target]:
        found = [t for t in super().candidates(network) if self.shortcuts or not on_shortcut(t.path)]
        return [self._checked(network, target) for target in found] if self.centred else found

    def _checked(self, network: nn.Module, target: Target) -> Target:
        module = network.get_submodule(target.path)
        if is_centred(module):
            return target
        has = ", ".join(f"{name} {getattr(module, name)}" for name in ("kernel_size", "padding", "dilation"))
        return replace(
            target,
            refused=GeometryError(
                f"layer {target.path!r} ({type(module).__name__}): a 1×1 convolution beside it is one weight with it "
                f"where kernels are odd and padding is dilation · (k − 1) / 2, found {has}; leave the layer out with "
                f"targets=('*', '!{target.path}')"
            ),
        )


class ShortcutConvolutions(Convolutions):
    """The convolutions of shortcuts."""

    def candidates(self, network: nn.Module) -> list[Target]:
        return [target for target in super().candidates(network) if on_shortcut(target.path)]


def on_shortcut(path: str) -> bool:
    """Whether a layer lies on a shortcut, by its name."""
    return not SHORTCUTS.isdisjoint(path.split("."))


def is_centred(module: nn.Module) -> bool:
    """Whether the centre of a convolution's kernel starts at the input's first position."""
    kind = kind_of(module)
    if not isinstance(kind, Convolution) or isinstance(kind, TransposedConvolution) or not kind.plainly:
        return False
    assert isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    if any(size % 2 == 0 for size in module.kernel_size):
        return False
    middle = tuple(d * (k // 2) for d, k in zip(module.dilation, module.kernel_size, strict=True))
    return module.padding == "same" or tuple(module.padding) == middle


def copied_shortcuts(network: nn.Module, targets: Patterns, shortcuts: Shortcuts) -> tuple[Update, ...]:
    """The recipe of own copies of the convolutions on shortcuts; empty if none is selected."""
    where = ShortcutConvolutions(targets, stem=True)
    found = shortcuts == "copied" and any(matches(target.path, targets) for target in where.candidates(network))
    return (Update(Copy(), where),) if found else ()


def check_shortcuts(shortcuts: object) -> None:
    """Checks the setting for convolutions on shortcuts.

    Raises:
        ValueError: it is unknown.
    """
    if shortcuts not in get_args(Shortcuts):
        raise ValueError(f"shortcuts={shortcuts!r} is not known; choose one of {', '.join(get_args(Shortcuts))}")
