"""A comparison, from its first trial to its report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from .. import counting
from ..config.compare import Candidate, CompareConfig
from ..methods import Method
from ..refusals import RefusalError
from ..report import duration, summary_table, write_report
from ..tasks import write_atomically
from ._compare_clock import Estimates, Progressing, seconds_of
from ._compare_costs import costs_of
from ._compare_document import document_of
from ._compare_folder import Home
from ._compare_rows import Row
from ._compare_runs import Bench, UntrainedError, began, finish, fitting, home_of, keep, kept_in, train_all
from ._compare_search import Found, Point, Search, load_optuna
from ._held import held
from ._output import echo, say, show
from ._prepare import Opened, gather, grounded, new_model


class Comparison:
    """A comparison of a configuration's methods on its tasks."""

    def __init__(self, bench: Bench, fresh: bool) -> None:
        self.bench, self.plan, self.fresh = bench, bench.plan, fresh
        self.home = Home(self.plan)
        first = self.plan.seed + 1
        self.seeds = range(first, first + self.plan.compare.seeds)

    @classmethod
    def open(cls, plan: CompareConfig, fresh: bool) -> Self:
        """Checks the network and the data of all tasks."""
        load_optuna()
        say(f"Checking {plan.backbone.label} and the data of {', '.join(task.name for task in plan.tasks)} …", "dim")

        def opening() -> Opened:
            loaded = grounded(plan, plan.load_backbone())
            return Opened(new_model(loaded), loaded)

        opened, tasks = gather(plan, "backbone", opening, lambda opened, task, ready: None)
        return cls(Bench(plan, opened.loaded, tasks), fresh)

    def run(self) -> None:
        """Does all that is left; then writes table, report and recommendation."""
        with held(self.home.path):
            self.home.claim(self.bench.tasks, self.fresh)
            candidates, estimates = self.plan.compare.methods, Estimates(self.home.estimates)
            reasons = self._estimated(estimates)
            searches = {
                one.label: Search(self.home.journal, one, self.plan.compare, self.plan.seed)
                for one in candidates
                if one.label not in reasons
            }
            passes = {one.label: self._to_come(one, searches[one.label]) for one in candidates if one.label in searches}
            self._say_estimate(passes, estimates.seconds)
            rows = []
            with Progressing(estimates.seconds, passes, self.bench.trainings) as bar:
                self.bench = replace(self.bench, trained=bar.trained)
                for one in candidates:
                    row = self._compared(one, searches.get(one.label), reasons.get(one.label, ""), bar)
                    if any(row.label == other.label for other in rows):
                        row.label = f"{row.label} ({one.label})"
                    rows.append(row)
            self._costs(rows)
            self._report(rows)

    def _estimated(self, estimates: Estimates) -> dict[str, str]:
        """Times a few batches of each method; returns why some methods don't fit the network."""
        reasons: dict[str, str] = {}
        for one in self.plan.compare.methods:
            try:
                method = fitting(self.bench, one)
            except UntrainedError as error:
                reasons[one.label] = f"does not fit: {error}"
                say(f"{one.label} does not fit the network, and is left out: {error}", "yellow")
                continue
            if one.label not in estimates.seconds:
                try:
                    estimates.note(one.label, seconds_of(self.bench, method))
                except (
                    ValueError,
                    RuntimeError,
                    RefusalError,
                ):  # at the method's own rates: the search may find others
                    estimates.note(one.label, 0.0)
        return reasons

    def _to_come(self, one: Candidate, search: Search) -> int:
        """The passes over all tasks that are left."""
        trials = max(search.budget - len(search.finished), 0)
        if trials:
            return trials + len(self.seeds)
        point = search.found().point
        return sum(point is not None and kept_in(self.home.run(one, seed), point) is None for seed in self.seeds)

    def _say_estimate(self, passes: Mapping[str, int], seconds: Mapping[str, float]) -> None:
        compare, count = self.plan.compare, self.bench.trainings
        ends = sum(passes.values()) * count
        if not ends:
            say("All trainings are finished.", "dim")
            return
        whole = sum(number * seconds.get(label, 0.0) for label, number in passes.items())
        untimed = [label for label, number in passes.items() if number and not seconds.get(label)]
        without = f" without {', '.join(untimed)}, which could not be timed" if untimed else ""
        say(
            f"{len(passes)} methods, {compare.trials} trials and {compare.seeds} seeds of each: {ends} trainings to "
            f"come, about {duration(whole)}{without} by a few batches of each; early stopping and kept features make "
            "it shorter, tests, latencies and passes before a training (fishmask) make it longer"
        )

    def _compared(self, one: Candidate, search: Search | None, reason: str, bar: Progressing) -> Row:
        """A method's search, then its runs."""
        if search is None:
            return Row(one.title(one.method), one.method.name, reason=reason, settings=_settings(one.method))
        found = self._searched(one, search, bar)
        if found.point is None:
            reason = f"none of {found.tried} trials trained: {found.failed[-1]}"
            say(f"{one.label}: {reason}", "yellow")
            return Row(one.title(one.method), one.method.name, reason=reason, settings=_settings(one.method))
        method = one.at(found.point.settings)
        row = Row(one.title(method), method.name, settings=_settings(method), remarks=remarks_of(found))
        row.factor = found.point.factor if self.plan.compare.lr else None
        for seed in self.seeds:
            row.runs[seed] = self._run(one, found.point, seed, bar)
        for run in row.runs.values():
            row.remarks += [
                text for text in (run.get("failed"), *run.get("said", ())) if text not in (None, *row.remarks)
            ]
        count = counting.count(self.bench.loaded.network, method, tasks=len(self.bench.tasks))
        row.numbers = round(count.adapter_total / len(self.bench.tasks))
        row.bits = count.bits + round(count.shared_bits / len(self.bench.tasks))
        runs = sum(run["seconds"] * len(self.bench.tasks) for run in row.runs.values() if "seconds" in run)
        row.seconds = search.seconds + runs
        if row.scores:
            say(f"{row.label}: validation {_mean(row.scores)}, {search.budget} trials, {len(row.scores)} runs")
        return row

    def _searched(self, one: Candidate, search: Search, bar: Progressing) -> Found:
        while (point := search.next()) is not None:
            folder = self.home.of(one) / f"trial-{point.number}"
            bar.begin(one.label, f"trial {point.number + 1} of {search.budget}")
            home = home_of(self.bench, one.at(point.settings), self.plan.seed, folder)
            try:
                trained = train_all(self.bench, home, point.factor)
                search.tell(point, trained.score, seconds=trained.seconds * len(self.bench.tasks))
            except UntrainedError as error:
                search.tell(point, None, str(error))
            bar.ended(one.label)
            shutil.rmtree(folder, ignore_errors=True)
        for left in self.home.of(one).glob("trial-*"):  # of a process killed between search and runs
            shutil.rmtree(left, ignore_errors=True)
        return search.found()

    def _run(self, one: Candidate, point: Point, seed: int, bar: Progressing) -> dict[str, Any]:
        folder = self.home.run(one, seed)
        if (kept := kept_in(folder, point)) is not None:
            return kept
        bar.begin(one.label, f"seed {seed}")
        began(folder, point)
        home = home_of(self.bench, one.at(point.settings), seed, folder)
        try:
            kept = finish(self.bench, train_all(self.bench, home, point.factor))
        except UntrainedError as error:
            kept = {"failed": str(error)}
            keep(folder, kept)
        bar.ended(one.label)
        return kept

    def _costs(self, rows: Sequence[Row]) -> None:
        """The costs of every trained method, from the files of its first run."""
        say("Measuring latencies …", "dim")
        folders = {}
        for row, one in zip(rows, self.plan.compare.methods, strict=True):
            if seed := next((seed for seed, run in row.runs.items() if "score" in run), None):
                folders[row.label] = self.home.run(one, seed)
        found = costs_of(self.bench, folders)
        for row in rows:
            row.costs = found.get(row.label, row.costs)

    def _report(self, rows: Sequence[Row]) -> None:
        document = document_of(self.bench, rows, sum(row.seconds for row in rows))
        text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
        write_atomically(self.plan.output / "results.json", text.encode())
        show(summary_table({**document, "runs": []}))
        echo(document["conclusion"])
        try:
            say(f"The report is {write_report(document, self.plan.output / 'report.html')}")
        except ImportError as error:
            say(f"No report: {error}", "yellow")


def remarks_of(found: Found) -> list[str]:
    """Remarks on a search, for readers of the table."""
    failed = [f"{len(found.failed)} of {found.tried} trials did not train"] if found.failed else []
    return [*found.edges, *failed]


def _settings(method: Method) -> dict[str, Any]:
    return dict(method.as_json()["settings"])


def _mean(scores: Sequence[float]) -> str:
    return f"{sum(scores) / len(scores):.4g}"
