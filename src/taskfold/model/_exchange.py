"""Tasks from and to other libraries' formats, and tasks of several others."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..layers import parts_of
from ..peft import read_adapter, write_adapter
from ..tasks import Task, check_free
from ._collection import TaskCollection
from ._combined import Rule, check_combination, combined


class Exchange(TaskCollection):
    """Tasks that come from elsewhere, go there, or are made of others."""

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
        """Add a task that is made of others, which stay as they are: what each adds to the backbone is combined.

        Args:
            name: of the new task.
            tasks: weights by name (`{"a": 1 - t, "b": t}` between two, `{"a": 1, "b": -1}` their difference); or
                names: their mean.
            rule: `linear`, Σ wᵢ τᵢ. `ties`: each wᵢ τᵢ trimmed to its largest numbers, then means of those that have
                the sign of the sum (names alone weigh 1). `dare`: numbers of τᵢ dropped at random, the rest scaled by
                1/density, then `linear`; `dare-ties`: then signs elected as in `ties`, nothing trimmed.
            density: of `ties` and `dare`, the share of numbers that is kept.
            seed: of `dare`.
            head: the task whose head the new one has a copy of, with its labels; needed where one of them has a head.

        Returns:
            The task. A linear combination of updates of low rank is a LoRA of the sum of their ranks; else the task has
            its own copies of the tensors that change.

        Raises:
            ValueError: a task is not known, or is no change of tensors; a setting is out of its range; heads, and it is
                not said whose.
            TypeError: `tasks` are no names.
        """
        weights = check_combination(tasks, rule, density)
        made = [self[one] for one in weights]
        heads = [one.name for one in made if one.head is not None]
        if head is None and heads:
            raise ValueError(f"task {heads[0]!r} has a head; say whose head {name!r} has: head={heads[0]!r}")
        chosen = None if head is None else copy.deepcopy(self[head].head)
        method, tensors = combined(self.backbone, made, list(weights.values()), rule, density or 1.0, seed)
        info = None if head is None else replace(copy.deepcopy(self[head].info), metrics={})  # of another task
        task = self._added(name, chosen, method, info)
        for (path, part), held in parts_of(task):
            for leaf, live in held.own.held().items():
                between = "." if part.endswith(":own") else ":"
                live.data.copy_(tensors[f"{path}{between}{leaf}" if path else leaf])
        return task

    def load_peft(self, folder: str | Path, *, name: str | None = None, task_id: int | None = None) -> Task:
        """Add a task from an adapter that PEFT saved; it answers as `PeftModel` does. PEFT need not be installed.

        LORA (with DoRA), IA3, LN_TUNING, LOHA, LOKR, VERA, FOURIERFT, POLY, PROMPT_TUNING and PREFIX_TUNING, and whole
        modules that were saved beside them. On any error the model stays as it was.

        Args:
            folder: with `adapter_config.json` and `adapter_model.safetensors`.
            name: of the task; default: the folder's.
            task_id: which task of an adapter that holds several (POLY), from 0.

        Raises:
            FileNotFoundError: there is no adapter.
            AdapterError: it is damaged, of another backbone, or does what no method of Taskfold's does.
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
        """Write a task as an adapter of PEFT's, LORA, which `PeftModel.from_pretrained` loads without Taskfold.

        What stands beside layers is a LoRA of the same rank: LoRA itself, FTN, routed and entangled methods as they are
        in evaluation. DoRA stays DoRA. Own normalisation, a head and other tensors of the task's own go into
        `modules_to_save`, running statistics with them.

        Args:
            name: the task.
            folder: a new one, or an empty one; it is returned.
            head: the name that the task's head has in the network that the adapter is for; default: timm's.

        Raises:
            ValueError: there is no such task, the folder holds something, or PEFT can't hold what the task does at a
                layer, which is named.
            FileNotFoundError: the folder's own folder does not exist.
        """
        return write_adapter(self[name], self.backbone, Path(folder), head)
