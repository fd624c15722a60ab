"""MultiTask: one frozen backbone, many tasks."""

from __future__ import annotations

import copy
import difflib
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .layers import Selection, SiteState, current, fit, selecting, set_mode, skeleton
from .methods import Method, build
from .tasks import Info, Named, Task, TaskFileError, build_head, check_name, fingerprint, read, write
from .tasks._features import Features, feature_width, pooled


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

    Raises:
        TypeError: the backbone is no module, or the method no method.

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
        self._reset()

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
            raise ValueError(
                f"task {name!r} has {head} outputs and {len(labels)} labels; they must be as many"
            )
        chosen = chosen.with_settings(**settings)
        like = next(self.backbone.parameters(), torch.zeros(()))
        made = build_head(head, lambda: self.num_features or feature_width(self.backbone), like)
        composition = chosen.compose(self.backbone)
        inventory = {key: self.inventory[key] for key in self.inventory}
        sites = fit(composition, self.backbone, inventory, chosen.name)
        task = Task(name, chosen.as_json(), dict(sites), made, Info(tuple(labels), dict(preprocessing or {})))
        task.train(self.training)
        for key, bank in inventory.items():
            self.inventory[key] = bank
        self.tasks[name] = task
        if not sites.keys() <= self._paths:
            self._reset(self._paths | sites.keys())
        return task

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

    def forward(self, *args: Any, task: str | Sequence[str], **kwargs: Any) -> Any:
        """Run one task, or one task per row of the batch.

        Args:
            args, kwargs: the backbone's inputs, batch first.
            task: a name; or a list of names, one per row.

        Returns:
            For a name the task's output, `[B, outputs]`. For a list: a list with the output of each row (heads may
            differ in size), or the backbone's output if none of the tasks has a head.

        Raises:
            ValueError: a task is not known, or there are not as many names as rows.
        """
        if isinstance(task, str):
            tasks, rows = (self[task],), None
        else:
            tasks, rows = self._rows(
                list(task), next(v for v in (*args, *kwargs.values()) if isinstance(v, Tensor))
            )
        network = self._network()
        with selecting(Selection(tasks, rows if len(tasks) > 1 else None, self.training)):
            output = network(*args, **kwargs)
        self._report_unused(network, tasks)
        if all(one.head is None for one in tasks):
            return output
        if rows is None:
            return tasks[0].head(self.features(output))  # type: ignore[misc]
        return self._heads(tasks, rows, self.features(output))

    def _rows(self, names: list[str], first: Tensor) -> tuple[tuple[Task, ...], Tensor]:
        if not names:
            raise ValueError("task is an empty list; give one name per row")
        if len(names) != len(first):
            raise ValueError(
                f"task lists {len(names)} names for a batch of {len(first)} rows; give one per row"
            )
        distinct = {name: n for n, name in enumerate(dict.fromkeys(names))}
        rows = torch.tensor([distinct[name] for name in names], device=first.device)
        return tuple(self[name] for name in distinct), rows

    def _heads(self, tasks: tuple[Task, ...], rows: Tensor, features: Tensor) -> list[Tensor]:
        outputs: dict[int, Tensor] = {}
        for n, task in enumerate(tasks):
            mine = (rows == n).nonzero().squeeze(1)
            made = features[mine] if task.head is None else task.head(features[mine])
            outputs |= dict(zip(mine.tolist(), made, strict=True))
        return [outputs[row] for row in range(len(rows))]

    def for_task(self, name: str) -> TaskView:
        """One task as a module by itself: `view(x)` is `model(x, task=name)`; its parameters are the task's own."""
        return TaskView(self, self[name])

    def train(self, mode: bool = True) -> MultiTask:
        """Training or evaluation mode of the tasks, and of dropout in the backbone; its BatchNorm never trains."""
        self.training = mode
        self.tasks.train(mode)
        if self._skeleton is not None:
            set_mode(self._skeleton, mode)
        return self

    # Folding

    @torch.no_grad()
    def materialise(self, name: str) -> dict[str, Tensor]:
        """The backbone's tensors as a task has them, by name; those it leaves alone are not listed."""
        changed: dict[str, Tensor] = {}
        for path, state in self[name].sites._modules.items():
            assert isinstance(state, SiteState)
            tensors = state.tensors(self.backbone.get_submodule(path))
            changed |= {f"{path}.{key}" if path else key: tensor for key, tensor in tensors.items()}
        return changed

    @torch.no_grad()
    def fold(self, name: str, *, head: bool = True) -> nn.Module:
        """A task as a plain network without Taskfold: the backbone's own architecture, and the task's head.

        Args:
            name: the task.
            head: with the head (an `nn.Sequential` of backbone and head), if the task has one.

        Raises:
            ValueError: there is no such task.
        """
        task = self[name]
        plain = copy.deepcopy(self.backbone)
        tensors = {**dict(plain.named_parameters(remove_duplicate=False)), **dict(plain.named_buffers())}
        for key, tensor in self.materialise(name).items():
            tensors[key].copy_(tensor)
        plain.requires_grad_(True).train(self.training)
        if task.head is None or not head:
            return plain
        parts: OrderedDict[str, nn.Module] = OrderedDict(backbone=plain)
        if self.features is not pooled or hasattr(plain, "config"):
            parts["features"] = _Apply(self.features)
        parts["head"] = copy.deepcopy(task.head)
        return nn.Sequential(parts).train(self.training)

    # Files

    def save_task(self, name: str, path: str | Path) -> Path:
        """Write a task to one safetensors file, atomically.

        Returns:
            The path.

        Raises:
            ValueError: there is no such task.
            FileNotFoundError: the folder does not exist.
        """
        task = self[name]
        head: dict[str, Any] | None = None
        if task.head is not None:
            plain = type(task.head) is nn.Linear and task.head.bias is not None
            head = {"kind": "linear", "outputs": task.head.out_features} if plain else {"kind": "module"}  # type: ignore[union-attr]
        header = {
            "task": name,
            "method": task.method,
            "head": head,
            "info": task.info.as_json(),
            "backbone": {"class": type(self.backbone).__name__, "fingerprint": fingerprint(self.backbone)},
        }
        write(Path(path), header, {**task.state_dict(), **_inventory_state(task)})
        return Path(path)

    def load_task(self, path: str | Path, *, name: str | None = None, head: nn.Module | None = None) -> Task:
        """Add a task from its file. On any error the model stays as it was.

        Args:
            path: a file of `save_task`.
            name: another name for it.
            head: the module to load the head into, if it was not a plain linear layer.

        Raises:
            TaskFileError: no task file, damaged, newer, of another backbone, or of shapes that do not fit.
            ValueError: the name is taken, or a head must be given.
        """
        path = Path(path)
        contents = read(path)
        header, info = contents.header, contents.header["info"]
        mine = fingerprint(self.backbone)
        if header["backbone"]["fingerprint"] != mine:
            raise TaskFileError(
                f"{path} belongs to another backbone ({header['backbone']['class']}, fingerprint "
                f"{header['backbone']['fingerprint'][:12]}…; this one is {type(self.backbone).__name__}, {mine[:12]}…); "
                "load the backbone it was trained on"
            )
        spec = header["head"]
        if spec and spec["kind"] == "module" and head is None:
            raise ValueError(
                f"{path} has a head of the user's own; give the module to load it into: load_task(…, head=…)"
            )
        made = head if spec and spec["kind"] == "module" else spec and spec["outputs"]
        name = name or header["task"]
        if name in self.tasks:
            raise ValueError(
                f"task {name!r} exists already; load it under another name: load_task(…, name=…)"
            )
        known = set(self.inventory)
        task = self.add_task(name, made, method=build(header["method"]["name"], header["method"]["settings"]))
        try:
            _load(task, contents.tensors, path, known)
        except Exception:
            self.remove_task(name)
            for key in set(self.inventory) - known:
                del self.inventory[key]
            raise
        task.info = Info(tuple(info["labels"]), info["preprocessing"], info["metrics"])
        return task

    # Inside

    def _network(self) -> nn.Module:
        """The skeleton, built when first needed."""
        network = self._skeleton
        if network is None:
            with self._lock:
                if self._skeleton is None:
                    built = skeleton(self.backbone, self._paths)
                    set_mode(built, self.training)
                    self.__dict__["_skeleton"] = built
                network = self._skeleton
        return network

    def _reset(self, paths: set[str] | None = None) -> None:
        # Past nn.Module: the skeleton is a view of the backbone, not a part of the model's state.
        self.__dict__.setdefault("_lock", threading.Lock())
        self.__dict__["_paths"] = paths if paths is not None else self.__dict__.get("_paths", set())
        self.__dict__["_skeleton"] = None
        self.__dict__["_checked"] = set()

    def _report_unused(self, network: nn.Module, tasks: tuple[Task, ...]) -> None:
        """Say once if a task adapts layers that a forward pass never calls: it would be a silent no-op."""
        for task in tasks:
            if task.name in self._checked:
                continue
            self._checked.add(task.name)
            unused = [p for p in task.sites if not network.get_submodule(p).__dict__["forward"].ran]
            if unused:
                warnings.warn(
                    f"task {task.name!r} adapts {len(unused)} layers that this forward pass never called, to no effect: "
                    f"{', '.join(unused[:5])}; leave them out with targets=('*', '!{unused[0]}')",
                    stacklevel=4,
                )

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> MultiTask:
        super()._apply(fn, recurse)
        self._reset()
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_skeleton", "_checked")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._reset()


