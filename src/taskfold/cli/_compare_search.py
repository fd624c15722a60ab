"""The search of a method's learning rate and settings by Optuna, kept in one journal from trial to trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config.compare import Candidate, Compare

RATE = "lr"
EDGE = "the rate is the"
BEGIN = 4
"""Random trials before the sampler uses earlier results."""


@dataclass(frozen=True)
class Point:
    """The values of a trial.

    Attributes:
        number: the trial's number, from 0.
        factor: on the method's own learning rates.
        settings: the method's settings.
        trial: Optuna's trial.
    """

    number: int
    factor: float
    settings: dict[str, Any]
    trial: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Found:
    """The result of a search.

    Attributes:
        point: the best on validation data; None: no trial trained.
        tried: the number of trials.
        failed: the reasons of failed trials.
        edges: the best point's values at the edge of the searched ones.
    """

    point: Point | None
    tried: int
    failed: tuple[str, ...]
    edges: tuple[str, ...] = ()


class Search:
    """The trials of one method: finished trials are not repeated, interrupted ones are completed."""

    def __init__(self, journal: Path, candidate: Candidate, compare: Compare, seed: int) -> None:
        self.candidate, self.rates, self.seed = candidate, compare.lr, seed
        self.budget = compare.trials if compare.lr or candidate.search else 0
        self._optuna = optuna = load_optuna()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        storage = optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(journal), lock_obj=_Unlocked())
        )
        self.study = optuna.create_study(
            storage=storage, study_name=candidate.label, direction="maximize", load_if_exists=True
        )
        for first in self._first()[len(self.study.trials) :]:  # a process may have been killed between the two
            self.study.enqueue_trial(first)

    @property
    def finished(self) -> list[Any]:
        """Finished and failed trials, within the present budget, which may have been larger before."""
        return [trial for trial in self.study.trials[: self.budget] if trial.state.is_finished()]

    def next(self) -> Point | None:
        """The next trial; None: the budget is spent."""
        state = self._optuna.trial.TrialState.RUNNING
        interrupted = [trial for trial in self.study.trials[: self.budget] if trial.state == state]
        if not interrupted and len(self.finished) >= self.budget:
            return None
        # Each trial has a sampler of its own, so that an interruption does not change the trials.
        seed = self.seed + len(self.finished)
        self.study.sampler = self._optuna.samplers.TPESampler(seed=seed, n_startup_trials=BEGIN)
        trial = self._optuna.Trial(self.study, interrupted[0]._trial_id) if interrupted else self.study.ask()
        factor = trial.suggest_float(RATE, *self.rates, log=True) if self.rates else 1.0
        chosen = {key: trial.suggest_int(key, 0, len(values) - 1) for key, values in self.candidate.search.items()}
        return Point(trial.number, factor, self._settings(chosen), trial)

    def tell(self, point: Point, score: float | None, reason: str = "", seconds: float = 0.0) -> None:
        """Record the end of a trial: with a score, higher is better, or a reason; and its seconds of training."""
        point.trial.set_user_attr("seconds", seconds)
        if score is None:
            point.trial.set_user_attr("failed", reason)
            self.study.tell(point.trial, state=self._optuna.trial.TrialState.PRUNED)
        else:
            self.study.tell(point.trial, score)

    @property
    def seconds(self) -> float:
        """The seconds of training in all ended trials."""
        return sum(trial.user_attrs.get("seconds", 0.0) for trial in self.finished)

    def found(self) -> Found:
        """The best trial so far; the first of equals."""
        ended = self.finished
        scored = [trial for trial in ended if trial.value is not None]
        failed = tuple(str(trial.user_attrs.get("failed", "")) for trial in ended if trial.value is None)
        if not self.budget:
            return Found(Point(0, 1.0, self._settings(dict.fromkeys(self.candidate.search, 0))), 0, ())
        if not scored:
            return Found(None, len(ended), failed)
        best = max(scored, key=lambda trial: (trial.value, -trial.number))
        point = Point(best.number, best.params.get(RATE, 1.0), self._settings(best.params))
        return Found(point, len(ended), failed, tuple(self._edges(best, ended)))

    def _first(self) -> list[dict[str, Any]]:
        """The first trials: the method's own rates, one below and one above; searched values in turn."""
        factors: Sequence[float] = (1.0,)
        if self.rates:
            low, high = self.rates
            middle = 1.0 if low < 1.0 < high else (low * high) ** 0.5
            factors = (middle, (low * middle) ** 0.5, (high * middle) ** 0.5)
        rows = []
        for n in range(min(self.budget, max(len(factors), *map(len, self.candidate.search.values()), 1))):
            row: dict[str, Any] = {RATE: factors[n]} if self.rates and n < len(factors) else {}
            rows.append(row | {key: (n + len(v) // 2) % len(v) for key, v in self.candidate.search.items()})
        return rows

    def _settings(self, chosen: dict[str, Any]) -> dict[str, Any]:
        return {key: values[chosen[key]] for key, values in self.candidate.search.items()}

    def _edges(self, best: Any, ended: Sequence[Any]) -> list[str]:
        """The best trial's values at the edge of what was tried."""
        found: list[str] = []
        if self.rates:
            tried = [trial.params[RATE] for trial in ended if RATE in trial.params]
            if best.params[RATE] in (min(tried), max(tried)):
                side = "highest" if best.params[RATE] == max(tried) else "lowest"
                found.append(f"{EDGE} {side} tried")
        for key, values in self.candidate.search.items():
            numbers = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
            value = values[best.params[key]]
            if len(numbers) == len(values) and value in (min(numbers), max(numbers)):
                found.append(f"{key} is the {'highest' if value == max(numbers) else 'lowest'} searched")
        return found


def load_optuna() -> Any:
    """Optuna, an optional extra."""
    try:
        import optuna  # noqa: PLC0415  an extra
        import optuna.storages.journal  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "optuna":
            raise
        raise ImportError('taskfold compare needs optuna: pip install "taskfold[compare]"') from error
    return optuna


def mend(journal: Path) -> None:
    """Cut off an incomplete last line, left by a machine that went down."""
    if journal.is_file() and (data := journal.read_bytes()) and not data.endswith(b"\n"):
        with journal.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)


class _Unlocked:
    """A lock that does nothing: the command already holds the whole folder, and a killed process would leave a lock."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None
