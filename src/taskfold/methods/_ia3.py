from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from torch import nn

from ..kinds import Patterns
from ..layers import Attention, Composition, Every, FeedForwards, InputGains, OutputGains, ProjectionGains, Weights
from ..routing import sharing
from ._base import Method

__all__ = ["IA3"]

Places = Literal["both", "attention", "feed-forward"]


@dataclass(frozen=True)
class IA3(Method):
    """(IA)³: keys, values and the inner activations of feed-forward blocks times a scale for each channel.

    Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning" (T-Few),
    section 3.3. Scales start at 1, so that a new task is the backbone, bit for bit.

    Args:
        places: `both`, or those of `attention` or of `feed-forward` blocks alone.
        targets: shell patterns over the names of the layers that make keys and values, and of the last layers of
            feed-forward blocks; `!pattern` leaves layers out.
        outputs, inputs: instead of `places`, patterns over names of layers whose outputs, and whose inputs, are scaled;
            any linear layer, convolution or (its output) embedding.
        sharing: `private`; `shared`, one set of scales for all tasks; `poly` or `mhr`, which mix those of an inventory.

    Raises:
        ValueError: a setting is out of its range; when a task is added, a network without such places.

    Example:
        >>> import taskfold as tfold
        >>> net = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        >>> model = tfold.MultiTask(net, tfold.IA3())
        >>> model.add_task("flowers").counts()["scale"]  # 2 · 16 for keys and values, 32 inside
        64
    """

    places: Places = "both"
    targets: Patterns = "*"
    outputs: Patterns | None = None
    inputs: Patterns | None = None
    sharing: str | Mapping[str, Any] = "private"
    name: ClassVar[str] = "ia3"

    @property
    def parts(self) -> tuple[ProjectionGains | OutputGains | InputGains, ...]:
        if self.places not in get_args(Places):
            raise ValueError(f"places={self.places!r} is not known; choose one of {', '.join(get_args(Places))}")
        rule = sharing(self.sharing)
        if self.outputs is not None or self.inputs is not None:
            if (self.places, self.targets) != ("both", "*"):
                raise ValueError(
                    "outputs and inputs name layers, and places and targets find others; give one or the other"
                )
            named = (OutputGains(Every(self.outputs, setting="outputs"), rule),) if self.outputs is not None else ()
            if self.inputs is None:
                return named
            return (*named, InputGains(Weights(self.inputs, setting="inputs"), rule))
        attention = ProjectionGains(Attention(self.targets, ("key", "value")), rule)
        inner = InputGains(FeedForwards(self.targets), rule)
        return {"both": (attention, inner), "attention": (attention,), "feed-forward": (inner,)}[self.places]

    def compose(self, network: nn.Module) -> Composition:
        return Composition(self.parts)
