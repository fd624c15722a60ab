"""The training loop, of one task or of many."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..threads import Threads, in_words
from ._anew import Anew
from ._collapse import CollapseWarning, Watched, rates, slower
from ._folder import Folder
from ._frozen import Frozen
from ._job import Job
from ._optimisers import Optimisers
from ._passes import Pass
from ._penalties import BudgetWarning
from ._prepare import Preparation
from ._processes import send, total
from ._progress import Bar
from ._range_test import RangeTest
from ._ranks import Ranks
from ._state import DivergedError, State, better
from ._steps import Step, Steps
from ._targets import check_targets
from ._validation import Validation, means, shown


class Loop:
    """The training loop; every process runs one, in step with the others."""

    def __init__(self, job: Job, folder: Folder, threads: Threads) -> None:
        self.job, self.folder, self.settings, self.threads = job, folder, job.settings, threads
        send(job.accelerator, [*job.moves.live().values(), *job.moves.fixed.values()])
        self.validation = Validation(job)
        self.made = Steps(job, threads)
        self.batches = self.made.batches
        self.frozen = Frozen(job, folder, self.made.keyed)
        self.anew = Anew(job, self.made.loader, self.made.switch, self.validation)
        self.preparation = Preparation(job)
        self.plan = job.plan(len(self.batches))
        groups, chosen = job.moves.optimised, job.optimisers
        self.optimisers = Optimisers(groups, chosen, self.settings, job.accelerator, self.plan.steps)
        self.ranks = Ranks(job)
        self.state, self.best = State(watched=[Watched() for _ in job.names]), job.moves.snapshot()
        self._begin()
        self.offset = 0
        self.pending: list[Tensor] = []
        self.saved = self.mark = 0.0

    def load(self, kept: dict[str, Any]) -> None:
        """Resume from a checkpoint."""
        self.state, self.offset = State.of_json(kept["state"]), kept["log"]
        self.ranks.load_state_dict(kept["ranks"], self.state.done)
        self.job.moves.restore(kept["weights"])
        self.pending = [seen.to(self.job.device) for seen in kept["pending"]]
        if not self.state.done:
            self.best = {name: tensor.to(self.job.device) for name, tensor in kept["best"].items()}
            self.optimisers.load_state_dict(kept["optimisers"])
            self.optimisers.tops |= self.state.rates.get("lr", {})

    def steps(self, bar: Bar) -> Generator[Step | None]:
        """The steps from the present state to the end.

        Yields:
            Each step, which the caller does before it asks for the next; then None, before the final
            weights are chosen.
        """
        self.saved = self.mark = time.monotonic()
        try:
            if not (self.state.step or self.state.prepared or self.state.rates):
                self._save()  # before the log, so that a log always has its checkpoint
            self.folder.open_log(self.offset, self.job.accelerator, self.settings)
            self.threads.said = partial(self._say_threads, bar)
            self._prepare()
            with self.frozen.open() as features:
                self.made.features = self.validation.features = features
                self._find_rates()
                while self.state.stopped is None:
                    passes = self.plan.passes(self.state.epoch)
                    for one in passes[self.state.place :]:
                        yield from self._train(one, bar)
                        if one is not passes[-1]:
                            self._turn(one)
                    self._judge_epoch(passes, bar)
            yield None
            self._finish()
        except BaseException:
            self.job.moves.restore(self.best)  # however the training ends, the model holds its best weights
            raise
        finally:
            self.optimisers.clear()
            self.folder.close_log(self.job.accelerator)

    def _prepare(self) -> None:
        """Lets methods look at data before the first step; a killed run resumes at the task that it was at."""
        for number in list(self.preparation.batches)[self.state.prepared :]:
            with self.threads.over(self.job.model):
                said = self.preparation.run(number)
            self.threads.restart()  # a step is other work
            self.state.prepared += 1
            self.best = self.job.moves.snapshot()
            self._pass_time()
            self.folder.log.write("prepare", **said, seconds=self.state.seconds)
            self._save()
        self.preparation.clear()

    def _find_rates(self) -> None:
        """Runs the range test of learning rates; a run killed meanwhile repeats it."""
        if not self.job.sought or self.state.rates:
            return
        self.state.rates = found = RangeTest(self.job, self.made, self.plan).run()
        self.optimisers.tops |= found["lr"]
        self._pass_time()
        self.folder.log.write("rates", **found, seconds=self.state.seconds)
        self._save()

    def _train(self, one: Pass, bar: Bar) -> Iterator[Step]:
        state = self.state
        if state.batch == one.steps:
            return
        with self.made.of(one, state.batch, state.step, self.plan.steps, self.optimisers) as steps:
            for step in steps:
                yield step
                self.pending.append(step.seen)
                self.ranks.step(state.step, self.plan.steps)
                for name, method in self.job.methods.items():
                    method.stepped(self.job.moves.tasks[name])
                state.batch += 1
                state.step += 1
                if state.step % self.settings.log_every == 0 or state.batch == one.steps:
                    self._take_stock(one, bar)

    def _turn(self, one: Pass) -> None:
        """Ends a pass and begins the next of its epoch."""
        self.state.passes.append({"pass": one.regime.name, **self._trained(one)})
        self._begin()
        self.state.place += 1

    def _begin(self) -> None:
        """Resets the sums of a pass."""
        self.state.batch, self.state.losses, self.state.penalties = 0, 0.0, 0.0
        self.state.seen = [[0.0] * 4 for _ in self.job.names]

    def _trained(self, one: Pass) -> dict[str, Any]:
        """The losses and penalties of a finished pass."""
        state = self.state
        tasks: dict[str, dict[str, Any]] = {}
        for name, (loss, count, penalty, penalties) in zip(self.job.names, state.seen, strict=True):
            tasks[name] = {"train_loss": loss / count if count else None}
            if penalties:
                tasks[name]["penalty"] = penalty / penalties
        whole = {"train_loss": state.losses / one.steps}
        if any("penalty" in found for found in tasks.values()):
            whole["penalty"] = state.penalties / one.steps
        return {**whole, "tasks": tasks}

    def _take_stock(self, one: Pass, bar: Bar) -> None:
        """Brings the losses since the last call to the CPU; writes log, progress bar and, if due, a checkpoint."""
        state, tasks = self.state, len(self.job.names)
        # The first process's running statistics are the ones kept, and its clock decides for all.
        send(self.job.accelerator, self.job.moves.buffers())
        due = self.job.accelerator.is_main_process and time.monotonic() - self.saved >= self.settings.checkpoint_every
        report = torch.cat([*[p.flatten() for p in self.pending], torch.tensor([float(due)], device=self.job.device)])
        *flat, due = total(self.job.accelerator, report).tolist()
        seen = torch.tensor(flat, dtype=torch.float64).reshape(-1, tasks, 4).tolist()
        self.pending.clear()
        loss = math.nan
        for back, step in enumerate(seen):
            ago = len(seen) - back
            self._check_finite(step, state.step - ago)
            weighed = list(zip(one.regime.weights, step, strict=True))
            loss = sum(weight * sums for weight, (sums, *_) in weighed) / self.batches.total(state.batch - ago)
            state.losses += loss
            state.penalties += sum(weight * penalty for weight, (_, _, penalty, _) in weighed)
            for watched, (sums, count, *_) in zip(state.watched, step, strict=True):
                watched.step(sums, count)
            state.seen = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(state.seen, step, strict=True)]
        self._pass_time(training=True)
        rate = (one.place * self.batches.mixture.total + self.batches.samples(state.batch)) / max(state.training, 1e-9)
        name = one.regime.name
        bar.show(state.step, state.epoch, state.losses / state.batch, rate, name)
        line: dict[str, Any] = {"epoch": state.epoch + 1, **({"pass": name} if name else {})}
        line |= {"step": state.step, "loss": loss}
        if added := {n: row[2] for n, row in zip(self.job.names, seen[-1], strict=True) if row[3]}:
            line["penalty"] = added
        self.folder.log.write("step", **line, lr=self.optimisers.rates(state.step - 1))
        if due:
            self._save()
            self._pass_time()

    def _check_finite(self, seen: list[list[float]], step: int) -> None:
        for name, (loss, _, penalty, _) in zip(self.job.names, seen, strict=True):
            what, value = ("loss", loss) if not math.isfinite(loss) else ("penalty", penalty)
            if not math.isfinite(value):
                self.folder.log.write("diverged", task=name, epoch=self.state.epoch + 1, step=step + 1, **{what: value})
                kept = f"; the checkpoint of an earlier step is in {self.folder.path}" if self.folder.path else ""
                raise DivergedError(
                    f"task {name!r}: the {what} is {value} at step {step + 1} (learning rates: "
                    f"{rates(self.optimisers.rates(step))}); {slower(self.optimisers.tops)}, and check the inputs for "
                    f"values that are not finite. The best weights so far are in place{kept}"
                )

    def _check_statistics(self) -> None:
        """Checks that the tasks' statistics at layers are finite, which a finite loss does not show."""
        for name, tensor in self.job.moves.live().items():
            if name.partition("/")[2].startswith("head.") or not tensor.is_floating_point():
                continue
            if not bool(tensor.isfinite().all()):
                epoch = self.state.epoch + 1
                self.folder.log.write("diverged", tensor=name, epoch=epoch, step=self.state.step)
                raise DivergedError(
                    f"{name!r} holds numbers that are not finite after epoch {epoch}; check the inputs for values that "
                    "are not finite or too large to be squared (1e19 and more), and scale them. The best weights so "
                    "far are in place"
                )

    def _judge_epoch(self, passes: Sequence[Pass], bar: Bar) -> None:
        state, settings, last = self.state, self.settings, passes[-1]
        tasks = self.validation.every()
        found: dict[str, Any] = {**means(tasks), "tasks": tasks, **self.made.penalties.over_budget()}
        self._pass_time()
        trained = self._trained(last)
        if self.batches.samples(last.steps) >= sum(self.job.mixture.sizes):
            check_targets(trained["tasks"], self.job.members)
        samples = sum(self.batches.samples(one.steps) for one in passes)
        point = {
            "epoch": state.epoch + 1,
            "step": state.step,
            **{key: value for key, value in trained.items() if key != "tasks"},
            **found,
            "lr": self.optimisers.rates(state.step - 1),
            "seconds": state.seconds,
            "samples_per_second": samples / max(state.training, 1e-9),
            "tasks": {name: trained["tasks"][name] | tasks[name] for name in tasks},
        }
        if state.passes:
            point["passes"] = state.passes
        if weights := self.plan.learned():
            point["weights"] = dict(zip(self.job.names, weights, strict=True))
        state.curve.append(point)
        state.by = by = self.validation.by
        bar.note(shown(found, by))
        self.folder.log.write("epoch", **point)
        if self.ranks.settled and not state.settled:  # earlier weights were above the budget
            state.best, state.waited, state.settled = {}, 0, True
        self._look_for_collapse(tasks)
        self._check_statistics()
        if (news := self.frozen.news()) != state.features:
            state.features = news
            self.folder.log.write("features", epoch=state.epoch + 1, **news)
        if better(found, state.best, by):
            state.best, state.best_epoch, state.waited = found, state.epoch + 1, 0
            state.confusion, self.best = dict(self.validation.confusion), self.job.moves.snapshot()
        elif self.plan.in_last_phase(state.epoch) and state.settled:  # patience counts from here on
            state.waited += 1
        state.epoch, state.place, state.training, state.passes = state.epoch + 1, 0, 0.0, []
        self._begin()
        if state.epoch == self.plan.epochs:
            state.stopped = "finished"
        elif settings.patience is not None and state.waited >= settings.patience:
            state.stopped = "early"

    def _look_for_collapse(self, tasks: Mapping[str, Mapping[str, float]]) -> None:
        """Warns once of each task that no longer learns though its loss is finite."""
        state = self.state
        for (name, found), watched in zip(tasks.items(), state.watched, strict=True):
            accuracy = found.get("val_accuracy", 0.0)
            what = watched.collapsed(found["val_loss"], accuracy, self.validation.predicted.get(name))
            if what is None or watched.said:
                continue
            watched.said = True
            self.folder.log.write("collapsed", task=name, epoch=state.epoch + 1, step=state.step, what=what)
            if self.job.accelerator.is_main_process:
                top = rates({group: one.lr for group, one in self.job.optimisers.items()})
                warnings.warn(
                    f"task {name!r} has collapsed in epoch {state.epoch + 1}: {what} (learning rates: {top}); "
                    f"{slower(self.optimisers.tops)}. The best epoch is kept as ever",
                    CollapseWarning,
                    stacklevel=7,
                )

    def _finish(self) -> None:
        """Restores the best weights, with the running statistics that validation prefers."""
        state, log = self.state, self.folder.log
        if not state.best:
            never = [n for n, found in state.curve[-1]["tasks"].items() if not math.isfinite(found["val_loss"])]
            raise DivergedError(
                f"task {', '.join(map(repr, never))}: the validation loss was never finite for all tasks at once; "
                "lower the learning rates"
            )
        self.job.moves.restore(self.best)
        found, over = state.best["tasks"], state.best.get("over_budget", 0.0)
        if over > 0 and self.job.accelerator.is_main_process:
            warnings.warn(
                f"no epoch was within the budget: the weights that are kept are above it by {over:.3g}; train for more "
                "epochs, or make the budget's term stronger",
                BudgetWarning,
                stacklevel=6,
            )
        if self.ranks.finish(log):
            found, self.best = self.validation.every(), self.job.moves.snapshot()
            state.confusion = dict(self.validation.confusion)
        tasks = self.anew.settle(found, log)
        state.confusion |= {n: one for n, one in self.validation.confusion.items() if tasks[n]["reestimated"]}
        anew = any(found["reestimated"] for found in tasks.values())
        state.best = {**means(tasks), "reestimated": anew, **self._penalised(tasks)}
        state.done, state.threads = True, self.threads.count
        self.frozen.clear()
        self._pass_time()
        log.write("end", stopped=state.stopped, best_epoch=state.best_epoch, **state.best, seconds=state.seconds)
        self._save()

    def _penalised(self, tasks: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Adds the penalties of the final weights to each task's results, and their weighted sum."""
        penalties = self.made.penalties.every()
        weights = dict(zip(self.job.names, self.plan.regimes[-1][-1].weights, strict=True))
        whole = {"penalty": sum(weights[name] * one for name, one in penalties.items())} if penalties else {}
        own = {name: {"penalty": one} for name, one in penalties.items()}
        return {**whole, "tasks": {name: found | own.get(name, {}) for name, found in tasks.items()}}

    def _say_threads(self, bar: Bar, found: dict[str, Any]) -> None:
        """Reports a finished measurement of threads."""
        self.folder.log.write("threads", step=self.state.step, **found)
        bar.say(in_words(found))

    def _pass_time(self, training: bool = False) -> None:
        now = time.monotonic()
        self.state.seconds += now - self.mark
        self.state.training += (now - self.mark) * training
        self.mark = now

    def kept(self) -> dict[str, Any]:
        """The state to resume from."""
        kept: dict[str, Any] = {"state": asdict(self.state), "weights": self.job.moves.live()}
        kept |= {"ranks": self.ranks.state_dict(), "pending": list(self.pending), "log": self.folder.log.sync()}
        if not self.state.done:
            kept |= {"best": self.best, "optimisers": self.optimisers.state_dict()}
        return kept

    def _save(self) -> None:
        self.folder.save(self.kept())
        self.saved = time.monotonic()
