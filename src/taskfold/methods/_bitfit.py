from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..kinds import Patterns
from ..layers import Biases, Composition
from ._base import Method

__all__ = ["BitFit"]


@dataclass(frozen=True)
class BitFit(Method):
    """A task trains the network's biases, and its scales of normalisation; weights are the backbone's.

    Ben Zaken et al., "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models",
    section 3. They train biases alone (`norms=False`), of which β of normalisation are some.

    Args:
        norms: γ of normalisation too. Running statistics stay the backbone's.
        create: linear layers without a bias get one, which starts at zero. None: if the network has no bias at all
            (T5, Llama).
        create_at: shell patterns over the names of these layers; `!pattern` leaves layers out. By default all but
            T5's `wo`, as in the code of T-Few. A language model's output layer gets none.

    Raises:
        ValueError: a setting is out of its range.

    Example:
        >>> import taskfold as tfold
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 8, bias=False))
        >>> tfold.MultiTask(net, tfold.BitFit()).add_task("one").counts()
        {'factors': 0, 'routing': 0, 'norm': 16, 'head': 0, 'bias': 8}
        >>> tfold.MultiTask(net, tfold.BitFit(norms=False, create=True)).add_task("one").counts()
        {'factors': 0, 'routing': 0, 'norm': 8, 'head': 0, 'bias': 16}
    """

    norms: bool = True
    create: bool | None = None
    create_at: Patterns = ("*", "!*.wo")
    name: ClassVar[str] = "bitfit"

    @property
    def parts(self) -> tuple[Biases]:
        if not (self.create is None or isinstance(self.create, bool)):
            raise ValueError(f"create must be true, false or none, found {self.create!r}")
        return (Biases(self.norms, self.create, self.create_at),)

    def compose(self, network: nn.Module) -> Composition:
        return Composition(self.parts)
