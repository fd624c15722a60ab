"""Scores from outputs and targets, in the form that all commands use."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from ..evaluate import Metrics, Tally
from ..problems import Problem
from ._output import UserError
from ._ready import Tested, title_of

TITLES = {"macro_f1": "macro F1", "majority": "largest class alone"}
"""Titles of scores that differ from their names."""


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
    """Scores of classes, with the problem's and the user's own; losses are summed over `size` rows at a time."""
    tally = Tally(lambda made, wanted: problem.losses_of(made, wanted).mean())
    for part in zip(outputs.split(size), targets.split(size), strict=True):
        tally.add(*part)
    found = tally.result(confusion=True)
    more = {name: value for name, value in problem.scores(outputs, targets).items() if name != "accuracy"}
    columns = {
        "accuracy": f"{found.accuracy:.2%}",
        **columns_of(found),
        **{problem.titles.get(name, title_of(name)): f"{value:.4g}" for name, value in more.items()},
        "loss": f"{found.loss:.4f}",
        unit: f"{found.count:,}",
    }
    metrics = {"accuracy": found.accuracy, "loss": found.loss}
    return Tested(
        found.accuracy,
        {**metrics, **scores_of(found), **more},
        {**found.as_json(), "problem": problem.kind, "labels": list(labels), **more},
        columns,
        found.count,
        unit,
        frozenset({"loss", *more}),
        titles={**TITLES, **problem.titles},
        confusion=found.confusion or (),
        doubt="; ".join(filter(None, (doubt_of(found, labels, unit), problem.doubt(more)))),
    )


def check_known(task: str, used: Collection[str], known: Sequence[str], what: str = "labels") -> None:
    """Checks that the targets are among the task's outputs."""
    if odd := sorted({*used} - {*known}):
        raise UserError(
            f"task {task!r} does not know {', '.join(odd[:5])}{' …' if len(odd) > 5 else ''}; "
            f"its {what}: {', '.join(known[:20])}{' …' if len(known) > 20 else ''}"
        )


def scores_of(found: Metrics) -> dict[str, float]:
    return {"balanced_accuracy": found.balanced_accuracy, "macro_f1": found.macro_f1, "majority": found.majority}


def columns_of(found: Metrics) -> dict[str, str]:
    """The scores as columns of a table, with the interval of accuracy."""
    return {
        "95 % interval": "{:.1%} to {:.1%}".format(*found.interval),
        "balanced": f"{found.balanced_accuracy:.2%}",
        "macro F1": f"{found.macro_f1:.2%}",
        "largest class": f"{found.majority:.2%}",
    }


def doubt_of(found: Metrics, labels: Sequence[str], unit: str) -> str:
    """What a task's score does not prove: the largest class alone reaches it, or may, or a class was not measured."""
    always = f"always answering {labels[found.largest]!r}, which has {found.majority:.1%}"
    doubts = []
    if found.verdict == "no better":
        scores = f"accuracy {found.accuracy:.1%} and balanced accuracy {found.balanced_accuracy:.1%}"
        doubts = [f"{scores} are no better than {always}"]
    elif found.verdict == "undecided":
        low, high = found.interval
        doubts = [
            f"{found.count:,} {unit} are too few to tell accuracy {found.accuracy:.1%} (95 % interval {low:.1%} to "
            f"{high:.1%}) from {always}"
        ]
    if missing := [label for label, recall in zip(labels, found.recall, strict=True) if recall is None]:
        more = f" and {len(missing) - 5:,} more" * (len(missing) > 5)
        named = ", ".join(map(repr, missing[:5])) + more
        doubts.append(f"the scores say nothing about classes without {unit}: {named}")
    return "; ".join(doubts)
