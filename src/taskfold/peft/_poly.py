"""POLY, also with several heads: one of the tasks of an adapter."""

from __future__ import annotations

import torch
from torch import Tensor

from ..methods import Method
from ._adapter import Adapter
from ._lora import as_low_rank
from ._types import AdapterType, Leaves

_ROLES = ("poly_lora_A", "poly_lora_B", "poly_router.module_logits")


class Poly(AdapterType):
    """A and B of a task mix the skills' by slices of the input and of the output: a LoRA of rank r."""

    name = "POLY"
    several = True
    reads = frozenset(("r", "n_tasks", "n_skills", "n_splits", "poly_type"))
    idle = frozenset(("init_weights",))

    def take(self, adapter: Adapter) -> tuple[Method, Leaves]:
        if (kind := adapter.config.get("poly_type", "poly")) != "poly":
            raise adapter.error(f"poly_type={kind!r} is not known; Taskfold reads 'poly'")
        rank, tasks = adapter.number("r", 8), adapter.number("n_tasks", 1)
        skills, splits = adapter.number("n_skills", 4), adapter.number("n_splits", 1)
        task = adapter.task_id if adapter.task_id is not None or tasks > 1 else 0
        if task is None or not 0 <= task < tasks:
            raise adapter.error(
                f"it holds {tasks} tasks; say which of them with load_peft(…, task_id=0 to {tasks - 1}), found {task}"
            )
        made: dict[str, tuple[Tensor, Tensor]] = {}
        for path, found in adapter.layers(*_ROLES).items():
            if found.keys() != {*_ROLES}:
                raise adapter.error(f"layer {path!r} has tensors {sorted(found)}, and POLY needs {sorted(_ROLES)}")
            out, inp = adapter.layer(path).modes.shape
            shapes = (
                (splits, skills, inp // splits, rank),
                (splits, skills, rank, out // splits),
                (tasks, splits * skills),
            )
            a, b, logits = (
                adapter.shaped(found[role], shape, f"{path}.{role}") for role, shape in zip(_ROLES, shapes, strict=True)
            )
            weights = torch.sigmoid(logits[task].reshape(splits, skills))
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-12)
            down = torch.einsum("qs,qsdr->qdr", weights, a).reshape(inp, rank).T
            up = torch.einsum("qs,qsrd->qdr", weights, b).reshape(out, rank) / rank
            made[path] = up, down
        return as_low_rank(adapter, made)
