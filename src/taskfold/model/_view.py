"""Modules made of a model: one task by itself, a function."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..tasks import Features, Task


class TaskView(nn.Module):
    """One task of a model as a module: its parameters, buffers and state are the task's alone."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.task = task
        self.__dict__["model"] = model

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        model, name = self.__dict__["model"], self.task.name
        if model.tasks.get(name) is not self.task:
            raise RuntimeError(
                f"the task {name!r} of this view has been removed from the model; make a view of the one that is there "
                f"now: model.for_task({name!r})"
            )
        return model(*args, task=name, **kwargs)

    def train(self, mode: bool = True) -> TaskView:
        self.training = mode
        self.__dict__["model"].train(mode)
        return self


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: Features) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: object) -> Tensor:
        return self.function(x)
