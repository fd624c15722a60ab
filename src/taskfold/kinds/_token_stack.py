"""Token stacks, which embed tokens and run a network over them: the encoder or the decoder of a text model."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter, signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._base import LayerKind

Named = dict[str, Any]
WRITTEN = "_taskfold_written"
"""The attribute of a cache with its length after the last pass with rows before the text, and how many these are."""
STATES = ("past_key_values", "cache_params", "cache", "mems", "past_buckets_states", "state")
"""Arguments with what earlier passes have left of a text."""

_EMBED: dict[type, bool] = {}
"""Results of `_embeds` by class, in a dict, which a compiler can trace."""


class TokenStack(LayerKind):
    """The innermost module that takes `input_ids` or `inputs_embeds` `[B, S, d]`, and an `attention_mask` `[B, S]`."""

    words = "token stack"

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        return _embeds(type(module)) and not any(_embeds(type(m)) for m in module.modules() if m is not module)

    @property
    def table(self) -> nn.Module:
        """The embedding of tokens."""
        return self.module.get_input_embeddings()  # type: ignore[operator]

    @property
    def width(self) -> int:
        """The width d of an embedded token."""
        table = self.table
        return int(getattr(table, "embedding_dim", 0) or table.weight.shape[-1])  # type: ignore[union-attr]

    @property
    def positions(self) -> int | None:
        """The configuration's `max_position_embeddings`; None: it has none."""
        found = getattr(getattr(self.module, "config", None), "max_position_embeddings", None)
        return found if isinstance(found, int) and found > 0 else None

    def as_before(self, *args: Any, **kwargs: Any) -> Any:
        named = self._named(args, kwargs)
        _, count = getattr(_state(named), WRITTEN, (0, 0))  # a cache has rows that the text's mask lacks
        mask, states = named.get("encoder_attention_mask"), named.get("encoder_hidden_states")
        crossed = 0 if mask is None or states is None else states.shape[1] - mask.shape[-1]
        nothing = torch.zeros(1, count, self.width, dtype=self.dtype, device=self.device)
        return self.plain(**self.lengthened(args, kwargs, nothing, crossed, "")[0])

    def lengthened(
        self, args: tuple, kwargs: Mapping[str, Any], rows: Tensor, crossed: int, path: str
    ) -> tuple[Named, bool]:
        """The arguments of a pass with rows before the text, and whether a cache holds the rows already.

        Masks, positions and types of tokens are extended for the rows.

        Args:
            args, kwargs: of a pass without rows.
            rows: `[B, k, d]` or `[1, k, d]`.
            crossed: number of rows before the text in the output of the encoder that it attends to.
            path: the layer's name, for errors.

        Raises:
            ValueError: an argument has a value for each token, and its value for the rows is unknown.
        """
        named, count = self._named(args, kwargs), rows.shape[1]
        ids, embedded = named.pop("input_ids", None), named.pop("inputs_embeds", None)
        if embedded is None:
            embedded = self.table(ids)
        goes_on = self._cached(_state(named), path)
        if not goes_on:
            embedded = torch.cat([rows.to(embedded.dtype).expand(len(embedded), -1, -1), embedded], 1)
        for name, value in named.items():
            if isinstance(value, Tensor) and name != "encoder_hidden_states":
                named[name] = _of_more(name, value, count, goes_on, path, crossed)
        self._check_crossed(named, crossed, path)
        return {**named, "inputs_embeds": embedded}, goes_on

    def _named(self, args: tuple, kwargs: Mapping[str, Any]) -> Named:
        known = signature(type(self.module).forward)
        bound = known.bind(self.module, *args, **kwargs).arguments
        found: Named = {}
        for name, value in list(bound.items())[1:]:
            found |= value if known.parameters[name].kind is Parameter.VAR_KEYWORD else {name: value}
        return found

    def _cached(self, cache: Any, path: str) -> bool:
        """Whether the pass continues the text in a cache.

        Raises:
            ValueError: the cache was written without the rows before the text, or can't grow.
        """
        if cache is None:
            return False
        length, grows = _length(cache)
        if not grows:
            raise ValueError(
                f"layer {path!r}: a task has rows before the text, and needs a cache that grows (DynamicCache), found "
                f"{type(cache).__name__}; leave cache_implementation and past_key_values out, or ask with "
                "use_cache=False"
            )
        if length and getattr(cache, WRITTEN, (0, 0))[0] != length:
            raise ValueError(
                f"layer {path!r}: a task has rows before the text, and a cache of {length} positions was written "
                "without them, or cut since (assisted generation does so); begin with an empty cache, and without an "
                "assistant"
            )
        return length > 0

    def _check_crossed(self, named: Named, crossed: int, path: str) -> None:
        """Checks that the encoder's output includes the task's rows."""
        mask, states = named.get("encoder_attention_mask"), named.get("encoder_hidden_states")
        if crossed and mask is not None and states is not None and mask.shape[1] != states.shape[1]:
            raise ValueError(
                f"layer {path!r} looks at {states.shape[1]} positions of an encoder, and those of the task are "
                f"{mask.shape[1]}, {crossed} of them before the text; give the output of the task's own encoder"
            )

    def done(self, output: Any, named: Named, count: int) -> None:
        """Marks the caches of a finished pass, its own and the given, as written with `count` rows before the text."""
        for held in (_state(output) if isinstance(output, Mapping) else None, _state(named)):
            if held is not None and hasattr(held, "get_seq_length"):
                setattr(held, WRITTEN, (_length(held)[0], count))

    def shortened(self, output: Any, count: int, path: str) -> Any:
        """The output without the positions of the first `count` rows, with the text alone pooled again.

        Raises:
            ValueError: the output is pooled in an unknown way.
        """
        if isinstance(output, Tensor):
            return output[:, count:]
        pooler = getattr(self.module, "pooler", None)
        if isinstance(output, tuple):
            if pooler is not None:
                raise ValueError(f"layer {path!r} pools its tokens; ask with return_dict=True, found a tuple")
            return type(output)((output[0][:, count:], *output[1:]))
        states = output["last_hidden_state"] = output["last_hidden_state"][:, count:]
        if output.get("hidden_states") is not None:
            output["hidden_states"] = tuple(one[:, count:] for one in output["hidden_states"])
        if output.get("pooler_output") is not None:
            if pooler is None:
                raise ValueError(f"layer {path!r} pools its tokens, and not by a module 'pooler'; rows would be pooled")
            output["pooler_output"] = pooler(states)
        return output


