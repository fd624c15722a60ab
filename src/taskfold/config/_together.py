"""Checks between `together`, the tasks and their methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator
from torch import nn

from ..layers import Update
from ..methods import Method
from ..model import MultiTask
from ..routing import Private, Sharing
from ..train import AffinitySettings, JointSettings
from ._errors import Place, unknown
from ._merge import as_method
from ._method import try_method

_ALIKE = ("max_input", "max_target", "cut", "pad_to_multiple_of", "length_normalised", "losses")
"""Settings of texts that affect batches and losses, which joint tasks must share."""


class Together(JointSettings):
    """The settings of joint training, and its groups of tasks.

    Attributes:
        groups: `auto`: the groups that affinity proposes; or lists of tasks' names; None: one group.
        affinity: how affinity is measured, for `auto`.
    """

    groups: Literal["auto"] | tuple[tuple[str, ...], ...] | None = None
    affinity: AffinitySettings = Field(default=AffinitySettings())

    @model_validator(mode="after")
    def _for_auto(self) -> Together:
        if "affinity" in self.model_fields_set and self.groups != "auto":
            raise ValueError(f"affinity is measured for groups='auto', found groups={self.groups!r}; leave it out")
        return self

    @property
    def training(self) -> JointSettings:
        """The settings of each group's training."""
        return JointSettings.model_validate(self.model_dump(include=set(JointSettings.model_fields)))


def shares(method: Method) -> bool:
    """Whether tasks of a method share factors.

    Example:
        >>> import taskfold as tfold
        >>> [shares(method) for method in (tfold.FTN(), tfold.FTN(sharing="shared"), tfold.HardSharing())]
        [False, True, True]
    """
    rules = [part.sharing if isinstance(part, Update) else part for part in method.parts]
    if rules:
        return any(isinstance(rule, Sharing) and not isinstance(rule, Private) for rule in rules)
    model = MultiTask(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1)), method)
    try:
        model.add_task("one")
    except ValueError:  # the rule is for other layers; the training reports it
        return False
    return bool(list(model.inventory))


def together_problems(document: Mapping[str, Any], whole: Mapping[str, Any]) -> list[tuple[Place, str]]:
    """Problems between `together` and the tasks.

    Args:
        document: the file's content.
        whole: the content with common sections written out in every task.
    """
    said = document.get("together")
    listed = whole.get("tasks")
    tasks = {n: task for n, task in enumerate(listed if isinstance(listed, list) else []) if isinstance(task, dict)}
    if said is None or said is False:
        sharing = {n: made for n, task in tasks.items() if (made := _method(task)) is not None and shares(made)}
        if not sharing:
            return []
        where = ", ".join(f"tasks[{n}]" for n in list(sharing)[:5]) + (", …" if len(sharing) > 5 else "")
        name = next(iter(sharing.values())).name
        remedy = "add together: true, or a mapping of its settings"
        private = (
            ", or choose sharing: private" if "sharing" in next(iter(sharing.values())).as_json()["settings"] else ""
        )
        text = (
            f"is missing: method {name!r} shares an inventory between tasks ({where}), which are then trained together"
        )
        return [(("together",), f"{text}; {remedy}{private}")]
    found: list[tuple[Place, str]] = []
    written = document.get("tasks")
    for n, task in enumerate(written if isinstance(written, list) else []):
        if not isinstance(task, dict):
            continue
        if task.get("train") is not None:
            found.append((("tasks", n, "train"), "tasks trained together have one training; say it in together"))
        own = task.get("text")
        for key in _ALIKE:
            if isinstance(own, dict) and key in own:
                place = ("tasks", n, "text", key)
                found.append((place, "tasks trained together are batched alike; say it once, under text at the top"))
    weights = said.get("task_weights") if isinstance(said, dict) else None
    names = [str(task.get("name")) for task in tasks.values()]
    found += _group_problems(said.get("groups") if isinstance(said, dict) else None, names)
    for name in weights if isinstance(weights, dict) else ():
        if name not in names:
            found.append((("together", "task_weights", name), unknown(name, names, "task")))
    return found


def _group_problems(groups: Any, names: Sequence[str]) -> list[tuple[Place, str]]:
    """Problems of groups, which must hold every task once."""
    if not isinstance(groups, list) or not all(isinstance(group, list) for group in groups):
        return []
    place, found, seen = ("together", "groups"), list[tuple[Place, str]](), set[str]()
    for n, group in enumerate(groups):
        if not group:
            found.append(((*place, n), "is empty; leave it out"))
        for name in map(str, group):
            if name not in names:
                found.append(((*place, n), f"{name!r}: {unknown(name, names, 'task')}"))
            elif name in seen:
                found.append(((*place, n), f"{name!r} is in two places; each task is in one group"))
            seen.add(name)
    if absent := [name for name in names if name not in seen]:
        found.append((place, f"must name every task, {', '.join(absent)} is in none; give it a group of its own"))
    return found


def _method(task: Mapping[str, Any]) -> Method | None:
    settings = as_method(task.get("method"))
    if not isinstance(settings, dict) or not isinstance(settings.get("name"), str):
        return None
    made = try_method(settings["name"], {key: value for key, value in settings.items() if key != "name"})
    return made if isinstance(made, Method) else None
