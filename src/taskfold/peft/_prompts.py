"""PROMPT_TUNING and PREFIX_TUNING of text generators: rows before the input, or before keys and values."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..layers import Attention, token_sequences
from ..methods import Method, PrefixTuning, PromptTuning
from ._adapter import Adapter
from ._types import AdapterType, Leaves

_KNOWS = ("num_attention_heads", "num_layers", "token_dim")
_PREFIXED = ("gpt2", "opt")
"""Networks whose keys do not depend on positions, and that count positions after the prefix as PEFT does."""


class PromptTuningType(AdapterType):
    """Rows before the embedded text."""

    name = "PROMPT_TUNING"
    reads = frozenset(("num_virtual_tokens", "num_transformer_submodules"))
    idle = frozenset(
        (*_KNOWS, "prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs")
    )

    def take(self, adapter: Adapter) -> tuple[Method, Leaves]:
        rows, sequence = _rows(adapter), _sequence(adapter)
        count = adapter.number("num_virtual_tokens", 0)
        shaped = adapter.shaped(rows, (count, sequence.width), "prompt_embeddings")
        return PromptTuning(tokens=count), {(sequence.first, "rows", "rows"): shaped}


class PrefixTuningType(AdapterType):
    """Rows before the keys and values of every attention; the file has `[n, layers · 2 · width]`, keys first."""

    name = "PREFIX_TUNING"
    reads = PromptTuningType.reads
    idle = frozenset((*_KNOWS, "encoder_hidden_size", "prefix_projection", "init_weights"))

    def take(self, adapter: Adapter) -> tuple[Method, Leaves]:
        named = getattr(getattr(adapter.network, "config", None), "model_type", type(adapter.network).__name__)
        if named not in _PREFIXED:
            raise adapter.error(
                f"PREFIX_TUNING of {named!r}: PEFT puts keys into the cache behind their positions, and Taskfold "
                f"before them, which is the same in {' and '.join(_PREFIXED)}; train the prefix here"
            )
        rows, count = _rows(adapter), adapter.number("num_virtual_tokens", 0)
        _sequence(adapter)
        targets = Attention(projections=("key", "value")).find(adapter.network)
        views = [(target.path, view) for target in targets for view in target.views]
        layers = len(views) // 2
        widths = {view.modes.shape[0] for _, view in views}
        width = widths.pop()
        each = adapter.shaped(rows, (count, 2 * layers * width), "prompt_embeddings").unflatten(1, (layers, 2, width))
        order = dict.fromkeys(path.rpartition(".")[0] for path, _ in views)
        block = {path: n for n, path in enumerate(order)}
        leaves: Leaves = {
            (path, view.name, "rows"): each[:, block[path.rpartition(".")[0]], int(view.name == "value")]
            for path, view in views
        }
        return PrefixTuning(tokens=count), leaves


def _rows(adapter: Adapter) -> Tensor:
    rows = adapter.tensors.pop("prompt_embeddings", None)
    if rows is None:
        raise adapter.error("its file holds no prompt_embeddings")
    return rows


def _sequence(adapter: Adapter) -> Any:
    """The single token sequence of a text generator: PEFT pools a task row in other networks."""
    task = adapter.config.get("task_type")
    if task != "CAUSAL_LM":
        raise adapter.error(
            f"{adapter.config['peft_type']} of task_type={task!r}: PEFT pools, or decodes from, the rows of the task, "
            "and Taskfold the text's; only CAUSAL_LM is the same in both"
        )
    (sequence,) = token_sequences(adapter.network)
    return sequence
