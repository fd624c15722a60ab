from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import nn

from ..layers import Composition, Prefixes
from ..routing import sharing
from ._base import Method

__all__ = ["PrefixTuning"]


@dataclass(frozen=True)
class PrefixTuning(Method):
    """Prefix tuning: n rows of a task before the keys and values of every attention, in every layer.

    Li & Liang, "Prefix-Tuning: Optimizing Continuous Prompts for Generation", section 4. In encoders and decoders, with
    positions as if the rows preceded the text: Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and
    Cheaper than In-Context Learning" (T-Few). Rows are input, so that a task neither folds nor begins as the backbone.

    Args:
        tokens: n ≥ 1; n (w_k + w_v) numbers per attention with keys of width w_k and values of width w_v.
        mlp: m: while a task is trained, rows are W_up tanh(W_down e + b) + b' with m channels; e, W_down and b are
            common to the self-attention of an encoder, that of a decoder, or the cross-attention; its file holds the
            rows. 0 trains the rows themselves.
        sharing: `private` (a task's own rows) or `shared`.

    Raises:
        ValueError: a setting is out of its range; when a task is added, a network whose tokens or attention are not
            known.

    Example:
        >>> import timm, taskfold as tfold
        >>> net = timm.create_model("vit_tiny_patch16_224", depth=2, num_classes=0)
        >>> tfold.MultiTask(net, tfold.PrefixTuning(tokens=4)).add_task("flowers").counts()  # 2 · 4 · 2 · 192
        {'factors': 0, 'routing': 0, 'norm': 0, 'head': 0, 'prefix': 3072}
    """

    tokens: int = 2
    mlp: int = 0
    sharing: str | Mapping[str, Any] = "private"
    name: ClassVar[str] = "prefix"
    from_the_start: ClassVar[str] = "rows come in before the first stage"

    @property
    def parts(self) -> tuple[Prefixes]:
        return (Prefixes(self.tokens, self.mlp, sharing(self.sharing)),)

    def compose(self, network: nn.Module) -> Composition:
        return Composition(self.parts)

    def stored(self) -> PrefixTuning:
        return replace(self, mlp=0)
