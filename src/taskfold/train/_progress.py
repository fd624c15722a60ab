from __future__ import annotations

import sys

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """The bar of one training; silent if `quiet`, by default when the output is no terminal.

    Args:
        label: the name of the training.
        epochs: number of epochs.
        steps: number of steps.
        quiet: show nothing; None: decide by the output.
    """

    def __init__(self, label: str, epochs: int, steps: int, quiet: bool | None) -> None:
        silent = not sys.stdout.isatty() if quiet is None else quiet
        self.epochs = epochs
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}{task.fields[turn]}"),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[note]}"),
            TextColumn("{task.fields[rate]} samples/s"),
            TimeRemainingColumn(),
            disable=silent,
        )
        shown = {"epoch": 1, "epochs": epochs, "turn": "", "loss": "…", "rate": "…", "note": ""}
        self._bar = self._progress.add_task(label, total=steps, **shown)

    def show(self, step: int, epoch: int, loss: float, rate: float, turn: str = "") -> None:
        """Show the steps done, the running epoch (from 0), mean loss, samples per second, and the pass's name."""
        shown = {"epoch": min(epoch + 1, self.epochs), "turn": turn and f" {turn}"}
        self._progress.update(self._bar, completed=step, loss=f"{loss:.3f}", rate=f"{rate:.0f}", **shown)

    def note(self, text: str) -> None:
        """Show a note beside the bar, such as the last validation."""
        self._progress.update(self._bar, note=text)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if not self._progress.disable:
            self._progress.console.print(text, highlight=False, markup=False)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        if not self._progress.disable:  # else rich before 15 writes an empty line
            self._progress.stop()
