"""What is asked of numbers that go into a task's file, or come out of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..tasks import Contents, TaskFileError, identity, is_same

_VARIANCES = ("running_var", "/var")
_KEPT = (torch.float32, torch.float64)
"""Types that tasks keep their numbers in."""


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Which numbers of layers are not finite, or negative where they are variances, in words; None: all are good.

    A head may hold what it likes.

    Args:
        tensors: by their names in the task's state.
    """
    for name, tensor in tensors.items():
        if name.startswith("head.") or not tensor.is_floating_point():
            continue
        if not bool(tensor.isfinite().all()):
            return f"{name!r} holds numbers that are not finite"
        if name.endswith(_VARIANCES) and bool((tensor < 0).any()):
            return f"{name!r} holds negative variances"
    return None


def check_precision(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """What tasks share is kept in single precision at least.

    Raises:
        TaskFileError: it is not.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.dtype not in _KEPT:
            raise TaskFileError(f"{path}: {name!r} holds {tensor.dtype}, and float32 is the least; save it again")


def check_types(path: Path, stored: Mapping[str, Tensor], live: Mapping[str, Tensor]) -> None:
    """What a file gives in place of one type is of one type: of numbers with a point, single precision at least.

    Args:
        path: the file.
        stored: tensors as the file has them.
        live: the same of the model, by the same names.

    Raises:
        TaskFileError: a layer would compute with numbers of two types, or with integers.
    """
    types: dict[tuple[bool, torch.dtype], torch.dtype] = {}
    for name, tensor in stored.items():
        head, mine = name.startswith("head."), live[name].dtype
        usual = types.setdefault((head, mine), tensor.dtype)
        fits = tensor.is_floating_point() and (head or tensor.dtype in _KEPT)
        if tensor.dtype != usual or not (fits if mine.is_floating_point else tensor.dtype == mine):
            found, wanted = (str(dtype).removeprefix("torch.") for dtype in (tensor.dtype, mine))
            others = f", and others of {str(usual).removeprefix('torch.')}" if tensor.dtype != usual else ""
            raise TaskFileError(
                f"{path}: {name!r} holds {found}{others}, where {wanted} is wanted; save the task again"
            )


@contextmanager
def taken_at_its_word(path: Path) -> Iterator[None]:
    """Run a block that does what a file says: whatever fails there, but for lack of memory, is wrong with the file.

    Raises:
        TaskFileError: the block has failed.
    """
    try:
        yield
    except (TaskFileError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise TaskFileError(f"{path} does not fit its own method ({error}); save the task again") from error


def same(held: Tensor, stored: Tensor) -> bool:
    """Whether the model holds the very numbers that a file has."""
    return held.dtype == stored.dtype and torch.equal(held.detach().cpu(), stored)


def check_backbone(path: Path, contents: Contents, backbone: nn.Module) -> None:
    theirs = contents.header["backbone"]
    if not is_same(backbone, theirs):
        raise TaskFileError(
            f"{path} belongs to another backbone ({_words_of(theirs)}; this one is {_words_of(identity(backbone))}); "
            "load the backbone it was trained on"
        )


def _words_of(backbone: dict[str, Any]) -> str:
    types = "/".join(backbone["types"]) or "no floating type"
    words = f"{backbone['class']} in {types}, fingerprint {backbone['fingerprint'][:12]}…"
    if (how := backbone.get("quantised")) is None:
        return words
    return f"{words}, quantised by {how['recipe']!r} into {how['fingerprint'][:12]}…"
