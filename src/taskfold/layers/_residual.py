"""The convolutions of residual networks: those of shortcuts, and the others."""

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
"""What modules on shortcuts are called: by torchvision and timm, and by Hugging Face."""
Shortcuts = Literal["copied", "adapted"]


@dataclass(frozen=True)
class MainConvolutions(Convolutions):
    """Every convolution, the first one too, but those of shortcuts.

    Args:
        targets: shell patterns over layer names; `!pattern` leaves layers out.
        shortcuts: those of shortcuts too.
        centred: a 1×1 convolution beside each must be one weight with it; others are refused by name.
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
    """Whether a layer's name says that it lies on a shortcut."""
    return not SHORTCUTS.isdisjoint(path.split("."))


def is_centred(module: nn.Module) -> bool:
    """Whether the centre of a convolution's kernel runs over the input's positions, from the first on."""
    kind = kind_of(module)
    if not isinstance(kind, Convolution) or isinstance(kind, TransposedConvolution) or not kind.plainly:
        return False
    assert isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    if any(size % 2 == 0 for size in module.kernel_size):
        return False
    middle = tuple(d * (k // 2) for d, k in zip(module.dilation, module.kernel_size, strict=True))
    return module.padding == "same" or tuple(module.padding) == middle


def copied_shortcuts(network: nn.Module, targets: Patterns, shortcuts: Shortcuts) -> tuple[Update, ...]:
    """The recipe of a task's own copies of the convolutions on shortcuts; none, if there are none."""
    where = ShortcutConvolutions(targets, stem=True)
    found = shortcuts == "copied" and any(matches(target.path, targets) for target in where.candidates(network))
    return (Update(Copy(), where),) if found else ()


def check_shortcuts(shortcuts: object) -> None:
    """What becomes of the convolutions on shortcuts.

    Raises:
        ValueError: there is no such way.
    """
    if shortcuts not in get_args(Shortcuts):
        raise ValueError(f"shortcuts={shortcuts!r} is not known; choose one of {', '.join(get_args(Shortcuts))}")