class TaskView(nn.Module):
    """One task of a model as a module: its parameters, buffers and state are the task's alone."""

    def __init__(self, model: MultiTask, task: Task) -> None:
        super().__init__()
        self.task = task
        self.__dict__["model"] = model

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.__dict__["model"](*args, task=self.task.name, **kwargs)

    def train(self, mode: bool = True) -> TaskView:
        self.training = mode
        self.__dict__["model"].train(mode)
        return self


class _Apply(nn.Module):
    def __init__(self, function: Features) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: object) -> Tensor:
        return self.function(x)


def checkpoint_context() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For `torch.utils.checkpoint(…, use_reentrant=False, context_fn=checkpoint_context)`.

    Keeps the task of the forward pass for its recomputation in the backward pass.
    """
    return nullcontext(), selecting(current())


def _inventory_state(task: Task) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for update in task.modules():
        key = update.__dict__.get("inventory_key")
        if key is not None:
            state |= {f"inventory:{key}:{leaf}": p for leaf, p in update.__dict__["inventory"].items()}
    return state


def _load(task: Task, tensors: dict[str, Tensor], path: Path, known: set[str]) -> None:
    wanted = {**task.state_dict(keep_vars=True), **_inventory_state(task)}
    for key in sorted(wanted.keys() ^ tensors.keys()):
        where = "lacks" if key in wanted else "has an unknown"
        raise TaskFileError(
            f"{path} {where} tensor {key!r}; the file does not fit its own method or the given head"
        )
    for key, tensor in tensors.items():
        if tensor.shape != wanted[key].shape:
            raise TaskFileError(
                f"{path}: {key!r} has shape {list(tensor.shape)}, this backbone and head need {list(wanted[key].shape)}"
            )
        if (
            key.startswith("inventory:")
            and key.split(":")[1] in known
            and not torch.equal(wanted[key].cpu(), tensor)
        ):
            raise TaskFileError(
                f"{path} stands on other shared factors than this model's ({key!r} differs); load it into a model of its own"
            )
    with torch.no_grad():
        for key, tensor in tensors.items():
            wanted[key].copy_(tensor)
