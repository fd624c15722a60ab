"""Embeddings, which are linear in their weight, with words as input channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..factors import Bottleneck, Modes
from ._linear import baddbmm
from ._rows import Rows
from ._stand_in import stand_in
from ._weight import WeightKind


class Embedding(WeightKind):
    """`nn.Embedding` and subclasses, as a weight `[dimensions, words]` on one-hot inputs."""

    words = "embedding"
    single = 0

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        return isinstance(module, nn.Embedding)

    @property
    def modes(self) -> Modes:
        words, size = self.weight.shape
        return Modes((size,), (words,))

    @property
    def plainly(self) -> bool:
        return type(self.module).forward is nn.Embedding.forward

    @property
    def additive(self) -> bool:  # type: ignore[override]
        return self.plainly  # a trial of a whole vocabulary is too slow

    @property
    def rowwise(self) -> bool:  # type: ignore[override]
        return self.plainly

    def examples(self, normal: Callable[..., Tensor], rows: int) -> Iterator[Tensor]:
        yield torch.arange(min(self.modes.inp[0], 8), device="cpu").expand(rows, -1)

    def seen(self, weight: Tensor) -> Tensor:
        return weight.mT

    def laid_out(self, weight: Tensor) -> Tensor:
        return weight.mT

    def walk(self, x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
        module: nn.Embedding = self.module  # type: ignore[assignment]
        if self.plainly:
            return F.embedding(x, weight.mT, scale_grad_by_freq=module.scale_grad_by_freq)
        return stand_in(module, {"weight": weight.mT}).forward(x)

    def exchanges(self, x: Tensor) -> bool:
        return x.dim() > 1

    def positions(self, x: Tensor) -> int:
        return x.numel()

    def beside(self, factors: Bottleneck, x: Tensor, y: Tensor) -> Tensor:
        return self._padded(x, super().beside(factors, x, y))

    def beside_rows(self, factors: Bottleneck, rows: Rows, x: Tensor, y: Tensor) -> Tensor:
        z = self._looked_up(factors.down, rows, x)
        up = rows.gather(factors.up).mT
        z = z.reshape(up.shape[0], -1, z.shape[-1])
        return self._padded(x, baddbmm(y.reshape(*z.shape[:-1], y.shape[-1]), z, up).reshape(y.shape))

    def _padded(self, x: Tensor, y: Tensor) -> Tensor:
        """Stops the gradient of the padding word, as torch does."""
        padding: int | None = self.module.padding_idx  # type: ignore[assignment]
        return y if padding is None or not y.requires_grad else torch.where((x == padding)[..., None], y.detach(), y)

    def rows_of_weights(self, weights: Tensor, x: Tensor, each: int) -> Tensor:
        return self._padded(x, self._looked_up(weights, Rows(x.shape[0], None, each), x))

    def _looked_up(self, tables: Tensor, rows: Rows, x: Tensor) -> Tensor:
        """Looks words up in each row's own of the tables `[T, C, words]`; copies only what is read."""
        index = rows.entry_of_each(x.device).reshape(-1, *[1] * (x.dim() - 1))
        return tables[index, :, x]
