"""Imports and exports tasks in PEFT's format, and makes tasks from others."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from ..factors import check_whole
from ..peft import read_adapter, write_adapter
from ..tasks import Task, check_free
from ._collection import TaskCollection
from ._combined import Rule, check_combination, combined, fill
from ._compressed import compressed, fill_bases


class Exchange(TaskCollection):
    """A collection of tasks with imports, exports, combinations and compression."""

    def combine_tasks(
        self,
        name: str,
        tasks: Mapping[str, float] | Sequence[str],
        *,
        rule: Rule = "linear",
        density: float | None = None,
        seed: int = 0,
        head: str | None = None,
    ) -> Task:
        """Adds a task that combines the changes of other tasks, which do not change.

        Args:
            name: of the new task.
            tasks: weights by name (`{"a": 1 - t, "b": t}` between two, `{"a": 1, "b": -1}` their difference); or
                names, for their mean.
            rule: for changes τᵢ with weights wᵢ. `linear`: Σ wᵢ τᵢ. `ties`: each wᵢ τᵢ is trimmed to its largest
                numbers, then those with the sign of the sum are averaged (names alone weigh 1). `dare`: numbers of τᵢ
                are dropped at random and the rest scaled by 1/density, then `linear`. `dare-ties`: the same, then
                signs as in `ties`, without trimming.
            density: for `ties` and `dare`, the share of numbers that is kept.
            seed: of `dare`.
            head: the task whose head and labels are copied; required if one of the tasks has a head.

        Returns:
            The task. A linear combination of low-rank updates is a LoRA whose rank is the sum of theirs; any other
            combination has its own copies of the changed tensors.

        Raises:
            ValueError: a task is unknown, or does more than change tensors; a setting is out of its range; or a task
                has a head, and `head` is missing.
            TypeError: `tasks` is empty or holds no names.
        """
        weights = check_combination(tasks, rule, density, seed)
        made = [self[one] for one in weights]
        heads = [one.name for one in made if one.head is not None]
        if head is None and heads:
            raise ValueError(f"task {heads[0]!r} has a head; say whose head {name!r} has: head={heads[0]!r}")
        chosen = None if head is None else copy.deepcopy(self[head].head)
        method, tensors = combined(self.backbone, made, list(weights.values()), rule, density or 1.0, seed)
        info = None if head is None else replace(copy.deepcopy(self[head].info), metrics={})  # of another task
        return fill(self._added(name, chosen, method, info), tensors)

    def compress_tasks(self, tasks: Sequence[str] | None = None, *, rank: int) -> tuple[Self, dict[str, float]]:
        """A model of the same backbone whose tasks share a basis in each layer, with a small matrix for each task.

        ΔW_t ≈ U Σ_t V, where all tasks share U and V, and Σ_t, k × k, is the task's (Brüel-Gabrielsson et al.,
        "Compress then Serve", 2024): a task has k² numbers at a layer, whatever the layer's size. Own normalisation,
        heads and other whole tensors are copied. The tasks of this model do not change. Measure the loss on validation
        data: the error of updates says little about outputs.

        Args:
            tasks: names; default: all.
            rank: k ≥ 1, or less if the tasks need less. Below the sum of their ranks it is an approximation.

        Returns:
            The model, with LoRA of `sharing="core"`, and the relative error of each task's updates, 0 to 1.

        Raises:
            ValueError: the rank is out of its range, there are no tasks, a task is unknown, no task changes a layer, or
                one changes more of a layer than its weight; names it.

        Example:
            >>> import taskfold as tfold
            >>> from torch import nn
            >>> model = tfold.MultiTask(nn.Sequential(nn.Linear(64, 64)), tfold.LoRA(rank=4, layers="linear"))
            >>> for name in "abcdefgh":
            ...     for parameter in model.add_task(name).parameters():
            ...         _ = nn.init.normal_(parameter)
            >>> small, errors = model.compress_tasks(rank=8)
            >>> model["a"].counts()["factors"], small["a"].counts()["core"]
            (512, 64)
        """
        names = list(self.tasks) if tasks is None else list(tasks)
        if isinstance(tasks, str) or not names:
            raise ValueError(
                f"tasks must be names of tasks, and at least one, found {tasks if self.tasks else names!r}"
            )
        made = [self[name] for name in names]
        found = compressed(self.backbone, made, check_whole("rank", rank, 1))
        small = type(self)(self.backbone, found.method, features=self.features, num_features=self.num_features)
        for task in made:
            head, info = copy.deepcopy(task.head), copy.deepcopy(task.info)
            fill(small._added(task.name, head, None, info), found.tensors[task.name])
        fill_bases(small[names[0]], found.bases)
        return small.train(self.training), found.errors

    def load_peft(self, folder: str | Path, *, name: str | None = None, task_id: int | None = None) -> Task:
        """Adds a task from an adapter that PEFT saved; its outputs equal `PeftModel`'s. PEFT need not be installed.

        Supported are LORA (with DoRA), IA3, LN_TUNING, LOHA, LOKR, VERA, FOURIERFT, POLY, PROMPT_TUNING and
        PREFIX_TUNING, and whole modules saved beside them. An error leaves the model unchanged.

        Args:
            folder: with `adapter_config.json` and `adapter_model.safetensors`.
            name: of the task; default: the folder's.
            task_id: which task of an adapter that holds several (POLY), from 0.

        Raises:
            FileNotFoundError: there is no adapter.
            AdapterError: it is damaged, belongs to another backbone, or has features that Taskfold lacks.
            ValueError: the name is taken or not allowed.
        """
        folder = Path(folder)
        chosen = check_free(
            name or folder.resolve().name, self.tasks, "load it under another name: load_peft(…, name=…)"
        )
        adapter, known = read_adapter(folder, self.backbone, task_id), set(self.inventory)
        task = self._added(chosen, None, adapter.method)
        try:
            adapter.fill(task)
        except Exception:
            self._withdraw(chosen, known)
            raise
        return task

    def save_peft(self, name: str, folder: str | Path, *, head: str | None = None) -> Path:
        """Writes a task as a LORA adapter of PEFT, which `PeftModel.from_pretrained` loads without Taskfold.

        Updates beside layers become a LoRA of the same rank: LoRA itself, FTN, routed and entangled methods in their
        state of evaluation. DoRA stays DoRA. Own normalisation, with running statistics, a head and other own tensors
        go into `modules_to_save`.

        Args:
            name: the task.
            folder: a new or empty one; it is returned.
            head: the name of the head in the adapter's network; default: timm's.

        Raises:
            ValueError: there is no such task, the folder is not empty, or PEFT does not support what the task does at a
                layer; names it.
            FileNotFoundError: the folder's own folder does not exist.
        """
        return write_adapter(self[name], self.backbone, Path(folder), head)
