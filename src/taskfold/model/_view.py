"""Modules made of a model: one task by itself, a function."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..tasks import Features, Task


class TaskView(nn.Module):
    """One task of a model as a module: its parameters, buffers, state and mode are the task's alone."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.task = task
        self.__dict__.update(model=model, mode=None)

    @property
    def training(self) -> bool:
        """The view's own mode, or as long as it has none the model's."""
        mode: bool | None = self.__dict__["mode"]
        return self.__dict__["model"].training if mode is None else mode

    @training.setter
    def training(self, mode: bool) -> None:  # type: ignore[override]
        self.__dict__["mode"] = mode

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        model, name = self.__dict__["model"], self.task.name
        if "task" in kwargs:
            raise TypeError(
                "'task' names the task of a model, and this view has its own; give an argument of the network's that "
                "is called so by its position"
            )
        if model.tasks.get(name) is not self.task:
            raise RuntimeError(
                f"the task {name!r} of this view has been removed from the model; make a view of the one that is there "
                f"now: model.for_task({name!r})"
            )
        if self.training is model.training:
            return model(*args, task=name, **kwargs)
        return model(*args, task=name, _training=self.training, **kwargs)

    def train(self, mode: bool = True) -> TaskView:
        """Training or evaluation mode of this task in this view."""
        self.__dict__["mode"] = mode
        self.task.train(mode)
        return self


class Folded(nn.Sequential):
    """A network and what stands behind it; it takes whatever the network takes."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        network, *behind = self
        output = network(*args, **kwargs)
        for module in behind:
            output = module(output)
        return output


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: Features) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: object) -> Tensor:
        return self.function(x)
