"""The results of one task, kept with its version so that a finished task is not run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from ._ready import Ready, Shown, Tested


@dataclass(frozen=True)
class Told:
    """The results of one task of a run, as JSON.

    Attributes:
        task: its data, as `Ready.record`.
        said: its scores in a sentence.
        doubt: why the scores may prove nothing; empty: there is no doubt.
        run: its training in a results document; None: it is in a table instead.
        row: its row: `table`, `cells` by title, `plain` titles, which titles are `better` when high.
        shown: samples outside its run.
        curve: its learning curve, outside its run.
        confusion: `labels`, and `cells[true][predicted]` of test samples; None: there are no classes.
    """

    task: Mapping[str, Any]
    said: str
    doubt: str = ""
    run: Mapping[str, Any] | None = None
    row: Mapping[str, Any] | None = None
    shown: Shown = field(default_factory=Shown)
    curve: Sequence[Mapping[str, Any]] = ()
    confusion: Mapping[str, Any] | None = None

    @classmethod
    def in_run(cls, task: Ready, tested: Tested, run: Mapping[str, Any], shown: Shown) -> Self:
        """A task whose training is one of the runs, with pictures."""
        more = Shown() if not (shown.rows or shown.scenes) else shown
        return cls(task.record, str(tested), tested.doubt, run, shown=more, confusion=_confusion(tested))

    @classmethod
    def in_row(
        cls,
        task: Ready,
        tested: Tested,
        cells: Mapping[str, Any],
        shown: Shown,
        curve: Sequence[Mapping[str, Any]] = (),
    ) -> Self:
        """A task in the table of all tasks measured alike; `cells` come before its scores."""
        row = {
            "table": tested.table,
            "cells": {**cells, **{tested.title(name): value for name, value in tested.metrics.items()}},
            "plain": sorted(tested.title(name) for name in tested.others),
            "better": {tested.title(name): more for name, more in tested.better.items()},
        }
        return cls(task.record, str(tested), tested.doubt, None, row, shown, curve, _confusion(tested))

    def named(self, name: str) -> Self:
        """These results under the task's new name."""
        run = self.run and {**self.run, "task": name}
        return replace(self, task={**self.task, "name": name}, run=run)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> Self:
        return cls(**{**kept, "shown": Shown(**kept["shown"])})


def _confusion(tested: Tested) -> dict[str, Any] | None:
    return {"labels": tested.details["labels"], "cells": tested.confusion} if tested.confusion else None
