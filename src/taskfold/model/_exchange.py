"""Tasks from and to other libraries' formats, and tasks of several others."""

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
        return fill(self._added(name, chosen, method, info), tensors)

    def compress_tasks(self, tasks: Sequence[str] | None = None, *, rank: int) -> tuple[Self, dict[str, float]]:
        """A model of the same backbone whose tasks share a basis in each layer, and have a small matrix each.

        ΔW_t ≈ U Σ_t V with U and V of all tasks and Σ_t, k × k, of each (Brüel-Gabrielsson et al., "Compress then
        Serve", 2024): a task then is k² numbers at a layer, whatever the layer's size. Own normalisation and heads are
        copied, and other whole tensors of a task's own. The tasks of this model stay as they are. Measure what it costs
        on validation data: an error of updates says little about answers.

        Args:
            tasks: names; default: all.
            rank: k ≥ 1, or less where the tasks need less. Up to the sum of their ranks it is an approximation.

        Returns:
            The model, with LoRA of `sharing="core"`, and the relative error of each task's updates, 0 to 1.

        Raises:
            ValueError: the rank is out of its range, there are no tasks, a task is not known, none changes a layer, or
                one changes more of a layer than its weight, which is named.

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
