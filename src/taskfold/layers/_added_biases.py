"""The recipe of biases that the projections of one attention block share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..factors import Leaf
from ..interventions import Change, added_to
from ..kinds import LayerKind, Tensors
from ..routing import Private
from ..tasks import Leaves
from ._attention import PROJECTIONS, Attention
from ._biases import BIAS
from ._copies import check_copied
from ._part import Part, When
from ._recipe import Fitting, Recipe
from ._ruled import leaves_of
from ._where import View

Rows = tuple[int, int]


class AddedBias(Part):
    """A bias added to some outputs of a layer.

    Args:
        own: the leaf `bias`, `[d]`.
        parameter: the name of the layer's bias; a layer without one gets it.
        rows: first and one-past-last output of each slice of d outputs.
        outputs: number of the layer's outputs.
    """

    def __init__(self, own: Leaves, parameter: str, rows: tuple[Rows, ...], outputs: int) -> None:
        super().__init__(Change(), own)
        self.parameter, self.rows, self.outputs = parameter, rows, outputs

    def tensors(self, kind: LayerKind, changed: Tensors, when: When) -> dict[str, Tensor]:
        bias = self.own["bias"].to(kind.dtype)
        parts = [pad(bias, (start, self.outputs - stop)) for start, stop in self.rows]
        return {added_to(self.parameter): sum(parts[1:], parts[0])}


@dataclass(frozen=True)
class AddedBiases(Recipe):
    """One bias for each attention block, added to the projections that `where` selects."""

    where: Attention = field(default_factory=Attention)

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        for target in self.where.find(at.network):
            kind, path = at.kind(target.path), target.path
            whole = all(view.rows is None and "." not in view.parameter for view in target.views)
            unit = isinstance(kind.module, nn.MultiheadAttention)
            name = "in_proj_bias" if unit else "bias"
            if kind.module._parameters.get(name) is not None:
                check_copied(kind, path, {name: kind.tensors()[name]})
            elif name not in kind.module._parameters or unit:
                raise ValueError(
                    f"layer {path!r} ({kind.words}, {type(kind.module).__name__}) has no place for a bias; leave it "
                    f"out with targets=('*', '!{path}')"
                )
            rows = [_rows(view, kind, unit) for view in target.views]
            widths = {stop - start for start, stop in rows}
            block = path.rpartition(".")[0] if whole and not unit else path
            if len(widths) > 1:
                raise ValueError(
                    f"attention {block!r}: {' and '.join(view.name for view in target.views)} have "
                    f"{' and '.join(map(str, sorted(widths)))} outputs, and one bias is common to them; leave it out"
                )
            specs = {"bias": Leaf((widths.pop(),), ("out",), nn.init.zeros_, BIAS, scope="model", tie=f"bias/{block}")}
            like = torch.empty(0, dtype=kind.dtype, device=kind.device)
            own, _ = leaves_of(at, f"{at.prefix}/{path}/bias", specs, Private(), like, {}, path)
            outputs = len(kind.tensors()[name]) if name in kind.tensors() else max(stop for _, stop in rows)
            yield path, "bias", AddedBias(own, name, tuple(rows), outputs)


def _rows(view: View, kind: LayerKind, unit: bool) -> Rows:
    """The projection's slice of the layer's bias."""
    if view.rows is not None:
        return view.rows
    width = view.modes.shape[0]
    first = PROJECTIONS.index(view.name) * width if unit else 0
    return first, first + width
