"""MultiTask: one frozen backbone, many tasks."""

from __future__ import annotations

import copy
import difflib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ._folding import folded, without_batchnorm
from ._outputs import batched, check_generates, names_of_all, of_one_network, output_of, outputs_of_rows
from ._runner import Runner
from ._saving import Stored, read_inventory, save, save_inventory
from ._transfer import Begin, Mode, check, experts_of, routing_of, transferred
from ._view import Apply, TaskView
from .bank import Bank
from .layers import Execution, Groups, Selection, SiteState, check_execution, current, fit, inventory_of, selecting
from .methods import Method
from .tasks import Features, Info, Named, Task, build_head, check_name, feature_width, pooled


class MultiTask(nn.Module):
    """One frozen backbone, many tasks.

    The backbone is never written: not its weights, not its running statistics, not in training mode either. Its
    parameters are set not to require gradients. A task holds its own update, normalisation and head.

    Args:
        backbone: any module; its output (or what `features` makes of it) is what heads stand on.
        method: how tasks adapt it, unless `add_task` says otherwise.
        features: output of the backbone → `[B, F]` features for the heads. Default: a tensor as it is, a Hugging
            Face output's `pooler_output`.
        num_features: F, for `head=<number>`; default: what the backbone says (timm, Hugging Face).
        execution: how layers run their updates: `auto` (whatever is the cheapest for the layer and the batch),
            `factored`, `merged` or `materialised`, or `{layer pattern: one of these}`. The value is the same.

    Raises:
        TypeError: the backbone is no module, or the method no method.
        ValueError: an execution that is not known.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> model = tfold.MultiTask(net, tfold.FTN(rank=2, norm=False), num_features=8)
        >>> _ = model.add_task("flowers", head=5)
        >>> _ = model.add_task("cars", head=7, rank=4)
        >>> x = torch.randn(3, 3, 16, 16)
        >>> model(x, task="flowers").shape
        torch.Size([3, 5])
        >>> [tuple(y.shape) for y in model(x, task=["cars", "flowers", "cars"])]
        [(7,), (5,), (7,)]
    """

    def __init__(
        self,
        backbone: nn.Module,
        method: Method | None = None,
        *,
        features: Features | None = None,
        num_features: int | None = None,
        execution: Execution = "auto",
    ) -> None:
        super().__init__()
        if not isinstance(backbone, nn.Module):
            raise TypeError(f"backbone must be an nn.Module, found {type(backbone).__name__}")
        if method is not None and not isinstance(method, Method):
            raise TypeError(f"method must be a Method such as taskfold.FTN(rank=8), found {method!r}")
        self.backbone = backbone.requires_grad_(False)
        self.method = method
        self.features: Features = features or pooled
        self.num_features = num_features
        self.tasks: Named[Task] = Named()
        self.inventory: Named[nn.ParameterDict] = Named()
        self._runner = Runner(backbone)
        self.execution = execution

    @property
    def execution(self) -> Execution:
        """How layers run their updates; may be set at any time."""
        return self._runner.execution

    @execution.setter
    def execution(self, execution: Execution) -> None:
        check_execution(execution)
        self._runner.execution = execution

    # Tasks

    def add_task(
        self,
        name: str,
        head: int | nn.Module | None = None,
        *,
        method: Method | None = None,
        labels: Sequence[str] = (),
        preprocessing: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Task:
        """Add a task; every other task stays bit for bit what it was.

        Args:
            name: 1 to 100 printable characters, no dots or slashes.
            head: number of outputs, any module on the features, or None: the backbone's own output.
            method: instead of the model's.
            labels: class names, one per output if `head` is a number.
            preprocessing: JSON to keep with the task.
            settings: changes to the method's settings for this task (`rank=20`).

        Raises:
            ValueError: the name is taken or not allowed, a setting does not exist, the method finds nothing to adapt
                here, or labels and head disagree.
        """
        if check_name(name) in self.tasks:
            raise ValueError(f"task {name!r} exists already; remove it first, or choose another name")
        chosen = method or self.method
        if chosen is None:
            raise ValueError(f"task {name!r} has no method: give one here, or to MultiTask")
        if isinstance(head, int) and labels and len(labels) != head:
            raise ValueError(f"task {name!r} has {head} outputs and {len(labels)} labels; they must be as many")
        chosen = chosen.with_settings(**settings)
        like = next(self.backbone.parameters(), torch.zeros(()))
        made = build_head(head, lambda: self.num_features or feature_width(self.backbone), like)
        composition = chosen.compose(self.backbone)
        inventory = {key: self.inventory[key] for key in self.inventory}
        sites = fit(composition, self.backbone, inventory, chosen.name, chosen.frozen_stages)
        task = Task(name, chosen.as_json(), dict(sites), made, Info(tuple(labels), dict(preprocessing or {})))
        task.train(self.training)
        self._runner.adapt(sites)
        for key, bank in inventory.items():
            self.inventory[key] = bank
        self.tasks[name] = task
        return task

    def transfer_task(
        self,
        name: str,
        head: int | nn.Module | None = None,
        *,
        mode: Mode = "z",
        begin: Begin = "mean",
        **settings: Any,
    ) -> Task:
        """Add a task that learns from an inventory which other tasks were trained on; none of them moves.

        TensorPoly (Su et al.), section 4.3; the control `random-mu` is `mu` on an inventory trained with
        `allocation="random"`. Under `mu` nothing of the routing is drawn: the task's allocation is `sigmoid`, whatever
        the method's.

        Args:
            name, head, settings: as for `add_task`.
            mode: what learns beside the head: `z`, the routing alone; `all`, routing and factors; `mu`, the factors
                under a fixed routing. Factors then are the task's own copy of the inventory.
            begin: routing at the start: the `mean` of the tasks on the inventory, or `even`.

        Raises:
            ValueError: a setting is not known, the model holds no such inventory, the method is not routed, there are
                no tasks to take the mean of, or the routing is to learn with `allocation="random"`, which learns none.
        """
        check(mode, begin)
        known = set(self.inventory)
        task = self.add_task(name, head, **settings)
        try:
            if missing := [key for key in self.inventory if key not in known]:
                raise ValueError(
                    f"task {name!r} would stand on an inventory that nothing was trained on ({missing[0]}, …); train "
                    "tasks together first, or load their inventory: model.load_inventory(…)"
                )
            transferred(task, [self[other] for other in self.tasks if other != name], mode, begin)
        except Exception:
            self._withdraw(name, known)
            raise
        return task

    def _withdraw(self, name: str, known: set[str]) -> None:
        """Undo adding a task."""
        self.remove_task(name)
        self._forget(set(self.inventory) - known)

    def _forget(self, keys: set[str]) -> None:
        for key in keys:
            del self.inventory[key]

    def routing(self, name: str) -> dict[str, Tensor]:
        """A task's mixing weights α `[groups, experts]` by layer; groups are MHR's splits or TensorPoly-II's orders.

        Empty for a task that routes nothing.

        Raises:
            ValueError: there is no such task.
        """
        return routing_of(self[name])

    def experts(self, name: str, layer: str) -> Tensor:
        """Each expert of a layer that a task routes as one flat row, `[experts, numbers]`.

        Raises:
            ValueError: there is no such task, or it routes no such layer.
        """
        return experts_of(self[name], layer)

    def __getitem__(self, name: str) -> Task:
        """The task of that name.

        Raises:
            ValueError: there is none.
        """
        if name in self.tasks:
            return self.tasks[name]
        near = difflib.get_close_matches(str(name), list(self.tasks), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"task {name!r} is not known; tasks: {', '.join(self.tasks) or 'none yet'}{hint}")

    def remove_task(self, name: str) -> Task:
        """Take a task out and return it.

        Raises:
            ValueError: there is no such task.
        """
        task = self[name]
        del self.tasks[name]
        return task

    def drop_inventory(self) -> int:
        """Forget what tasks shared that have been removed since, so that new ones start afresh; return its numbers."""
        held = {name.rpartition(":")[0] for task in self.tasks for name in inventory_of(self.tasks[task])}
        unused = {key: self.inventory[key] for key in self.inventory if key not in held}
        for key in unused:
            del self.inventory[key]
        return sum(leaf.numel() for bank in unused.values() for leaf in bank.values())

    def rename_task(self, old: str, new: str) -> None:
        """Give a task another name.

        Raises:
            ValueError: there is no such task, or the new name is taken or not allowed.
        """
        task = self[old]
        if check_name(new) in self.tasks and new != old:
            raise ValueError(f"task {new!r} exists already; remove it first, or choose another name")
        del self.tasks[old]
        task.name = new
        self.tasks[new] = task

    # Running

    def forward(self, *args: Any, task: str | Sequence[str], broadcast: bool = False, **kwargs: Any) -> Any:
        """Run one task, one task per row of the batch, or several tasks on every row.

        Args:
            args, kwargs: the backbone's inputs, batch first.
            task: a name; or a list of names, one per row.
            broadcast: the list names tasks that each see the whole batch. It passes once through the layers that all
                of them leave alone, up to the first one that some task changes; tasks whose backbones are the same
                (common weights, own heads) need one pass between them.

        Returns:
            For a name the task's output, `[B, outputs]`. For a list: a list with the output of each row (heads may
            differ in size), or the backbone's output if none of the tasks has a head. With `broadcast` a dict, the
            output of each task by name.

        Raises:
            ValueError: a task is not known, there are not as many names as rows, or one is named twice.
            TypeError: `broadcast` without a list.
        """
        if broadcast:
            return self._broadcast(names_of_all(task), args, kwargs)
        selection, rows = self._selected(task, args, kwargs)
        output, tasks = self._runner.run(selection, args, kwargs), selection.tasks
        if all(one.head is None for one in tasks):
            return output
        features = self.features(output)
        return output_of(tasks[0], features) if rows is None else outputs_of_rows(tasks, rows, features)

    def _broadcast(self, names: Sequence[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        outputs: dict[str, Any] = {}
        groups = list(of_one_network([self[name] for name in names]))
        together = Selection(tuple(group[0] for group in groups), None, self.training)
        alone = [together.of_one(task) for task in together.tasks]
        found = self._runner.run_each(alone, together, [task.sites for task in together.tasks], args, kwargs)
        for group, output in zip(groups, found, strict=True):
            features = output if all(task.head is None for task in group) else self.features(output)
            outputs |= {task.name: output if task.head is None else output_of(task, features) for task in group}
        return {name: outputs[name] for name in names}

    def generate(self, *args: Any, task: str | Sequence[str], **kwargs: Any) -> Any:
        """The backbone's own `generate` (Hugging Face language models) for one task, or one task per row.

        Args:
            args, kwargs: as the backbone's `generate` takes them, beams included.
            task: a name; or a list of names, one per row of the input.

        Raises:
            TypeError: the backbone has no `generate`.
            ValueError: as for `forward`.
        """
        check_generates(self.backbone)
        return self._runner.run(self._selected(task, args, kwargs)[0], args, kwargs, "generate")

    def _selected(
        self, task: str | Sequence[str], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Selection, Tensor | None]:
        """The tasks of a forward pass, and `[B]` which of them each row has, unless all have the one named."""
        if isinstance(task, str):
            return Selection((self[task],), None, self.training), None
        if not isinstance(task, Sequence):
            raise TypeError(f"task must be a name, or a list of names, one per row, found {task!r}")
        names = list(task)
        if not names:
            raise ValueError("task is an empty list; give one name per row")
        first = batched(args, kwargs, len(names))
        distinct = {name: n for n, name in enumerate(dict.fromkeys(names))}
        tasks, places = tuple(self[name] for name in distinct), [distinct[name] for name in names]
        rows = torch.tensor(places, device=first.device)
        if len(tasks) == 1:
            return Selection(tasks, None, self.training), rows
        return Selection(tasks, rows, self.training, Groups.of(places, len(tasks), first.device)), rows

    def for_task(self, name: str) -> TaskView:
        """One task as a module by itself: `view(x)` is `model(x, task=name)`; its parameters are the task's own."""
        return TaskView(self, self[name])

    def bank(self, names: Iterable[str] | None = None) -> Bank:
        """A bank of these tasks (default: all), to serve them in any mixture; they stay here too.

        Raises:
            ValueError: a task is not known, or cannot be held in a bank.
        """
        bank = Bank(self.backbone, features=self.features)
        for name in self.tasks if names is None else names:
            bank.add(self[name])
        return bank

    def train(self, mode: bool = True) -> MultiTask:
        """Training or evaluation mode of the tasks, and of dropout in the backbone; its BatchNorm never trains."""
        self.training = mode
        self.tasks.train(mode)
        self._runner.train(mode)
        return self

    # Folding

    @torch.no_grad()
    def materialise(self, name: str) -> dict[str, Tensor]:
        """The backbone's tensors as a task has them in evaluation, by name; those it leaves alone are not listed."""
        changed: dict[str, Tensor] = {}
        for path, state in self[name].sites._modules.items():
            assert isinstance(state, SiteState)
            tensors = state.tensors(self.backbone.get_submodule(path), training=False)
            changed |= {f"{path}.{key}" if path else key: tensor for key, tensor in tensors.items()}
        return changed

    @torch.no_grad()
    def fold(self, name: str, *, head: bool = True, fuse_batchnorm: bool = False) -> nn.Module:
        """A task as a plain network without Taskfold: the backbone's own architecture, and the task's head.

        Layers that share a weight hold one each where the task makes them differ.

        Args:
            name: the task.
            head: with the head (an `nn.Sequential` of backbone and head), if the task has one.
            fuse_batchnorm: for serving alone: BatchNorm becomes part of the convolution before it.

        Raises:
            ValueError: there is no such task; or BatchNorm is to be fused, and the network's order of layers cannot be
                traced, or it has none.
        """
        task = self[name]
        plain = folded(self.backbone, self.materialise(name))
        if fuse_batchnorm:
            without_batchnorm(plain.eval())
        plain.requires_grad_(True).train(self.training)
        if task.head is None or not head:
            return plain
        parts: OrderedDict[str, nn.Module] = OrderedDict(backbone=plain)
        if self.features is not pooled or hasattr(plain, "config"):
            parts["features"] = Apply(self.features)
        parts["head"] = copy.deepcopy(task.head)
        return nn.Sequential(parts).train(self.training)

    # Files

    def save_task(self, name: str, path: str | Path, *, standalone: bool = False) -> Path:
        """Write a task to one safetensors file, atomically; return its path.

        Args:
            name: the task.
            path: the file.
            standalone: with the inventory that the task stands on. Otherwise the file holds what is the task's own and
                names the inventory, which `save_inventory` writes.

        Raises:
            ValueError: there is no such task.
            FileNotFoundError: the folder does not exist.
        """
        return save(self[name], self.backbone, Path(path), standalone)

    def save_inventory(self, path: str | Path) -> Path:
        """Write what tasks share to one safetensors file, atomically; return its path.

        Raises:
            ValueError: the model shares nothing.
            FileNotFoundError: the folder does not exist.
        """
        return save_inventory(self.inventory, self.backbone, Path(path))

    def load_inventory(self, path: str | Path) -> None:
        """Take the inventory from a file of `save_inventory`. On any error the model stays as it was.

        Raises:
            TaskFileError: no inventory file, damaged, newer, of another backbone, or the model's inventory is another.
        """
        for key, bank in read_inventory(Path(path), self.backbone, self.inventory).items():
            self.inventory[key] = bank

    def load_task(self, path: str | Path, *, name: str | None = None, head: nn.Module | None = None) -> Task:
        """Add a task from its file. On any error the model stays as it was.

        Args:
            path: a file of `save_task`.
            name: another name for it.
            head: the module to load the head into, if it was not a plain linear layer.

        Raises:
            TaskFileError: no task file, damaged, newer, of another backbone, of shapes that do not fit, or standing on
                an inventory that the model does not hold.
            ValueError: the name is taken, or a head must be given.
        """
        stored = Stored.read(Path(path), self.backbone)
        chosen: str = check_name(name or stored.name)
        if chosen in self.tasks:
            raise ValueError(f"task {chosen!r} exists already; load it under another name: load_task(…, name=…)")
        known, made = set(self.inventory), stored.head(head)
        try:
            task = self.add_task(chosen, made, method=stored.method())
        except ValueError as error:
            raise stored.unfit(error, self.inventory) from None
        try:
            stored.fill(task, known)
        except Exception:
            self._withdraw(chosen, known)
            raise
        if not inventory_of(task):  # it stands on its own copy
            self._forget(set(self.inventory) - known)
        return task

    # Inside

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> MultiTask:
        super()._apply(fn, recurse)
        self._runner.renew()
        return self


def checkpoint_context() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For `torch.utils.checkpoint(…, use_reentrant=False, context_fn=checkpoint_context)`.

    Keeps the task of the forward pass for its recomputation in the backward pass.
    """
    return nullcontext(), selecting(current())
