"""The training loop, of one task or of many."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor

from ._anew import Anew
from ._data import Joined, Keyed
from ._folder import Folder
from ._gradients import Losses
from ._job import Job
from ._optimisers import Optimisers
from ._processes import send, total
from ._progress import Bar
from ._sampler import Switch
from ._seeds import reseed
from ._state import DivergedError, State, better
from ._statistics import momentum
from ._validation import Validation, means


class Loop:
    """A training under way: every process runs one, in step with the others."""

    def __init__(self, job: Job, folder: Folder) -> None:
        self.job, self.folder, self.settings = job, folder, job.settings
        send(job.accelerator, [*job.moves.live().values(), *job.moves.fixed.values()])
        self.validation = Validation(job)
        self.batches, self.switch = job.batches(job.mixture), Switch([])
        self.loader = job.loader(
            Keyed(Joined([one.train for one in job.sets.values()]), self.settings.seed), self.switch
        )
        self.anew = Anew(job, self.loader, self.switch, self.validation)
        self.steps = self.settings.max_steps or self.settings.epochs * len(self.batches)
        self.epochs = -(-self.steps // len(self.batches))
        self.optimisers = Optimisers(job.moves.groups, self.settings, job.accelerator, self.steps)
        self.state, self.best = State(seen=[[0.0, 0.0] for _ in job.names]), job.moves.snapshot()
        self.offset = 0
        self.pending: list[Tensor] = []
        self.saved = self.mark = 0.0

    def load(self, kept: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.state, self.offset = State(**kept["state"]), kept["log"]
        self.job.moves.restore(kept["weights"])
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
            with ExitStack() as stack:
                for name in self.job.names if value is not None else ():
                    stack.enter_context(momentum(self.job.model, name, value))
                while self.state.stopped is None:
                    self._train_epoch(bar)
                    self._judge_epoch(bar)
            self._finish()
        except BaseException:
            self.job.moves.restore(self.best)  # whatever ends a training, the model is left whole
            raise
        finally:
            self.optimisers.clear()
            self.folder.log.close()

    def _length(self, epoch: int) -> int:
        """Batches in an epoch: the last one ends with the steps."""
        return min(len(self.batches), self.steps - epoch * len(self.batches))

    def _train_epoch(self, bar: Bar) -> None:
        state, length = self.state, self._length(self.state.epoch)
        if state.batch == length:
            return
        self.batches.go_to(state.epoch, state.batch, length)
        self.switch.source = self.batches
        self.job.model.train(True)
        for owners, batch in self.loader:
            reseed(self.settings.seed, "step", state.step, self.job.accelerator.process_index)
            self.pending.append(self._step(owners, batch))
            state.batch += 1
            state.step += 1
            if state.step % self.settings.log_every == 0 or state.batch == length:
                self._take_stock(bar)

    def _step(self, owners: Sequence[int], batch: Any) -> Tensor:
        """One step; `[T, 2]`, the sum of this process's losses and their number, by task."""
        self.optimisers.clear()
        values = self._losses(owners, batch)
        index = torch.tensor(owners).to(values.device, non_blocking=True)
        self.job.gradients(Losses(values, index, self.batches.total(self.state.batch)))
        self.optimisers.step(self.state.step)
        seen = torch.stack([values.detach(), torch.ones_like(values)], 1).float()
        return torch.zeros(len(self.job.names), 2, device=values.device).index_add_(0, index, seen)

    def _losses(self, owners: Sequence[int], batch: Any) -> Tensor:
        names = [self.job.names[number] for number in owners]
        batch = send_to_device(batch, self.job.device, non_blocking=True)
        with self.job.accelerator.autocast():
            values = self.job.seams.loss(self.job.model, batch, names)
        if not isinstance(values, Tensor) or values.shape != (len(owners),):
            found = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(f"the objective must return one loss per sample, [{len(owners)}], found {found}")
        return values.to(torch.promote_types(values.dtype, torch.float32))

    def _take_stock(self, bar: Bar) -> None:
        """Bring the losses since the last time to the CPU; log, bar, and perhaps a checkpoint."""
        state, tasks = self.state, len(self.job.names)
        # The first process's running statistics are the ones that count, and its clock decides for all.
        send(self.job.accelerator, self.job.moves.buffers())
        due = self.job.accelerator.is_main_process and time.monotonic() - self.saved >= self.settings.checkpoint_every
        report = torch.cat([*[p.flatten() for p in self.pending], torch.tensor([float(due)], device=self.job.device)])
        *flat, due = total(self.job.accelerator, report).tolist()
        seen = torch.tensor(flat, dtype=torch.float64).reshape(-1, tasks, 2).tolist()
        self.pending.clear()
        loss = math.nan
        for back, step in enumerate(seen):
            ago = len(seen) - back
            self._check_finite(step, state.step - ago)
            weighted = sum(weight * sums for weight, (sums, _) in zip(self.job.weights, step, strict=True))
            loss = weighted / self.batches.total(state.batch - ago)
            state.losses += loss
            state.seen = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(state.seen, step, strict=True)]
        self._pass_time(training=True)
        rate = self.batches.samples(state.batch) / max(state.training, 1e-9)
        bar.show(state.step, state.epoch, state.losses / state.batch, rate)
        rates = self.optimisers.rates(state.step - 1)
        self.folder.log.write("step", epoch=state.epoch + 1, step=state.step, loss=loss, lr=rates)
        if due:
            self._save()
            self._pass_time()

    def _check_finite(self, seen: list[list[float]], step: int) -> None:
        for name, (loss, _) in zip(self.job.names, seen, strict=True):
            if not math.isfinite(loss):
                rates = ", ".join(f"{kind} {rate:.3g}" for kind, rate in self.optimisers.rates(step).items())
                self.folder.log.write("diverged", task=name, epoch=self.state.epoch + 1, step=step + 1, loss=loss)
                kept = f"; the checkpoint of an earlier step is in {self.folder.path}" if self.folder.path else ""
                raise DivergedError(
                    f"task {name!r}: the loss is {loss} at step {step + 1} (learning rates: {rates}); lower the "
                    "learning rates, lengthen warmup or set clip_norm, and check the inputs for values that are not "
                    f"finite. The best weights so far are in place{kept}"
                )

    def _judge_epoch(self, bar: Bar) -> None:
        state, settings = self.state, self.settings
        tasks = self.validation.every()
        found: dict[str, Any] = {**means(tasks), "tasks": tasks}
        self._pass_time()
        trained = {
            name: {"train_loss": loss / count if count else None}
            for name, (loss, count) in zip(self.job.names, state.seen, strict=True)
        }
        length = self._length(state.epoch)
        point = {
            "epoch": state.epoch + 1,
            "step": state.step,
            "train_loss": state.losses / length,
            **found,
            "lr": self.optimisers.rates(state.step - 1),
            "seconds": state.seconds,
            "samples_per_second": self.batches.samples(length) / max(state.training, 1e-9),
            "tasks": {name: trained[name] | tasks[name] for name in tasks},
        }
        state.curve.append(point)
        bar.note(f"val {found[f'val_{settings.select_by}']:.3f}")
        self.folder.log.write("epoch", **point)
        if better(found, state.best, settings.select_by):
            state.best, state.best_epoch, state.waited = found, state.epoch + 1, 0
            self.best = self.job.moves.snapshot()
        else:
            state.waited += 1
        state.epoch, state.batch, state.losses, state.training = state.epoch + 1, 0, 0.0, 0.0
        state.seen = [[0.0, 0.0] for _ in self.job.names]
        if state.epoch == self.epochs:
            state.stopped = "finished"
        elif settings.patience is not None and state.waited >= settings.patience:
            state.stopped = "early"

    def _finish(self) -> None:
        """The best weights, with the running statistics that validation prefers."""
        state, log, names = self.state, self.folder.log, enumerate(self.job.names)
        if not state.best:
            never = [n for n, found in state.curve[-1]["tasks"].items() if not math.isfinite(found["val_loss"])]
            raise DivergedError(
                f"task {', '.join(map(repr, never))}: the validation loss was never finite for all tasks at once; "
                "lower the learning rates"
            )
        self.job.moves.restore(self.best)
        tasks = {name: self.anew.settle(number, state.best["tasks"][name], log) for number, name in names}
        anew = any(found["reestimated"] for found in tasks.values())
        state.best = {**means(tasks), "reestimated": anew, "tasks": tasks}
        state.done = True
        self._pass_time()
        log.write("end", stopped=state.stopped, best_epoch=state.best_epoch, **state.best, seconds=state.seconds)
        self._save()

    def _pass_time(self, training: bool = False) -> None:
        now = time.monotonic()
        self.state.seconds += now - self.mark
        self.state.training += (now - self.mark) * training
        self.mark = now

    def _save(self) -> None:
        kept: dict[str, Any] = {"state": asdict(self.state), "weights": self.job.moves.live()}
        if not self.state.done:
            kept |= {"best": self.best, "optimisers": self.optimisers.state_dict()}
        self.folder.save(kept)
        self.saved = time.monotonic()
