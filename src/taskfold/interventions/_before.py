"""Rows before a sequence of tokens: added at its input, dropped from its output."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..kinds import LayerKind, Rows, Tensors, TokenStack
from ._base import Call, Intervention, Layer, Shapes

ROWS = "rows"


class _Text(threading.local):
    def __init__(self) -> None:
        self.goes_on = False


_text = _Text()


class _AtRows(Intervention):
    """Interventions with `rows` `[k, w]`; all tasks of a batch have them or none: no rows are neutral."""

    def goes_by_rows(self, kind: LayerKind, names: Set[str], training: bool) -> bool:
        return kind.axes[0] == 0

    def run(self, tensors: Tensors, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        return self._run(tensors[ROWS][None], call, layer, args, kwargs)

    def rows(self, tensors: Tensors, rows: Rows, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        return self._run(rows.of_each(tensors[ROWS]), call, layer, args, kwargs)

    def _run(self, rows: Tensor, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        raise NotImplementedError

    def neutral(self, kind: LayerKind, shapes: Shapes) -> None:
        return None

    def folds(self, kind: LayerKind) -> bool:
        return False

    def folded(self, kind: LayerKind, tensors: Tensors, inside: Tensors) -> dict[str, Tensor]:
        raise ValueError(
            f"the {len(tensors[ROWS])} rows of a task at this {kind.words} ({type(kind.module).__name__}) are input, "
            "not weight, and no plain layer holds them: serve the task as it is (model(x, task=…))"
        )


@dataclass(frozen=True)
class Before(_AtRows):
    """`rows` `[k, d]` before a sequence: of a token stack's embedded input, or of a block's `[B, N, d]`.

    Args:
        insert: add the rows to this module's input.
        drop: drop their positions from this module's output: hidden states, and what is pooled from them.
        crossed: number of rows before the text in the encoder's output that this decoder attends to.
    """

    name: ClassVar[str] = "before"
    depth: ClassVar[int] = 5
    around: ClassVar[bool] = True
    insert: bool = True
    drop: bool = True
    crossed: int = 0

    def _run(self, rows: Tensor, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        if not isinstance(layer.kind, TokenStack):
            return self._at_block(rows, call, layer, args, kwargs)
        kind, count = layer.kind, rows.shape[1]
        named, goes_on = kind.lengthened(args, kwargs, rows, self.crossed, layer.path)
        before, _text.goes_on = _text.goes_on, goes_on
        try:
            output = call(**named)
        except IndexError as error:
            raise ValueError(_too_long(kind, named, count, layer.path, error)) from error
        finally:
            _text.goes_on = before
        kind.done(output, named, count)
        return kind.shortened(output, count, layer.path) if self.drop and count and not goes_on else output

    def _at_block(self, rows: Tensor, call: Call, layer: Layer, args: tuple, kwargs: Mapping[str, Any]) -> Any:
        count, x = rows.shape[1], args[0] if args else None
        odd = [f"{tuple(v.shape)}" for v in (*args[1:], *kwargs.values()) if isinstance(v, Tensor)]
        if not isinstance(x, Tensor) or x.dim() != 3 or odd:
            found = "no tensor first" if not isinstance(x, Tensor) else f"{tuple(x.shape)}"
            raise ValueError(
                f"layer {layer.path!r}: a task has rows before a sequence [B, N, d], which this block must be given "
                f"and nothing for each of its tokens besides (masks, positions), found {' and '.join([found, *odd])}"
            )
        if self.insert:
            x = torch.cat([rows.to(x.dtype).expand(len(x), -1, -1), x], 1)
        output = call(x, *args[1:], **kwargs)
        if not self.drop:
            return output
        if isinstance(output, (tuple, list)):
            return type(output)((output[0][:, count:], *output[1:]))
        return output[:, count:]

    def fits(self, kind: LayerKind, tensors: Tensors) -> bool:
        return not isinstance(kind, TokenStack) or tensors[ROWS].shape[-1] == kind.width


def _too_long(kind: TokenStack, named: Mapping[str, Any], count: int, path: str, error: IndexError) -> str:
    return (
        f"layer {path!r}: {count} rows of a task and its text are {named['inputs_embeds'].shape[1]} positions, and the "
        f"network, whose max_position_embeddings is {kind.positions}, says {error}; give shorter texts, or fewer tokens"
    )


@dataclass(frozen=True)
class FirstRows(_AtRows):
    """`rows` `[n, w]` in place of a layer's output for the first n tokens of a sequence.

    Args:
        start: the first of the w output channels that they replace.
    """

    name: ClassVar[str] = "first rows"
    depth: ClassVar[int] = 4
    start: int = 0

    def _run(self, rows: Tensor, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        y: Tensor = call(*args, **kwargs)
        if _text.goes_on:  # the cache has them
            return y
        count, stop = rows.shape[1], self.start + rows.shape[2]
        if y.dim() != 3 or y.shape[1] < count:
            raise ValueError(
                f"layer {layer.path!r}: a task has {count} rows before its keys and values, which need [B, N, "
                f"channels] with as many tokens or more, found {list(y.shape)}"
            )
        rows = rows.to(y.dtype).expand(len(y), -1, -1)
        if rows.shape[2] < y.shape[2]:
            rows = torch.cat([y[:, :count, : self.start], rows, y[:, :count, stop:]], 2)
        return torch.cat([rows, y[:, count:]], 1)

    def fits(self, kind: LayerKind, tensors: Tensors) -> bool:
        return kind.outputs is None or self.start + tensors[ROWS].shape[-1] <= kind.outputs
