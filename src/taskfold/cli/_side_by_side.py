"""Trains tasks side by side in one process, and publishes each at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..config.run import Config
from ..model import MultiTask
from ..train import PackTask, Result, train_pack
from ._trainings import Todo, begun, retold, say_rates


def side_by_side(
    plan: Config, model: MultiTask, todo: Sequence[Todo], fresh: bool, file: str, done: Callable[[Todo, Result], None]
) -> None:
    """Train tasks in a pack, or resume it."""
    each = {one[0].name: one for one in todo}
    packed: dict[str, PackTask] = {}
    for task, settings, said in todo:
        begun(plan, task, settings, said, fresh)
        packed[task.name] = PackTask(task.sets(settings.train.seed), settings.train, **task.seams)

    def finished(name: str, result: Result) -> None:
        each[name][0].settle(model)
        say_rates(name, result)
        done(each[name], result)

    folder = plan.run_folder(todo[0][1]).parent
    retold(lambda: train_pack(model, packed, folder=folder, file=file, finished=finished, fresh=fresh))