def _state(named: Mapping[str, Any]) -> Any:
    """What earlier passes have left of a text, among a pass's arguments or outputs; None: nothing."""
    return next((named[name] for name in STATES if named.get(name) is not None), None)


def _length(cache: Any) -> tuple[int, bool]:
    """The number of positions in a cache, and whether it can take more; a state without positions has one at most."""
    try:
        return int(cache.get_seq_length()), not getattr(cache, "is_compileable", False)
    except (AttributeError, TypeError):  # no cache of this kind, or one that can't tell
        return 0, False
    except ValueError:  # no layer has positions: states of Mamba
        return int(cache.has_previous_state()), True


def _of_more(name: str, value: Tensor, count: int, goes_on: bool, path: str, crossed: int) -> Tensor:
    """A text's argument, extended for `count` rows before the text."""
    if name in ("attention_mask", "encoder_attention_mask") and value.dim() == 2:
        return F.pad(value, (crossed if name.startswith("encoder") else count, 0), value=1)
    if name == "token_type_ids" and value.dim() == 2:
        return value if goes_on else F.pad(value, (count, 0))
    if (name, value.dim()) in (("position_ids", 2), ("cache_position", 1)):
        first = torch.arange(count, device=value.device).expand(*value.shape[:-1], -1)
        return value + count if goes_on else torch.cat([first, value + count], -1)
    raise ValueError(
        f"layer {path!r} is given {name!r} {list(value.shape)}, and it is not known what of it belongs to rows that a "
        "task has before the text; known are attention_mask, encoder_attention_mask, token_type_ids and position_ids "
        "[B, S]; leave it out"
    )


def _embeds(kind: type) -> bool:
    """Whether modules of a class take `inputs_embeds` and an `attention_mask`."""
    if not hasattr(kind, "get_input_embeddings"):
        return False
    if kind not in _EMBED:
        names = signature(kind.forward).parameters.keys()  # type: ignore[attr-defined]
        _EMBED[kind] = {"inputs_embeds", "attention_mask"} <= names
    return _EMBED[kind]
