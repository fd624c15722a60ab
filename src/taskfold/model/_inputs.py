"""The rows of a pass's inputs: their form, keys of their contents, and subsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from ..layers import PLAIN, PrefixError
from ._outputs import rows_of
from ._store import KEY


@dataclass(frozen=True)
class Inputs:
    """The inputs of a backbone.

    Attributes:
        leaves: tensors and plain values.
        nesting: their structure in (args, kwargs).
        batch: number of rows.
        form: describes all but the tensors' values and the number of rows.
    """

    leaves: Sequence[Any]
    nesting: Any
    batch: int
    form: str

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any], *also: object) -> Inputs:
        """The inputs of a call; `also` is part of the form.

        Raises:
            PrefixError: they hold other values than tensors, numbers and names, or tensors that require gradients.
        """
        leaves, nesting = tree_flatten((args, dict(kwargs)))
        batch = rows_of(args, kwargs)
        said: list[object] = []
        for leaf in leaves:
            if not isinstance(leaf, (Tensor, *PLAIN)):
                raise PrefixError(f"the backbone is given a {type(leaf).__name__}")
            if isinstance(leaf, Tensor) and leaf.requires_grad:
                raise PrefixError("the backbone's input has gradients")
            rows = _has_rows(leaf, batch)
            shape = (
                (*leaf.shape[rows:], leaf.stride()[1:] if leaf.dim() > 1 else ()) if isinstance(leaf, Tensor) else ()
            )
            said.append((leaf.dtype, leaf.device.type, rows, shape) if isinstance(leaf, Tensor) else leaf)
        devices = {leaf.device.type for leaf in leaves if isinstance(leaf, Tensor)}
        cast = [torch.get_autocast_dtype(one) if torch.is_autocast_enabled(one) else None for one in sorted(devices)]
        return cls(leaves, nesting, batch, repr((said, str(nesting), cast, *also)))

    @property
    def device(self) -> torch.device:
        return next(leaf.device for leaf in self.leaves if isinstance(leaf, Tensor))

    def some(self, index: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Some of the rows, as (args, kwargs)."""
        taken = [leaf[index.to(leaf.device)] if _has_rows(leaf, self.batch) else leaf for leaf in self.leaves]
        return tree_unflatten(taken, self.nesting)

    def first(self, rows: int) -> Inputs:
        """The inputs of at most the first `rows` rows."""
        index = torch.arange(min(rows, self.batch))
        return replace(self, leaves=tree_flatten(self.some(index))[0], batch=len(index))

    def keys(self) -> list[bytes]:
        """A key for each row, of its contents and of the tensors that serve all rows."""
        rows, all_of = [], b""
        for leaf in self.leaves:
            if _has_rows(leaf, self.batch):
                rows.append(_bytes(leaf.reshape(self.batch, -1)))
            elif isinstance(leaf, Tensor):
                all_of += sha256(_bytes(leaf.reshape(1, -1)).cpu().numpy().data).digest()
        if all(one.device.type == "cpu" for one in rows):
            arrays = [one.numpy() for one in rows]
            return [
                sha256(
                    all_of + b"".join(one[n].data for one in arrays) if len(arrays) > 1 or all_of else arrays[0][n].data
                ).digest()[:KEY]
                for n in range(self.batch)
            ]
        hashed = torch.cat([hashes(one) for one in rows], 1).cpu().numpy()
        return [sha256(all_of + row.tobytes()).digest()[:KEY] for row in hashed]


def hashes(rows: Tensor) -> Tensor:
    """`[B, n]` bytes → `[B, 4]` int64, four strongly universal 32-bit hashes of each row, on the rows' device.

    Multilinear, modulo 2^64, the upper half (Lemire and Kaser, 2014): two rows agree in all four by a chance of 2^-128.
    """
    words = torch.nn.functional.pad(rows, (0, -rows.shape[1] % 4)).contiguous().view(torch.int32).long()
    dice = torch.Generator().manual_seed(0)
    low, high = torch.iinfo(torch.int64).min, torch.iinfo(torch.int64).max
    found = []
    for _ in range(4):
        factors = torch.randint(low, high, (words.shape[1] + 1,), generator=dice).to(rows.device)
        found.append(((words * factors[1:]).sum(1) + factors[0]) >> 32)
    return torch.stack(found, 1)


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().view(torch.uint8) if tensor.numel() else torch.zeros(len(tensor), 0).byte()


def _has_rows(leaf: Any, batch: int) -> bool:
    return isinstance(leaf, Tensor) and leaf.dim() > 0 and len(leaf) == batch
