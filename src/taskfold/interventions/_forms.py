"""The cheapest form of an update, by counts of multiply-adds and of numbers moved.

*Factored*: down, kernel and up run on the activations, beside the layer. *Merged*: one layer runs with W + ΔW, and in
training the factors' gradients come from R channels. *Materialised*: one layer runs with W + ΔW, and in training the
factors' gradients come from W's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal, get_args

from torch import Tensor

from ..factors import Bottleneck
from ..kinds import WeightKind, matches

Form = Literal["factored", "merged", "materialised"]
Execution = Literal["auto"] | Form | Mapping[str, Literal["auto"] | Form]
"""One form for every layer, or `{pattern: form}` over layer names, first match first; `auto` is the cheapest."""

MOVED = 12
"""The cost of a number read or written, in multiply-adds (fitted to `benchmarks/forms.py`)."""


@dataclass(frozen=True)
class Load:
    """The sizes of one call of a layer.

    Attributes:
        weights: numbers in its weight.
        inputs, outputs: numbers in its input and output.
        positions: at which the weight is applied, the batch included.
        rank: R.
        kernel: how often the reduction to R channels reads a number of the input: k², or once.
        trains: whether the factors need gradients.
    """

    weights: int
    inputs: int
    outputs: int
    positions: int
    rank: int
    kernel: int
    trains: bool

    @classmethod
    def of(cls, kind: WeightKind, factors: Bottleneck, x: Tensor, trains: bool) -> Load:
        kernel, positions = prod(factors.down.shape[2:]), kind.positions(x)
        outputs = positions * factors.up.shape[0]
        return cls(kind.weight.numel(), x.numel(), outputs, positions, factors.rank, kernel, trains)

    def cost(self, form: Form) -> int:
        """The cost of the form beyond the plain layer's."""
        thin = self.rank * (self.inputs * self.kernel + self.outputs)
        moved = MOVED * (self.inputs + self.outputs)
        made = (self.rank + 3 * MOVED) * self.weights
        if form == "factored":
            return (3 if self.trains else 1) * (thin + moved)
        if not self.trains:
            return made
        if form == "merged":
            return 2 * (thin + moved + made)
        return self.weights * self.positions + 3 * made

    def cheapest(self) -> Form:
        return min(get_args(Form), key=self.cost)


def check_execution(execution: Execution) -> None:
    """Checks the setting `execution`.

    Raises:
        ValueError: a form is unknown.
    """
    known = ("auto", *get_args(Form))
    for pattern, form in (execution if isinstance(execution, Mapping) else {"": execution}).items():
        if form not in known:
            where = f"execution[{pattern!r}]" if pattern else "execution"
            raise ValueError(f"{where}={form!r} is not known; choose one of {', '.join(known)}")


def form_at(execution: Execution, layer: str) -> Form | None:
    """The form set for a layer; None: the cheapest."""
    found = execution
    if isinstance(execution, Mapping):
        found = next((form for pattern, form in execution.items() if matches(layer, pattern)), "auto")
    return None if found == "auto" else found  # type: ignore[return-value]
