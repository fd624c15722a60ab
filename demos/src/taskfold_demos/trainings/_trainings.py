"""The trainings of a demonstration: all tasks by one method, with what is proved of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from taskfold import MultiTask, backbones
from taskfold.data import DataError, ImageTensors, MissingDataError, Preprocessing, TaskData, sound
from taskfold.evaluate import evaluate, predict
from taskfold.report import record
from taskfold.tasks import fingerprint
from taskfold.threads import Threads
from taskfold.train import group_rates, train_task

from ._mixed import in_fresh_process
from ._plan import Entry, Plan

BACKBONE = "packaged:efficientnet-lite0"

Document = dict[str, Any]


class Bench:
    """What all trainings have in common. Another process opens its own.

    Attributes:
        loaded: the backbone.
        data: the tasks' data; `missing`: why others are left out.
        splits: the data as tensors, by task and split.

    Raises:
        DataError: there are no data.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.loaded = backbones.load(BACKBONE)
        # On a CPU the training of depthwise layers takes two thirds of the time.
        self.network = self.loaded.network.to(memory_format=torch.channels_last)
        self.preprocessing = Preprocessing.from_config(self.loaded.preprocessing or {}, size=plan.size)
        self.missing: dict[str, str] = {}
        self.data = self._load()
        self.splits = {
            name: {
                split: ImageTensors(images, self.preprocessing, train=False)
                for split, images in (("train", data.train), ("val", data.val), ("test", data.test))
            }
            for name, data in self.data.items()
        }

    def __reduce__(self) -> tuple[type[Bench], tuple[Plan]]:
        return Bench, (self.plan,)

    def _load(self) -> dict[str, TaskData]:
        found: list[TaskData] = []
        for name, source in self.plan.sources.items():
            try:
                found.append(source.load(name))
            except MissingDataError as error:
                self.missing[name] = str(error)
        if not found:
            raise DataError("none of the packaged data sets is installed: pip install taskfold-demos")
        return {data.name: data for data in sound(found, corrupt="trust")}

    def proof(self, name: str) -> torch.Tensor:
        """The test images whose outputs are compared."""
        return torch.stack([self.splits[name]["test"][n][0] for n in range(self.plan.proof)])


@dataclass(frozen=True)
class Training:
    """All tasks of one method, one after another on one model; the proof spans them.

    Attributes:
        entry: the method.
        out: the demonstration's folder.
        keep: save the tasks there, and prove what is promised.
        quiet: as for `train_task`.
    """

    entry: Entry
    seed: int
    out: Path
    keep: bool
    quiet: bool | None

    def __call__(self, bench: Bench) -> Iterator[tuple[str, Document]]:
        """Trains, and yields lines to print with parts of the results document: `runs`, `isolation`, `mixed_batch`."""
        torch.manual_seed(self.seed)
        untouched = fingerprint(bench.network)
        model, proofs = MultiTask(bench.network, self.entry.method), dict[str, str]()
        for name in bench.data:
            said, run = self._train(bench, model, name)
            yield said, {"runs": [run]}
            if self.keep:
                proofs[name] = _outputs(bench, model, name)
        if self.keep:
            yield "", {"isolation": [self._isolation(bench, model, *proof) for proof in proofs.items()]}
            yield "", {"mixed_batch": self._serve(bench, model)}
        if fingerprint(bench.network) != untouched:
            raise RuntimeError("the backbone has moved, which must never happen: please report it")

    def _train(self, bench: Bench, model: MultiTask, name: str) -> tuple[str, Document]:
        entry, data, splits = self.entry, bench.data[name], bench.splits[name]
        task = model.add_task(
            name, head=len(data.labels), labels=data.labels, preprocessing=bench.preprocessing.model_dump(mode="json")
        )
        shown = {"label": entry.label, "seed": self.seed}
        try:
            result = train_task(
                model,
                name,
                splits["train"],
                splits["val"],
                entry.settings(bench.plan, self.seed).only(group_rates(model, [name])),
                label=f"{entry.label} · {name}",
                quiet=self.quiet,
            )
        except ValueError as error:
            failed = {"task": name, "method": entry.method.name, **shown, "failed": str(error)}
            return f"[red]{entry.label} · {name} failed:[/] {error}", failed
        torch.set_num_threads(result.threads)
        measured = evaluate(model, name, splits["test"])
        task.info.metrics["test_accuracy"] = measured.accuracy
        run = record.run_record(model, name, result, measured) | shown
        run["settings"]["lr"] = entry.lr
        if self.keep:
            model.save_task(name, self.out / "tasks" / f"{name}.safetensors")
            run["predictions"] = record.sample_records(model, data, bench.preprocessing)
        took = f"{result.seconds:5.1f} s on {result.threads} thread{'s' * (result.threads > 1)}"
        return f"{entry.label:>20} · {name:<14} {measured.accuracy:6.1%} on test   {took}", run

    def _isolation(self, bench: Bench, model: MultiTask, name: str, before: str) -> Document:
        after = _outputs(bench, model, name)
        what = f"outputs on {bench.plan.proof} test images, right after its training and after all later tasks'"
        same = {"before": before, "after": after, "identical": before == after}
        return {"task": name, **same, "what": f"{self.entry.label}: {what}"}

    def _serve(self, bench: Bench, model: MultiTask) -> dict[str, Any]:
        """The saved files in a fresh process, one mixed batch, against the tasks one by one in this process."""
        names, count = list(bench.data), bench.plan.proof
        rows = [names[n % len(names)] for n in range(count)]
        images = torch.stack([bench.splits[name]["test"][n // len(names)][0] for n, name in enumerate(rows)])
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


def _outputs(bench: Bench, model: MultiTask, name: str) -> str:
    with Threads(1):  # the same bits need the same number, and that of a training may change
        said = predict(model, name, bench.proof(name))
    return hashlib.sha256(said.numpy().tobytes()).hexdigest()
