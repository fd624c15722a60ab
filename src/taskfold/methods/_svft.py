from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from torch import nn

from ..factors import Pattern, Singular, SingularInit
from ..kinds import Patterns
from ..layers import Attention, Composition, Convolutions, Matrices, Statistics, Update, Where, own_norms
from ._base import Method

__all__ = ["SVFT"]

Places = Literal["linear", "attention", "convolution", "all"]


@dataclass(frozen=True)
class SVFT(Method):
    """Singular vectors fine-tuned: W_t = U (Σ + M) Vᵀ with trained entries of M, on the singular vectors of W itself.

    Lingam et al., "SVFT: Parameter-Efficient Fine-Tuning with Singular Vectors", section 3. M starts at 0, so that a
    new task is the backbone exactly. U, Σ and V are computed from W when a task is added; its file holds M, and marks
    by which loading checks that U and V are the same.

    Args:
        pattern: the entries' places: `plain` (the diagonal), `banded` (`off` diagonals on each side too), `random` or
            `top-k` (as many).
        off: d ≥ 1, for the other patterns.
        seed: the seed of `random`.
        gate: M is multiplied by σ(g), with a number g for each weight.
        init: `zero`, or `authors`: N(0, 2/n), which is not the backbone.
        layers: `linear` (every linear layer but a language model's output layer; query, key and value each for itself),
            `attention` (query and value), `convolution` (all but the stem), or `all` (linear and convolution).
        targets: shell patterns over layer names; `!pattern` leaves layers out.
        norm: each task also trains its own normalisation.
        statistics: as for `FTN`.

    Raises:
        ValueError: a setting is out of its range; when a task is added, the network has no such layers, or `top-k`
            meets a weight that is not square.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> model = tfold.MultiTask(nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 8)), tfold.SVFT())
        >>> model.add_task("sums").counts()["factors"]
        16
    """

    pattern: Pattern = "plain"
    off: int = 1
    seed: int = 0
    gate: bool = False
    init: SingularInit = "zero"
    layers: Places = "linear"
    targets: Patterns = "*"
    norm: bool = False
    statistics: Statistics = "backbone"
    name: ClassVar[str] = "svft"

    @property
    def parts(self) -> tuple[Singular]:
        if self.layers not in get_args(Places):
            raise ValueError(f"layers={self.layers!r} is not known; choose one of {', '.join(get_args(Places))}")
        return (Singular(self.pattern, self.off, self.seed, self.gate, self.init),)

    def compose(self, network: nn.Module) -> Composition:
        where: dict[str, Where] = {
            "linear": Matrices(self.targets),
            "attention": Attention(self.targets),
            "convolution": Convolutions(self.targets),
        }
        if self.layers != "all":
            found = [where[self.layers]]
        else:
            both = [where["linear"], where["convolution"]]
            found = [one for one in both if one.candidates(network)] or both[:1]
        return Composition((*(Update(*self.parts, one) for one in found), *own_norms(self.norm, self.statistics)))
