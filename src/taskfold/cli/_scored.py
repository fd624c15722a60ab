"""Scores from outputs and targets, in the form that all commands use."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from ..evaluate import Tally
from ..problems import Problem
from ._classes import TITLES, columns_of, doubt_of, scores_of
from ._output import UserError
from ._ready import Tested, title_of


def scored(problem: Problem, found: Mapping[str, float], count: int, unit: str = "images") -> Tested:
    others = frozenset(found.keys() - problem.shares)
    main = {"accuracy": found["accuracy"]} if "accuracy" in found else {}
    metrics = {**{name: value for name, value in found.items() if name != "loss"}, "loss": found["loss"]}
    details = {"problem": problem.kind, **main, **metrics, "count": count}
    tested = Tested(
        found.get("accuracy"),
        metrics,
        details,
        {},
        count,
        unit,
        others,
        problem.words.capitalize(),
        titles=problem.titles,
        better=problem.better,
        doubt=problem.doubt(found),
    )
    columns = {tested.title(name): tested.written(name, 2) for name in metrics}
    return replace(tested, columns=columns | {unit: f"{count:,}"})


def of_classes(
    problem: Problem, outputs: Tensor, targets: Tensor, labels: tuple[str, ...], unit: str = "images", *, size: int
) -> Tested:
    """Scores of classes, with the user's own metrics; losses are summed over `size` rows at a time."""
    tally = Tally()
    for part in zip(outputs.split(size), targets.split(size), strict=True):
        tally.add(*part)
    found = tally.result(confusion=True)
    more = {name: value for name, value in problem.scores(outputs, targets).items() if name != "accuracy"}
    columns = {
        "accuracy": f"{found.accuracy:.2%}",
        **columns_of(found),
        **{title_of(name): f"{value:.4g}" for name, value in more.items()},
        "loss": f"{found.loss:.4f}",
        unit: f"{found.count:,}",
    }
    metrics = {"accuracy": found.accuracy, "loss": found.loss}
    return Tested(
        found.accuracy,
        {**metrics, **scores_of(found), **more},
        {**found.as_json(), "labels": list(labels), **more},
        columns,
        found.count,
        unit,
        frozenset({"loss", *more}),
        titles=TITLES,
        confusion=found.confusion or (),
        doubt=doubt_of(found, labels, unit),
    )


def check_known(task: str, used: Collection[str], known: Sequence[str], what: str = "labels") -> None:
    """Checks that the targets are among the task's outputs."""
    if odd := sorted({*used} - {*known}):
        raise UserError(
            f"task {task!r} does not know {', '.join(odd[:5])}{' …' if len(odd) > 5 else ''}; "
            f"its {what}: {', '.join(known[:20])}{' …' if len(known) > 20 else ''}"
        )
