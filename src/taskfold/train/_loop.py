"""The training loop of one task."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ..evaluate._run import check_targets
from ._folder import Folder
from ._job import Job
from ._optimisers import Optimisers
from ._processes import average, send
from ._progress import Bar
from ._sampler import reseed
from ._state import DivergedError, State, better, restore, snapshot
from ._statistics import momentum, reestimate, statistics
from ._validation import validate

STATISTICS_BATCHES = 200
"""Batches to re-estimate running statistics on, at the most: thousands of images have said what they will."""


class Loop:
    """A training under way: every process runs one, in step with the others."""

    def __init__(self, job: Job, folder: Folder) -> None:
        self.job, self.folder = job, folder
        self.settings, self.task = job.settings, job.task
        self.batches = job.batches()
        self.train_loader, self.val_loader = job.train_loader(job.train, self.batches), job.val_loader()
        self.plain_batches, self.plain_loader = self.batches, self.train_loader
        if job.plain is not job.train:
            self.plain_batches = job.batches("plain")
            self.plain_loader = job.train_loader(job.plain, self.plain_batches)
        self.steps = self.settings.epochs * len(self.batches)
        self.view = job.model.for_task(job.name)
        send(job.accelerator, self.view)
        self.forward = job.accelerator.prepare(self.view)
        self.optimisers = Optimisers(job.groups, self.settings, job.accelerator, self.steps)
        self.state, self.best = State(), snapshot(self.task)
        self.offset = 0
        self.pending: list[Tensor] = []
        self.saved = self.mark = 0.0

    def load(self, kept: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.state, self.offset = State(**kept["state"]), kept["log"]
        restore(self.task, kept["task"])
        if not self.state.done:
            self.best = {name: tensor.to(self.job.device) for name, tensor in kept["best"].items()}
            self.optimisers.load_state_dict(kept["optimisers"])

    def run(self, bar: Bar) -> None:
        """From where the state stands to the end."""
        self.saved = self.mark = time.monotonic()
        value = self.settings.norm_momentum
        try:
            if not self.state.step:
                self._save()  # before the log, so that a log always has its checkpoint
            self.folder.open_log(self.offset)
            with nullcontext() if value is None else momentum(self.job.model, self.job.name, value):
                while self.state.stopped is None:
                    self._train_epoch(bar)
                    self._judge_epoch(bar)
            self._finish()
        except BaseException:
            restore(self.task, self.best)  # whatever ends a training, the model is left whole
            raise
        finally:
            self.optimisers.clear()
            self.folder.log.close()

    def _train_epoch(self, bar: Bar) -> None:
        state = self.state
        if state.batch == len(self.batches):
            return
        self.batches.go_to(state.epoch, state.batch)
        self.job.model.train(True)
        for inputs, targets in self.train_loader:
            reseed(self.settings.seed, "step", state.step, self.job.accelerator.process_index)
            self.pending.append(self._step(inputs, targets))
            state.batch += 1
            state.step += 1
            if state.step % self.settings.log_every == 0 or state.batch == len(self.batches):
                self._take_stock(bar)

    def _step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        outputs = self.forward(inputs.to(self.job.device, non_blocking=True))
        check_targets(outputs, targets, self.job.name)
        loss = self.job.loss(outputs, targets.to(self.job.device, non_blocking=True))
        # The mean over processes is then the mean over the whole batch, also if the last one is shared out unevenly.
        share = len(targets) * self.job.accelerator.num_processes / self.batches.total(self.state.batch)
        loss = loss if share == 1 else loss * share
        self.optimisers.step(loss, self.state.step)
        return loss.detach()

    def _take_stock(self, bar: Bar) -> None:
        """Bring the losses since the last time to the CPU; log, bar, and perhaps a checkpoint."""
        state, first = self.state, self.state.step - len(self.pending)
        # The first process's clock decides for all.
        due = self.job.accelerator.is_main_process and time.monotonic() - self.saved >= self.settings.checkpoint_every
        report = torch.stack([*self.pending, torch.tensor(float(due), device=self.job.device)]).float()
        *losses, due = average(self.job.accelerator, report).tolist()
        self.pending.clear()
        for step, loss in enumerate(losses, first):
            if not math.isfinite(loss):
                raise self._diverged(loss, step)
            state.losses += loss
        self._pass_time(training=True)
        rate = self.batches.samples(state.batch) / max(state.training, 1e-9)
        bar.show(state.step, state.epoch, state.losses / state.batch, rate)
        rates = self.optimisers.rates(state.step - 1)
        self.folder.log.write("step", epoch=state.epoch + 1, step=state.step, loss=losses[-1], lr=rates)
        if due:
            self._save()
            self._pass_time()

    def _diverged(self, loss: float, step: int) -> DivergedError:
        rates = ", ".join(f"{kind} {rate:.3g}" for kind, rate in self.optimisers.rates(step).items())
        self.folder.log.write("diverged", epoch=self.state.epoch + 1, step=step + 1, loss=loss)
        kept = f"; the checkpoint of an earlier step is in {self.folder.path}" if self.folder.path else ""
        return DivergedError(
            f"task {self.job.name!r}: the loss is {loss} at step {step + 1} (learning rates: {rates}); lower the "
            "learning rates, lengthen warmup or set clip_norm, and check the inputs for values that are not finite. "
            f"The task holds its best weights so far{kept}"
        )

    def _judge_epoch(self, bar: Bar) -> None:
        state, settings = self.state, self.settings
        found = validate(self.job, self.view, self.val_loader)
        self._pass_time()
        point = {
            "epoch": state.epoch + 1,
            "step": state.step,
            "train_loss": state.losses / len(self.batches),
            **found,
            "lr": self.optimisers.rates(state.step - 1),
            "seconds": state.seconds,
            "images_per_second": self.batches.samples(len(self.batches)) / max(state.training, 1e-9),
        }
        state.curve.append(point)
        bar.note(f"val {found['val_accuracy']:.3f}")
        self.folder.log.write("epoch", **point)
        if better(found, state.best, settings.select_by):
            state.best, state.best_epoch, state.waited = found, state.epoch + 1, 0
            self.best = snapshot(self.task)
        else:
            state.waited += 1
        state.epoch, state.batch, state.losses, state.training = state.epoch + 1, 0, 0.0, 0.0
        if state.epoch == settings.epochs:
            state.stopped = "finished"
        elif settings.patience is not None and state.waited >= settings.patience:
            state.stopped = "early"

    def _finish(self) -> None:
        """The best weights, with the running statistics that validation prefers."""
        state, log = self.state, self.folder.log
        if not state.best:
            raise DivergedError(
                f"task {self.job.name!r}: the validation loss was never finite; lower the learning rates"
            )
        restore(self.task, self.best)
        kept = False
        if self.settings.reestimate_norm and (running := statistics(self.job.model, self.job.name)):
            with self.job.accelerator.autocast():
                reestimate(self.job.model, self.job.name, self._plain_inputs())
            for tensors in running.values():
                for key in ("running_mean", "running_var"):
                    tensors[key].copy_(average(self.job.accelerator, tensors[key]))
            found = validate(self.job, self.view, self.val_loader)
            kept = not better(state.best, found, self.settings.select_by)
            log.write("statistics", running=state.best, reestimated=found, kept=kept)
            state.best = found if kept else state.best
            if not kept:
                restore(self.task, self.best)
        state.best = {**state.best, "reestimated": kept}
        state.done = True
        self._pass_time()
        log.write("end", stopped=state.stopped, best_epoch=state.best_epoch, **state.best, seconds=state.seconds)
        self._save()

    def _plain_inputs(self) -> Iterator[Tensor]:
        self.plain_batches.go_to(0)
        for inputs, _ in islice(self.plain_loader, STATISTICS_BATCHES):
            yield inputs.to(self.job.device, non_blocking=True)

    def _pass_time(self, training: bool = False) -> None:
        now = time.monotonic()
        self.state.seconds += now - self.mark
        self.state.training += (now - self.mark) * training
        self.mark = now

    def _save(self) -> None:
        kept: dict[str, Any] = {"state": asdict(self.state), "task": self.task.state_dict()}
        if not self.state.done:
            kept |= {"best": self.best, "optimisers": self.optimisers.state_dict()}
        self.folder.save(kept)
        self.saved = time.monotonic()
