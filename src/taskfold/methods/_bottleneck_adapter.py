from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from torch import nn

from ..interventions import Activation, Adapter
from ..kinds import Patterns
from ..layers import AdapterInit, Adapters, Attention, Composition, FeedForwards, Statistics, Where, own_norms
from ..routing import sharing
from ._base import Method

__all__ = ["BottleneckAdapter"]

Places = Literal["feed-forward", "attention", "houlsby"]


@dataclass(frozen=True)
class BottleneckAdapter(Method):
    """Bottleneck adapters: y + W_up σ(W_down y + b) + b' behind a transformer's sublayers, and own normalisation.

    Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", section 2.1; behind feed-forward blocks alone as
    in Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning" (T-Few).
    The non-linearity keeps a task from folding.

    Args:
        width: r ≥ 1, channels of the bottleneck; r (2d + 1) + d numbers per layer of d outputs and task.
        places: behind which sublayers: the last layer of every `feed-forward` block, the output projection of every
            `attention`, or both (`houlsby`).
        activation: σ: `relu`, `gelu`, `silu` or `tanh`.
        scale: factor on an adapter's output.
        init: `zero` (W_up is zero: a new task is the backbone, bit for bit) or `authors` (both N(0, 0.02)).
        targets: shell patterns over the names of these layers; `!pattern` leaves layers out.
        norm: every task has its own normalisation.
        sharing: `private` (a task's own adapters) or `shared`.
        statistics: as for `FTN`.

    Raises:
        ValueError: a setting is out of its range; when a task is added, a network without such sublayers.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> net = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        >>> model = tfold.MultiTask(net, tfold.BottleneckAdapter(width=4))
        >>> model.add_task("flowers").counts()  # 4 · (2 · 16 + 1) + 16; γ and β of two LayerNorms
        {'factors': 148, 'routing': 0, 'norm': 64, 'head': 0}
    """

    width: int = 64
    places: Places = "feed-forward"
    activation: Activation = "relu"
    scale: float = 1.0
    init: AdapterInit = "zero"
    targets: Patterns = "*"
    norm: bool = True
    sharing: str | Mapping[str, Any] = "private"
    statistics: Statistics | None = None
    name: ClassVar[str] = "adapter"

    @property
    def parts(self) -> tuple[Adapters, ...]:
        adapter = Adapter(self.activation, self.scale)
        return tuple(
            Adapters(where, adapter, self.width, self.init, sharing(self.sharing))
            for where in behind(self.places, self.targets)
        )

    def compose(self, network: nn.Module) -> Composition:
        return Composition((*self.parts, *own_norms(self.norm, self.statistics, sharing(self.sharing))))


def behind(places: Places, targets: Patterns) -> list[Where]:
    """The layers that adapters follow.

    Raises:
        ValueError: `places` is unknown.
    """
    if places not in get_args(Places):
        raise ValueError(f"places={places!r} is not known; choose one of {', '.join(get_args(Places))}")
    found: dict[str, Where] = {"attention": Attention(targets, ("output",)), "feed-forward": FeedForwards(targets)}
    return [where for place, where in found.items() if places in (place, "houlsby")]
