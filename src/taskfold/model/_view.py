"""Modules made from a model: a view of one task, and a folded task; and their modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ..tasks import Features, Task


class TaskView(nn.Module):
    """One task of a model as a module: its parameters, buffers, state and mode are the task's alone."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.task = task
        self.__dict__.update(model=model, mode=None)

    @property
    def training(self) -> bool:
        """The view's own mode; until it is set, the model's."""
        mode: bool | None = self.__dict__["mode"]
        return self.__dict__["model"].training if mode is None else mode

    @training.setter
    def training(self, mode: bool) -> None:  # type: ignore[override]
        self.__dict__["mode"] = mode

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(self.__dict__["model"], args, kwargs)

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """The backbone's own `generate` for this task, in the view's mode."""
        return self._run(self.__dict__["model"].generate, args, kwargs)

    def _run(self, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = self.task.name
        if "task" in kwargs:
            raise TypeError(
                "'task' names the task of a model, and this view has its own; give an argument of the network's that "
                "is called so by its position"
            )
        if self.__dict__["model"].tasks.get(name) is not self.task:
            raise RuntimeError(
                f"the task {name!r} of this view has been removed from the model; make a view of the one that is there "
                f"now: model.for_task({name!r})"
            )
        return run(*args, task=name, _training=self.training, **kwargs)

    def train(self, mode: bool = True) -> TaskView:
        """Sets the mode of the task in this view."""
        self.__dict__["mode"] = mode
        put_into_mode(self.task, mode)
        return self


class Folded(nn.Module):
    """A network with a head behind it; it takes the network's arguments."""

    def __init__(self, backbone: nn.Module, features: Features, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.features, self.head = backbone, features, head

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.head(self.features(self.backbone(*args, **kwargs)))


def put_into_mode(module: nn.Module, training: bool) -> None:
    """`module.train(training)` in a tenth of its time, for models with thousands of modules.

    Modules whose class overrides `train` or `__setattr__` run their own.
    """
    kind = type(module)
    if kind.train is not nn.Module.train or kind.__setattr__ is not nn.Module.__setattr__:
        module.train(training)
        return
    module.__dict__["training"] = training
    for child in module._modules.values():
        if child is not None:
            put_into_mode(child, training)
