"""Groups of tasks that train together: the configuration's, or those that affinity proposes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..config.run import Config
from ..report import record
from ..tasks import write_atomically
from ..train import Affinity, AffinitySettings, JointSettings, affinity
from ._output import say
from ._prepare import Opened
from ._ready import Ready
from ._story import Story
from ._trainings import is_main_process, retold

NAME = "measured.json"


def group_home(plan: Config, number: int) -> Path:
    """The folder of a group, numbered from 1: a joint training's, with tasks and an inventory."""
    return plan.output / f"group-{number}"


def groups_of(
    plan: Config, opened: Opened, tasks: list[Ready], fresh: bool, story: Story
) -> Sequence[Sequence[str]] | None:
    """The names of tasks by group; None: one group."""
    assert plan.together is not None
    if plan.together.groups != "auto":
        return plan.together.groups
    found = measured(plan, opened, tasks, plan.together.affinity, fresh)
    story.document["affinity"] = [record.affinity_record(found, method_label(plan))]
    groups = found.groups()
    if is_main_process():
        say(f"Groups: {' · '.join(', '.join(group) for group in groups)}")
    return groups


def measured(plan: Config, opened: Opened, tasks: list[Ready], how: AffinitySettings, fresh: bool) -> Affinity:
    """The affinities of the tasks, from an earlier measurement in the output or a new one, which is saved."""
    settings = plan.together.training if plan.together else JointSettings()
    file, of = plan.output / "affinity" / NAME, _identity(plan, tasks, settings, how)
    if not fresh and (kept := _kept(file, of)) is not None:
        return kept.model_copy(update={"by": how.by, "count": how.groups})
    if is_main_process():
        say(f"Measuring affinities in {how.steps} steps of joint training …", "dim")
    sets, seams = type(tasks[0]).joint(tasks, settings.seed)
    said = {key: value for key, value in seams.items() if key != "measure"}
    found = retold(lambda: affinity(opened.model, sets, settings, how, **said))
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"of": of, "affinity": found.model_dump(mode="json")}, ensure_ascii=False, allow_nan=False)
    write_atomically(file, text.encode())
    return found


def method_label(plan: Config) -> str:
    """The label of the tasks' methods."""
    return ", ".join(dict.fromkeys(record.labels_of({task.name: task.method for task in plan.tasks}).values()))


def _kept(file: Path, of: str) -> Affinity | None:
    """The saved measurement, if it had the same tasks and settings."""
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        return Affinity.model_validate(said["affinity"]) if said["of"] == of else None
    except (FileNotFoundError, ValueError, KeyError, TypeError, ValidationError):
        return None


def _identity(plan: Config, tasks: Sequence[Ready], settings: JointSettings, how: AffinitySettings) -> str:
    said: dict[str, Any] = {
        "backbone": plan.backbone.as_json(),
        "methods": {task.name: task.method.as_json() for task in plan.tasks},
        "data": {task.name: task.identity for task in tasks},
        "settings": settings.model_dump(mode="json", exclude={*settings.unseen()}),
        "measuring": how.model_dump(mode="json", exclude={"by", "groups"}),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()
