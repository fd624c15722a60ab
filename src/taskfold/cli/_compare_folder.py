"""The folder of a comparison: one process at a time, and always the same comparison."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config.compare import Candidate, CompareConfig
from ..tasks import write_atomically
from ._compare_search import mend
from ._output import UserError
from ._ready import Ready

JOURNAL, IDENTITY, ESTIMATES, METHODS = "search.journal", "comparison.json", "estimates.json", "methods"


class Home:
    """The folder of a comparison.

    Args:
        plan: the configuration.
    """

    def __init__(self, plan: CompareConfig) -> None:
        self.plan, self.path = plan, plan.output
        self.journal, self.estimates = self.path / JOURNAL, self.path / ESTIMATES

    def of(self, candidate: Candidate) -> Path:
        """The folder of a method's trials and runs."""
        plain = re.sub(r"[^\w.=+-]+", "-", candidate.label).strip("-.")[:60]
        sign = hashlib.sha256(candidate.label.encode()).hexdigest()[:6]
        return self.path / METHODS / (plain if plain == candidate.label else f"{plain}-{sign}")

    def run(self, candidate: Candidate, seed: int) -> Path:
        return self.of(candidate) / f"seed-{seed}"

    def claim(self, tasks: Sequence[Ready], fresh: bool) -> None:
        """Continue the comparison in the folder if it is the same; methods, trials and seeds may be added."""
        if fresh:
            shutil.rmtree(self.path / METHODS, ignore_errors=True)
            for file in (self.journal, self.estimates, self.path / IDENTITY):
                file.unlink(missing_ok=True)
        mend(self.journal)
        here = self._identity(tasks)
        file = self.path / IDENTITY
        there = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"methods": {}}
        for key in here.keys() & there.keys() - {"methods"}:
            if here[key] != there[key]:
                raise self._other(f"other {key}")
        for label in here["methods"].keys() & there["methods"].keys():
            if here["methods"][label] != there["methods"][label]:
                raise self._other(f"other settings of method {label!r}")
        both = {**here, "methods": {**there["methods"], **here["methods"]}}
        write_atomically(file, json.dumps(both, ensure_ascii=False, indent=1).encode())

    def _other(self, what: str) -> UserError:
        return UserError(
            f"{self.path} holds a comparison with {what}; choose another output, or start over with --fresh"
        )

    def _identity(self, tasks: Sequence[Ready]) -> dict[str, Any]:
        plan = self.plan
        training: Any = plan.together or {part.name: part.train for part in plan.tasks}
        said = {
            "backbone": plan.backbone.as_json(),
            "data": {task.name: task.identity for task in tasks},
            "training": _settings(training),
            "range of rates": plan.compare.lr,
        }
        methods = {one.label: _sign([one.method.as_json(), one.search]) for one in plan.compare.methods}
        return {**{key: _sign(value) for key, value in said.items()}, "methods": methods}


def _settings(training: Any) -> Any:
    if isinstance(training, Mapping):
        return {name: _settings(one) for name, one in training.items()}
    return training.model_dump(mode="json", exclude={*training.unseen()})


def _sign(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
