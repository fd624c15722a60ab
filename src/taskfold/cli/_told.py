"""What results and report say of one task: kept with its version, so that a finished task is read and not run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from ._ready import Ready, Shown, Tested


@dataclass(frozen=True)
class Told:
    """One task of a run, as JSON.

    Attributes:
        task: its data, as `Ready.record`.
        said: its scores in a sentence.
        doubt: why they may mean nothing; empty: they do mean something.
        run: its training in a results document; None: it stands in a table instead.
        row: its row: `table`, `cells` by title, `plain` titles, which titles are `better` when high.
        shown: samples that do not go with its run.
        curve: its learning curve, where it does not go with its run.
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
        """A task whose training is one of the runs, pictures with it."""
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
        """A task in the table of all that are measured alike; `cells` come before its scores."""
        row = {
            "table": tested.table,
            "cells": {**cells, **{tested.title(name): value for name, value in tested.metrics.items()}},
            "plain": sorted(tested.title(name) for name in tested.others),
            "better": {tested.title(name): more for name, more in tested.better.items()},
        }
        return cls(task.record, str(tested), tested.doubt, None, row, shown, curve, _confusion(tested))

    def named(self, name: str) -> Self:
        """The same of a task that has been renamed."""
        run = self.run and {**self.run, "task": name}
        return replace(self, task={**self.task, "name": name}, run=run)

    def as_json(self) -> dict[str, Any]:
        """As it is kept."""
        return asdict(self)

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> Self:
        """As it was kept."""
        return cls(**{**kept, "shown": Shown(**kept["shown"])})


def _confusion(tested: Tested) -> dict[str, Any] | None:
    return {"labels": tested.details["labels"], "cells": tested.confusion} if tested.confusion else None
