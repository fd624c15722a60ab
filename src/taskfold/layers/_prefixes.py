"""The recipe of prefixes: a task's rows before the keys and values of every attention."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from math import prod

import torch
from torch import Tensor, nn

from ..factors import Group, Leaf, check_whole
from ..interventions import FirstRows
from ..kinds import Attention as AttentionUnit
from ..kinds import LayerKind, Tensors
from ..routing import Private, Sharing
from ..tasks import Leaves, make
from ._attention import Attention
from ._part import Part, When
from ._prompts import Blank, check_room, check_rows, parts_before
from ._recipe import Fitting, Recipe, scope_of
from ._ruled import Direct, leaves_of
from ._sequences import TokenSequence, token_sequences
from ._where import Target, View

PREFIX = Group("prefix", lr=1e-2)
COMMON = ("embedding", "down", "down_bias")
"""The leaves that all layers of a group share."""


class Perceptron(Part):
    """Rows made from an embedding by two layers: rows = up tanh(down e + b) + b'.

    Its own leaves: `embedding` `[n, d]`, `down` `[m, d]`, `down_bias` `[m]`, `up` `[w, m]`, `up_bias` `[w]`.
    """

    def tensors(self, kind: LayerKind, changed: Tensors, when: When) -> dict[str, Tensor]:
        return {"rows": self._rows().to(kind.dtype)}

    def _rows(self) -> Tensor:
        own = self.own
        hidden = nn.functional.linear(own["embedding"], own["down"], own["down_bias"]).tanh()
        return nn.functional.linear(hidden, own["up"], own["up_bias"])

    def stored(self) -> Part:
        rows = nn.Parameter(self._rows().detach())
        specs = {"rows": _rows_leaf(*rows.shape)}
        return Direct(self.intervention, specs, Private(), Leaves({"rows": rows}, {"rows": PREFIX}), None)


@dataclass(frozen=True)
class Prefixes(Recipe):
    """Rows before the keys and values of every attention that a sequence of tokens runs through.

    Args:
        tokens: n ≥ 1 rows: n (w_k + w_v) numbers for keys of width w_k and values of width w_v.
        mlp: m, the inner width of the two layers that make the rows during training; 0: the rows are trained directly.
        sharing: `Private` or `Shared`.

    Raises:
        ValueError: a setting is out of its range; when a task is added, a network whose token sequences or attention
            are not known.
    """

    tokens: int = 2
    mlp: int = 0
    sharing: Sharing = field(default_factory=Private)

    def __post_init__(self) -> None:
        check_rows(self.tokens, self.sharing)
        check_whole("mlp", self.mlp, 0)
        if self.mlp and not isinstance(self.sharing, Private):
            raise ValueError(f"mlp={self.mlp} makes rows of a task's own; use sharing='private', or mlp=0")

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        sequences = token_sequences(at.network)
        targets = Attention(projections=("key", "value")).find(at.network)
        for sequence in sequences:
            check_room(at.network, sequence, self.tokens)
            for path, name, before, comes in parts_before(sequence, self.tokens, self.tokens):
                yield path, name, Blank(before, self.tokens, sequence.width if comes else 0)
            mine = [target for target in targets if sequence.holds(target.path)]
            _check(sequence, mine)
            for target, view, group in _grouped(mine):
                yield target.path, view.name, self._part(at, sequence, target.path, view, group)

    def _part(self, at: Fitting, sequence: TokenSequence, path: str, view: View, group: str) -> Part:
        kind = at.kind(path)
        if isinstance(kind, AttentionUnit):
            raise ValueError(
                f"layer {path!r} ({kind.words}, {type(kind.module).__name__}) makes keys and values within itself, and "
                "a prefix needs layers that put them out; choose a network whose projections are "
                "layers, or prompt tuning"
            )
        start, width = (0, prod(view.modes.out)) if view.rows is None else (view.rows[0], view.rows[1] - view.rows[0])
        like = torch.empty(0, dtype=kind.dtype, device=kind.device)
        if self.mlp:
            own = make(_perceptron(self.tokens, sequence.width, self.mlp, width), like, {})
            for name in COMMON:
                own._parameters[name] = at.tied.setdefault((self, name, f"{sequence.first}:{group}"), own[name])
            return Perceptron(FirstRows(start), own)
        specs = {"rows": _rows_leaf(self.tokens, width)}
        rule, prefix = at.rule(self.sharing, path)
        own, inventory = leaves_of(at, f"{prefix}/{path}/{view.name}", specs, rule, like, {}, path)
        return Direct(FirstRows(start), specs, rule, own, inventory)


def _check(sequence: TokenSequence, targets: list[Target]) -> None:
    names = [view.name for target in targets for view in target.views]
    if not names or names.count("key") != names.count("value"):
        raise ValueError(
            f"the attention of {sequence.first!r} is not known: looked for layers that put out keys, and as many that "
            f"put out values, found {names.count('key')} and {names.count('value')}; choose a "
            "method for layers that are there, or prompt tuning"
        )


def _grouped(targets: list[Target]) -> Iterator[tuple[Target, View, str]]:
    """Every projection with its group: the number of its attention within the block (self-, then cross-attention)."""
    seen: Counter[tuple[str, str]] = Counter()
    for target in targets:
        for view in target.views:
            place = scope_of("block", target.path), view.name
            yield target, view, str(seen[place])
            seen[place] += 1


def _rows_leaf(count: int, width: int) -> Leaf:
    return Leaf((count, width), ("token", "out"), partial(nn.init.normal_, std=0.02), PREFIX)


def _perceptron(count: int, width: int, inner: int, out: int) -> dict[str, Leaf]:
    uniform = partial(nn.init.kaiming_uniform_, a=math.sqrt(5))  # of ±1/√I

    def bias(inp: int) -> partial[Tensor]:
        return partial(nn.init.uniform_, a=-(inp**-0.5), b=inp**-0.5)

    return {
        "embedding": Leaf((count, width), ("token", "inp"), nn.init.normal_, PREFIX),
        "down": Leaf((inner, width), ("term", "inp"), uniform, PREFIX),
        "down_bias": Leaf((inner,), ("term",), bias(width), PREFIX),
        "up": Leaf((out, inner), ("out", "term"), uniform, PREFIX),
        "up_bias": Leaf((out,), ("out",), bias(inner), PREFIX),
    }
