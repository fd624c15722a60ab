"""Checks of tensors that are saved or loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from ..files import source_words
from ..tasks import Contents, TaskFileError, identity, is_same

_VARIANCES = ("running_var", "/var")
_KEPT = (torch.float32, torch.float64)
"""Types of tasks' tensors."""


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The error for a tensor of a layer with numbers that are not finite, or with negative variances; None: none.

    Heads are not checked. The tensors' names are those of the task's state.
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
    """Checks that an inventory's tensors have at least single precision.

    Raises:
        TaskFileError: one has less.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.dtype not in _KEPT:
            raise TaskFileError(f"{path}: {name!r} holds {tensor.dtype}, and float32 is the least; save it again")


def check_types(path: Path, stored: Mapping[str, Tensor], live: Mapping[str, Tensor]) -> None:
    """Checks that a file's tensors for one type of the model have one type, with at least single precision.

    Args:
        path: the file.
        stored: the file's tensors.
        live: the model's tensors, by the same names.

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
    """Run a block that uses a file's content; its errors, except for lack of memory, are blamed on the file.

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
    """Whether a tensor of the model and one of a file are equal, bit for bit."""
    return held.dtype == stored.dtype and torch.equal(held.detach().cpu(), stored)


def check_backbone(path: Path, contents: Contents, backbone: nn.Module) -> None:
    theirs = contents.header["backbone"]
    if not is_same(backbone, theirs):
        raise TaskFileError(
            f"{path} belongs to another backbone: it was trained on {source_words(theirs)}, and this one is "
            f"{source_words(identity(backbone))}; load the backbone it was trained on"
        )
