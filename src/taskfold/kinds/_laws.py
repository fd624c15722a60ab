"""Trials of laws of plain layers, y = W x + b, on layers with a forward of their own; single rows are the truth."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..factors import Bottleneck
from ._rows import Rows
from ._tried import apart, begin, double, once, shaken, wide

if TYPE_CHECKING:
    from ._base import Tensors
    from ._weight import WeightKind

INDEX = (0, 1, 0)
"""The entry of each row."""
MAGNITUDES = (1.0, 1e-3, 1e4)


def holds(kind: WeightKind, law: str) -> bool:
    """Whether a law of y = W x + b holds for a layer with a forward of its own.

    Args:
        kind: the layer.
        law: `additive`: an update beside the layer equals the update in its weight. `rowwise`: rows with weights and
            biases of their own give the same in one call as alone. `scales`, `shifts`: weight and bias can absorb a
            scale of the output, and a scale with a shift.
    """
    weight = kind.module._parameters.get("weight")
    if weight is None or weight.is_meta:
        return False
    return bool(once(kind.source, law, lambda: _holds(kind, law)))


def _holds(kind: WeightKind, law: str) -> bool:
    """Tries the law in evaluation, and in training with other buffers; a forward that fails does not obey it."""
    ran = False
    other: tuple[dict[str, Any], dict[str, Any]]
    try:
        with apart():
            for training, other in ((False, ({}, {})), (True, shaken(kind.module, ("weight", "bias")))):
                for x in kind.examples(wide(), Trial.rows):
                    trial = Trial(kind, x, training, *other)
                    if not trial.runs():
                        continue
                    ran = True
                    if not LAWS[law](trial):
                        return False
                    if training:
                        break  # one shape is enough
    except Exception:
        return False
    return ran


@dataclass
class Trial:
    """A layer on one small input, with tensors of two tasks.

    Attributes:
        kind: the layer.
        x: rows of several magnitudes.
        training: the mode.
        state, numbers: tensors and attributes that replace the layer's.
    """

    rows = len(INDEX)
    kind: WeightKind
    x: Tensor
    training: bool
    state: Mapping[str, Tensor | None]
    numbers: Mapping[str, object]
    draw: Callable[..., Tensor] = field(default_factory=wide)

    def __post_init__(self) -> None:
        if self.x.is_floating_point():
            self.x = self.x * self.x.new_tensor(MAGNITUDES).reshape(-1, *[1] * (self.x.dim() - 1))
        self.own = {"weight": self.weight()}
        if self.kind.module._parameters.get("bias") is not None:
            self.own["bias"] = self.bias()

    def weight(self) -> Tensor:
        return self.kind.laid_out(self.draw(*self.kind.modes.shape)).contiguous()

    def bias(self) -> Tensor:
        return self.draw(self.kind.modes.shape[0])

    def copy(self) -> WeightKind:
        """A fresh copy of the layer, whose forward may write attributes, with the random generator reset."""
        begin()
        made = copy.copy(self.kind)
        made.module = double(self.kind.module, {**self.state, **self.own}, self.training, **self.numbers)
        return made

    def run(self, x: Tensor, tensors: Tensors) -> Tensor:
        return self.copy().run((x,), {}, tensors, self.training)  # type: ignore[no-any-return]

    def alone(self, tensors: Tensors) -> Tensor:
        """Runs each row alone, with its entry's of the tensors `[T, …]`."""
        mine = [{name: tensor[entry] for name, tensor in tensors.items()} for entry in INDEX]
        return torch.cat([self.run(self.x[n : n + 1], one) for n, one in enumerate(mine)])

    def runs(self) -> bool:
        """Whether the layer's own forward accepts such inputs."""
        try:
            return bool(self.run(self.x, self.own).isfinite().all())
        except Exception:
            return False

    def where(self) -> Rows:
        return Rows(len(INDEX), torch.tensor(INDEX, device="cpu"), 1, INDEX, gathers=True)


def _additive(trial: Trial) -> bool:
    out, inp, *kernel = trial.kind.modes.shape
    up, draw = trial.draw(2, out, 2), trial.draw
    forms = [Bottleneck(up, draw(2, 2, inp, *kernel))]
    if kernel:
        forms.append(Bottleneck(up, draw(2, 2, inp), draw(2, 2, *kernel)))
    for factors in forms:
        seen = trial.kind.seen(trial.own["weight"])
        each = factors.unbind()
        whole = torch.stack([trial.kind.laid_out(one.onto(seen)) for one in each])
        kind = trial.copy()
        one = kind.beside(each[0], trial.x, kind.plain(trial.x))
        kind = trial.copy()
        rows = kind.beside_rows(factors, trial.where(), trial.x, kind.plain(trial.x))
        if not _same(one, trial.run(trial.x, {"weight": whole[0]})) or not _same(rows, trial.alone({"weight": whole})):
            return False
    return True


def _rowwise(trial: Trial) -> bool:
    every = {"weight": torch.stack([trial.weight(), trial.weight()])}
    if trial.kind.has_bias:
        every["bias"] = torch.stack([trial.bias(), trial.bias()])
    for names in ((name,) for name in every) if len(every) == 1 else (("weight",), ("bias",), ("weight", "bias")):
        mine = {name: every[name] for name in names}
        found = trial.copy().run_rows((trial.x,), {}, mine, trial.where(), trial.training, "")
        if not _same(found, trial.alone(mine)):
            return False
    return True


def _scales(trial: Trial, shift: Tensor | None = None) -> bool:
    scale = trial.bias()
    wanted = trial.kind.rescaled(trial.run(trial.x, {}), scale, shift)
    return _same(trial.run(trial.x, trial.kind.taking(trial.own, scale, shift)), wanted)


def _shifts(trial: Trial) -> bool:
    return _scales(trial, trial.bias())


def _same(found: Tensor, wanted: Tensor) -> bool:
    if found.shape != wanted.shape or not found.isfinite().all():
        return False
    off, size = (found - wanted).flatten(1).abs().amax(1), wanted.flatten(1).abs().amax(1)
    return bool((off <= 1e-9 * size).all())


LAWS: Mapping[str, Callable[[Trial], bool]] = {
    "additive": _additive,
    "rowwise": _rowwise,
    "scales": _scales,
    "shifts": _shifts,
}
"""Laws by name; see `holds`."""
