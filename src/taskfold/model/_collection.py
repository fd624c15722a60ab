"""Collections of tasks on one frozen backbone: adding, removing, saving and loading."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from ..layers import GeometryError, NothingToAdaptError, check_leaving, check_unwritten, fit, inventory_of, memory_of
from ..methods import Method
from ..tasks import Features, Info, Leaves, Named, Origin, Task, at_most, build_head, check_free, head_width, pooled
from ._advice import advise, check_backbone, with_methods
from ._apart import check_apart, check_ready
from ._copying import detached
from ._heads import like_of
from ._inventory_file import read_inventory, save_inventory
from ._runner import Runner
from ._saving import Stored, save
from ._transfer import Begin, Mode, check, experts_of, routing_of, transferred


class TaskCollection(nn.Module):
    """The tasks of one backbone, and their inventory. `MultiTask` runs them."""

    def __init__(
        self,
        backbone: nn.Module,
        method: Method | None = None,
        *,
        features: Features | None = None,
        num_features: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(backbone, nn.Module):
            raise TypeError(f"backbone must be an nn.Module, found {type(backbone).__name__}")
        if method is not None and not isinstance(method, Method):
            raise TypeError(f"method must be a Method such as taskfold.FTN(rank=8), found {method!r}")
        check_ready(backbone, "backbone")
        check_backbone(backbone)
        check_unwritten(backbone)
        self.backbone = backbone.requires_grad_(False)
        self.method = method
        self.features: Features = features or pooled
        self.num_features = num_features
        self.tasks: Named[Task] = Named()
        self.inventory: Named[Leaves] = Named()
        self._advised: set[tuple[str, ...]] = set()
        self._runner = Runner(backbone)

    # Tasks

    def add_task(
        self,
        name: str,
        head: int | nn.Module | None = None,
        *,
        method: Method | None = None,
        labels: Sequence[str] = (),
        preprocessing: Mapping[str, Any] | None = None,
        problem: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Task:
        """Adds a task; every other task stays the same, bit for bit.

        Args:
            name: 1 to 100 printable characters that can name a file on any system. Names of two tasks must differ in
                more than case and Unicode composition.
            head: number of outputs, any module on the features, or None: the backbone's own output.
            method: instead of the model's.
            labels: class names, one per output if `head` is a number.
            preprocessing: JSON to store with the task.
            problem: the meaning of the outputs, `Problem.as_json()` of one of `taskfold.problems`; None: classes.
            settings: changes to the method's settings for this task (`rank=20`).

        Raises:
            ValueError: the name is taken or not allowed, a setting does not exist, the method finds no layer to adapt,
                labels and head disagree, the backbone has a classifier in place of the head, or another task or the
                backbone holds the head's tensors too.
            TypeError: the head is neither a number nor a module, or has no weights yet.

        Warns:
            AdaptationWarning: most of the backbone's weights are in layers that the method can't adapt, or the
                backbone's own classifier seems to be newly initialised, and stays so. Once for a method.
        """
        if isinstance(labels, str):
            raise TypeError(f"labels must be a list of class names, one per output, found {labels!r}")
        info = Info(tuple(labels), dict(preprocessing or {}), problem=dict(problem or {}))
        task = self._added(name, head, method, info, settings)
        used = (method or self.method).with_settings(**settings)  # type: ignore[union-attr]
        advise(self.backbone, task, used, self._advised)
        return task

    def _added(
        self,
        name: str,
        head: int | nn.Module | None,
        method: Method | None,
        info: Info | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Task:
        check_free(name, self.tasks, "remove it first, or choose another name")
        chosen = method or self.method
        if chosen is None:
            raise ValueError(f"task {name!r} has no method: give one here, or to MultiTask")
        info = info or Info((), {})
        if isinstance(head, int) and info.labels and len(info.labels) != head:
            raise ValueError(f"task {name!r} has {head} outputs and {len(info.labels)} labels; they must be as many")
        chosen = chosen.with_settings(**settings or {})
        width = partial(head_width, self.backbone, head, self.num_features, self.features)
        made = build_head(head, width, like_of(self.backbone))
        if isinstance(head, nn.Module) and made is not None:  # a new head shares no tensors
            check_ready(made, "head")
            check_apart(name, made, self.backbone, self.tasks)
        inventory = {key: self.inventory[key] for key in self.inventory}
        try:
            composition = chosen.composition(self.backbone)
            sites = fit(composition, self.backbone, inventory, chosen.name, chosen.frozen_stages)
        except (GeometryError, NothingToAdaptError) as error:
            raise with_methods(error, self.backbone) from None
        task = Task(name, chosen.as_json(), dict(sites), made, info)
        task.origin = Origin(self.backbone)
        task.train(self.training)
        self._runner.adapt({path: parts.form for path, parts in sites.items()})
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
        """Adds a task that learns from an inventory which other tasks have trained; none of them changes.

        TensorPoly (Su et al.), section 4.3; the control `random-mu` is `mu` on an inventory trained with
        `allocation="random"`. Under `mu` the task's allocation is `sigmoid`, whatever the method's, so that no routing
        is drawn.

        Args:
            name, head, settings: as for `add_task`.
            mode: what learns beside the head: `z`, the routing alone; `all`, routing and factors; `mu`, the factors
                under a fixed routing. `all` and `mu` train the task's own copy of the inventory.
            begin: initial routing: the `mean` of the tasks on the inventory, or `even`.

        Raises:
            ValueError: a setting is unknown, the model holds no such inventory, the method is not routed, there are
                no tasks for the mean, or the routing would learn with `allocation="random"`, which learns none.
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
        del self.tasks[name]
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
        """Removes a task and returns it.

        Raises:
            ValueError: there is no such task, or others depend on its entries of a common weight.
        """
        task = self[name]
        check_leaving(task, [self.tasks[other] for other in self.tasks if other != name])
        del self.tasks[name]
        return task

    def drop_inventory(self) -> int:
        """Deletes leaves of the inventory that no task uses, so that new tasks make new ones; returns their count."""
        held = {name.rpartition(":")[0] for task in self.tasks for name in inventory_of(self.tasks[task])}
        unused = {key: self.inventory[key] for key in self.inventory if key not in held}
        for key in unused:
            del self.inventory[key]
        return sum(leaf.numel() for bank in unused.values() for leaf in bank.values())

    def rename_task(self, old: str, new: str) -> None:
        """Renames a task.

        Raises:
            ValueError: there is no such task, or the new name is taken or not allowed.
        """
        task = self[old]
        others = [name for name in self.tasks if name != old]
        check_free(new, others, "remove it first, or choose another name")
        del self.tasks[old]
        task.name = new
        self.tasks[new] = task

    # Files

    def save_task(self, name: str, path: str | Path, *, standalone: bool = False) -> Path:
        """Writes a task to one safetensors file, atomically; returns its path.

        Args:
            name: the task.
            path: the file.
            standalone: include the task's inventory. Otherwise the file holds the task's own tensors and the
                fingerprint of the inventory, which `save_inventory` writes.

        Raises:
            ValueError: there is no such task.
            FileNotFoundError: the folder does not exist.
            IsADirectoryError: the path is a folder.
        """
        others = [self.tasks[other] for other in self.tasks if other != name]
        return save(self[name], self.backbone, Path(path), standalone, others)

    def save_inventory(self, path: str | Path) -> Path:
        """Writes the inventory to one safetensors file, atomically; returns its path.

        Raises:
            ValueError: the model shares nothing.
            FileNotFoundError: the folder does not exist.
            IsADirectoryError: the path is a folder.
        """
        return save_inventory(self.inventory, self.backbone, Path(path))

    def load_inventory(self, path: str | Path) -> None:
        """Loads an inventory from a file of `save_inventory`. An error leaves the model unchanged.

        Raises:
            TaskFileError: the file is no inventory, damaged, newer or of another backbone, or differs from the model's.
        """
        for key, bank in read_inventory(Path(path), self.backbone, self.inventory).items():
            self.inventory[key] = bank

    def load_task(self, path: str | Path, *, name: str | None = None, head: nn.Module | None = None) -> Task:
        """Adds a task from its file. An error leaves the model unchanged.

        Args:
            path: a file of `save_task`.
            name: instead of the file's name of the task.
            head: the module to load the head into, if it was not a plain linear layer.

        Raises:
            TaskFileError: the file is no task, damaged, newer, of another backbone or of other shapes, or needs an
                inventory that the model does not hold.
            ValueError: the name is taken, or a head must be given.
        """
        stored = Stored.read(Path(path), self.backbone)
        chosen = check_free(name or stored.name, self.tasks, "load it under another name: load_task(…, name=…)")
        known, made = set(self.inventory), stored.head(head)
        method = stored.method()
        try:
            with at_most(stored.most + sum(p.numel() for p in self.backbone.parameters())):
                task = self._added(chosen, made, method)
        except (ValueError, LookupError, ArithmeticError, AttributeError) as error:
            raise stored.unfit(error, self.inventory) from None
        try:
            stored.fill(task, known)
        except Exception:
            self._withdraw(chosen, known)
            raise
        if not inventory_of(task):  # it has its own copy
            self._forget(set(self.inventory) - known)
        return task

    # Inside

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        memo.update(detached(self.backbone))
        twin = copy.copy(self)
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        twin._own()
        return twin

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        before = memory_of(self.backbone)
        super()._apply(fn, recurse)
        if memory_of(self.backbone) != before:
            self._runner.renew()
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._own()

    def _own(self) -> None:
        """Sets the origin of a copy's tasks to the copy's backbone."""
        for name in self.tasks:
            self.tasks[name].origin = Origin(self.backbone)
