"""Runs a demonstration from data to report."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from taskfold import MultiTask, backbones
from taskfold.data import DataError, ImageTensors, MissingDataError, Preprocessing, TaskData, sound
from taskfold.evaluate import evaluate, predict
from taskfold.report import record, summary_table, write_report
from taskfold.tasks import fingerprint, write_atomically
from taskfold.threads import Threads
from taskfold.train import group_rates, train_task

from ._mixed import in_fresh_process
from ._plan import Entry, Plan

BACKBONE = "packaged:efficientnet-lite0"


def run_demo(
    plan: Plan, out: Path, *, command: str = "taskfold demo", console: Console | None = None
) -> dict[str, Any]:
    """Train every method on every task, prove what is promised, and write `results.json`, `report.html` and `tasks/`.

    Args:
        plan: what to compare.
        out: folder, made if need be; files of an earlier demonstration are replaced.
        command: shown in the report.
        console: where to say what happens; None: standard output.

    Returns:
        The results document (see `taskfold.report.schema`).
    """
    with Threads(None):  # what tests a task has as many threads as its training ended with
        return _Demo(plan, out, console or Console()).run(command)


class _Demo:
    def __init__(self, plan: Plan, out: Path, console: Console) -> None:
        self.plan, self.out, self.console = plan, out, console
        (out / "tasks").mkdir(parents=True, exist_ok=True)
        self.loaded = backbones.load(BACKBONE)
        self.network = self.loaded.network
        self.preprocessing = Preprocessing.from_config(self.loaded.preprocessing or {}, size=plan.size)
        self.data = self._load()
        self.splits = {
            name: {
                split: ImageTensors(images, self.preprocessing, train=False)
                for split, images in (("train", data.train), ("val", data.val), ("test", data.test))
            }
            for name, data in self.data.items()
        }
        self.runs: list[dict[str, Any]] = []
        self.isolation: list[dict[str, Any]] = []
        self.mixed: dict[str, Any] | None = None

    def run(self, command: str) -> dict[str, Any]:
        started = time.perf_counter()
        before = fingerprint(self.network)
        served = [entry for entry in self.plan.entries if entry.label.startswith("FTN")][-1]
        for seed in self.plan.seeds:
            for entry in self.plan.entries:
                keep = entry is served and seed == self.plan.seeds[0]
                model = self._train_all(entry, seed, keep)
                if keep:
                    self.mixed = self._serve(model)
                self._write(command, started)
        if fingerprint(self.network) != before:
            raise RuntimeError("the backbone has moved, which must never happen: please report it")
        results = self._write(command, started)
        report = write_report(results, self.out / "report.html")
        self._say(results, report)
        return results

    def _write(self, command: str, started: float) -> dict[str, Any]:
        """The results so far, after every method: a demonstration that is stopped leaves what it found."""
        results = {
            "version": 1,
            "title": f"{len(self.data)} tasks on one frozen {BACKBONE.partition(':')[2]}",
            "command": command,
            "seconds": time.perf_counter() - started,
            "environment": record.environment(self.network)
            | {"image_size": self.plan.size, "epochs": self.plan.epochs},
            "backbone": record.backbone_record(self.loaded),
            "tasks": [record.task_record(data, self.plan.sources[name].origin) for name, data in self.data.items()],
            "runs": self.runs,
            "isolation": self.isolation,
            "mixed_batch": self.mixed,
        }
        write_atomically(self.out / "results.json", json.dumps(results, indent=1).encode())
        return results

    def _load(self) -> dict[str, TaskData]:
        found = {}
        for name, source in self.plan.sources.items():
            try:
                found[name] = source.load(name)
            except MissingDataError as error:
                self.console.print(f"[yellow]{name} is left out:[/] {error}", highlight=False)
        if not found:
            raise DataError("none of the packaged data sets is installed: pip install taskfold-demos")
        return {data.name: data for data in sound(list(found.values()), corrupt="trust")}

    def _train_all(self, entry: Entry, seed: int, keep: bool) -> MultiTask:
        """All tasks of one method one after another on one model; the proof spans them."""
        torch.manual_seed(seed)
        model = MultiTask(self.network, entry.method)
        proofs: dict[str, str] = {}
        for name in self.data:
            self.runs.append(self._train(model, entry, name, seed, keep))
            proofs[name] = self._outputs(model, name)
        if keep:
            what = f"outputs on {self.plan.proof} test images, right after its training and after all later tasks'"
            for name, before in proofs.items():
                after = self._outputs(model, name)
                same = before == after
                self.isolation.append(
                    {
                        "task": name,
                        "before": before,
                        "after": after,
                        "identical": same,
                        "what": f"{entry.label}: {what}",
                    }
                )
        return model

    def _train(self, model: MultiTask, entry: Entry, name: str, seed: int, keep: bool) -> dict[str, Any]:
        data, splits = self.data[name], self.splits[name]
        task = model.add_task(
            name, head=len(data.labels), labels=data.labels, preprocessing=self.preprocessing.model_dump(mode="json")
        )
        shown = {"label": entry.label, "seed": seed}
        try:
            result = train_task(
                model,
                name,
                splits["train"],
                splits["val"],
                entry.settings(self.plan, seed).only(group_rates(model, [name])),
                label=f"{entry.label} · {name}",
            )
        except ValueError as error:
            self.console.print(f"[red]{entry.label} · {name} failed:[/] {error}", highlight=False)
            return {"task": name, "method": entry.method.name, **shown, "failed": str(error)}
        torch.set_num_threads(result.threads)
        measured = evaluate(model, name, splits["test"])
        task.info.metrics["test_accuracy"] = measured.accuracy
        run = record.run_record(model, name, result, measured) | shown
        run["settings"]["lr"] = entry.lr
        if keep:
            model.save_task(name, self.out / "tasks" / f"{name}.safetensors")
            run["predictions"] = record.sample_records(model, data, self.preprocessing)
        took = f"{result.seconds:5.1f} s on {result.threads} thread{'s' * (result.threads > 1)}"
        self.console.print(
            f"{entry.label:>20} · {name:<14} {measured.accuracy:6.1%} on test   {took}",
            highlight=False,
        )
        return run

    def _outputs(self, model: MultiTask, name: str) -> str:
        with Threads(1):  # the same bits need the same number, and that of a training may change
            said = predict(model, name, self._proof_images(name))
        return hashlib.sha256(said.numpy().tobytes()).hexdigest()

    def _proof_images(self, name: str) -> torch.Tensor:
        return torch.stack([self.splits[name]["test"][n][0] for n in range(self.plan.proof)])

    def _serve(self, model: MultiTask) -> dict[str, Any]:
        """The saved files in a fresh process, one mixed batch, against the tasks one by one in this process."""
        names = list(self.data)
        rows = [names[n % len(names)] for n in range(self.plan.proof)]
        images = torch.stack([self.splits[name]["test"][n // len(names)][0] for n, name in enumerate(rows)])
        files = {name: self.out / "tasks" / f"{name}.safetensors" for name in names}
        answer = in_fresh_process(BACKBONE, files, rows, images, self.out)
        alone = [predict(model, name, images[n : n + 1])[0] for n, name in enumerate(rows)]
        together = [torch.tensor(row).softmax(0) for row in answer["outputs"]]
        equal = sum(int(a.argmax() == b.argmax()) for a, b in zip(alone, together, strict=True))
        return {
            "tasks": names,
            "rows": len(rows),
            "agreement": equal / len(rows),
            "max_abs_difference": max(float((a - b).abs().max()) for a, b in zip(alone, together, strict=True)),
            "seconds": answer["seconds"],
            "process": "task files loaded by a fresh process; probabilities against one task and one image at a time",
        }

    def _say(self, results: dict[str, Any], report: Path) -> None:
        self.console.print()
        self.console.print(summary_table(results))
        same = sum(one["identical"] for one in self.isolation)
        self.console.print(
            f"No forgetting: {same} of {len(self.isolation)} tasks bit-identical after all later training."
        )
        if self.mixed is not None:
            self.console.print(
                f"Mixed batch in a fresh process: {self.mixed['rows']} rows of {len(self.mixed['tasks'])} tasks, "
                f"{self.mixed['agreement']:.0%} the same class, "
                f"largest difference in probability {self.mixed['max_abs_difference']:.1e}."
            )
        self.console.print(f"Report: {report}   Task files: {self.out / 'tasks'}   {results['seconds']:.0f} s in all")
