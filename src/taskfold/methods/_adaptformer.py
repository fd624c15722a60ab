from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from ..interventions import Activation, Adapter
from ..kinds import Patterns
from ..layers import Adapters, Composition, PreNormBlocks
from ..routing import sharing
from ._base import Method

__all__ = ["AdaptFormer"]


@dataclass(frozen=True)
class AdaptFormer(Method):
    """Bottlenecks beside normalisation and feed-forward, x + F(norm(x)) + s · (W_up σ(W_down x + b) + b').

    Chen et al., "AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition", section 3.2. The
    bottleneck sees the residual stream x itself. W_up and both biases start at zero, as the authors' do, so that a new
    task is the backbone, bit for bit. The non-linearity keeps a task from folding.

    Args:
        width: r ≥ 1, channels of the bottleneck; r (2d + 1) + d numbers per block of d channels and task.
        scale: s.
        activation: σ: `relu`, `gelu`, `silu` or `tanh`.
        targets: shell patterns over the names of the blocks; `!pattern` leaves blocks out.
        sharing: `private` (a task's own bottlenecks) or `shared`.

    Raises:
        ValueError: a setting is out of its range; when a task is added, a network without blocks that normalise before
            their feed-forward; when a block runs, it does so in the other order.

    Example:
        >>> import taskfold as tfold
        >>> net = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
        >>> tfold.MultiTask(net, tfold.AdaptFormer(width=4)).add_task("flowers").counts()  # 4 · (2 · 16 + 1) + 16
        {'factors': 148, 'routing': 0, 'norm': 0, 'head': 0}
    """

    width: int = 64
    scale: float = 0.1
    activation: Activation = "relu"
    targets: Patterns = "*"
    sharing: str | Mapping[str, Any] = "private"
    name: ClassVar[str] = "adaptformer"

    @property
    def parts(self) -> tuple[Adapters]:
        adapter = Adapter(self.activation, self.scale)
        return (Adapters(PreNormBlocks(self.targets), adapter, self.width, "zero", sharing(self.sharing)),)

    def compose(self, network: nn.Module) -> Composition:
        return Composition(self.parts)
