"""Rooms, a network, and every method trained and tested on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.utils.data import DataLoader

from taskfold import MultiTask
from taskfold.dense import (
    Augment,
    DenseBatch,
    DenseScores,
    DenseTensors,
    DenseTogether,
    Kind,
    NYUv2,
    Protocol,
    Segmentation,
    build_network,
    dense_model,
    nyuv2,
)
from taskfold.tasks import write_atomically
from taskfold.train import TaskSet, group_rates, train_together

from ..rooms import CLASSES, rooms
from ._dense_plan import SINGLE, DenseContender, DensePlan
from ._records import Record

AUGMENT = Augment(scale=(1.0, 1.4), flip=0.5)


class DenseBench:
    """The rooms, and what is done with them.

    Args:
        plan: what to compare.
        data: folder of the rooms; None: a folder of the user's cache. Rooms that lack are rendered.
        networks: folder for the single-task networks that others stand on; made if need be.
        quiet: without progress bars; None: where there is no terminal.
        say: where lines go.
    """

    def __init__(
        self,
        plan: DensePlan,
        data: Path | None,
        networks: Path,
        *,
        processes: int = 1,
        quiet: bool | None = True,
        say: Callable[[str], None] = print,
    ) -> None:
        self.plan, self.networks, self.quiet, self.say = plan, networks, quiet, say
        folder = rooms(
            data, train=plan.train, val=plan.val, test=plan.test, size=plan.size, processes=processes, quiet=quiet
        )
        found = NYUv2(root=folder, classes=len(CLASSES), check_files=False).load()
        assert found.test is not None
        kinds = nyuv2(len(CLASSES)).kinds
        self.protocol = Protocol({**kinds, "segmentation": Segmentation(len(CLASSES), tuple(CLASSES))})
        self.samples = found
        self.test = DenseTensors(found.test)
        self.objective = DenseTogether(self.protocol)

    def run(self, contender: DenseContender, seed: int, *, keep: Path | None = None) -> Record:
        """One method at one seed: training, test scores, and what contraction leaves of the outputs.

        What fails is recorded with its reason.

        Args:
            contender: the method.
            seed: of all that is drawn.
            keep: folder for the tasks' files and the inventory.
        """
        method = contender.method.as_json()
        record: Record = {"label": contender.label, "seed": seed, **method, "rates": [contender.lr, contender.diagonal]}
        started = time.perf_counter()
        try:
            models, record["training"] = self.train(contender, seed)
            record["scores"] = self.score(models)
            record["parameters"] = _counts({t: m for t, m in models.items() if t != contender.frozen})
            record["contraction"] = self._contraction(models)
            record["pictures"] = self._pictures(models) if seed == self.plan.seeds[0] else []
            record["seconds"] = time.perf_counter() - started
            if keep is not None:
                _save(models, keep)
            if contender.label == SINGLE:
                self._keep_networks(models, seed)
            main = {task: f"{kind.main} {record['scores'][task][kind.main]:.3f}" for task, kind in self.kinds.items()}
            self.say(f"{contender.label}, seed {seed}: {', '.join(f'{t} {m}' for t, m in main.items())}")
        except (ValueError, RuntimeError) as error:
            record["failed"] = f"{type(error).__name__}: {error}"
            self.say(f"{contender.label}, seed {seed} failed: {record['failed']}")
        return record

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """The kinds of the tasks, by name."""
        return self.protocol.kinds

    def train(self, contender: DenseContender, seed: int) -> tuple[dict[str, MultiTask], Record]:
        """The model that does each task, by task, and what validation said of it: the sum of the tasks' losses."""
        together = [[task] for task in self.kinds] if contender.apart else [list(self.kinds)]
        models: dict[str, MultiTask] = {}
        parts = list[Record]()
        model = self._model(contender, seed)
        for tasks in together:
            start = time.perf_counter()
            if contender.frozen in tasks:
                parts.append({"tasks": tasks, "curve": [], "val_loss": self._loss(model, tasks), "seconds": 0.0})
            else:
                parts.append(self._fit(model, contender, tasks, seed, start))
            models |= dict.fromkeys(tasks, model)
        return models, {"parts": parts, "val_loss": sum(part["val_loss"] for part in parts)}

    def _fit(
        self, model: MultiTask, contender: DenseContender, tasks: Sequence[str], seed: int, start: float
    ) -> Record:
        data = self.samples
        train, val = DenseTensors(data.train, AUGMENT, seed=seed), DenseTensors(data.val)
        result = train_together(
            model,
            {tuple(tasks): TaskSet(train, val, DenseTensors(data.train))},
            contender.settings(self.plan, seed).only(group_rates(model, tasks)),
            objective=self.objective,
            measure=self.objective.measure,
            collate=self.protocol.only(tasks).collate,
            quiet=self.quiet,
            label=f"{contender.label} · {', '.join(tasks)}",
        )
        points = [{key: point[key] for key in ("epoch", "step", "train_loss", "val_loss")} for point in result.curve]
        # A mean over tasks; the sum is what the same tasks come to when they are trained apart.
        loss = result.best["val_loss"] * len(tasks)
        return {
            "tasks": list(tasks),
            "curve": points,
            "val_loss": loss,
            "best_epoch": result.best_epoch,
            "seconds": time.perf_counter() - start,
        }

    @torch.no_grad()
    def _loss(self, model: MultiTask, tasks: Sequence[str]) -> float:
        """The validation loss of tasks that are there already."""
        model.eval()
        batches = _loader(DenseTensors(self.samples.val), self.protocol.only(tasks))
        losses = [self.objective(model, batch, tasks) for batch in batches]
        return sum(torch.cat([one[task] for one in losses]).mean().item() for task in tasks)

    def _model(self, contender: DenseContender, seed: int) -> MultiTask:
        torch.manual_seed(seed)
        network = build_network(self.plan.network, self.plan.settings)
        if contender.frozen is None:
            return dense_model(network, self.protocol, contender.method)
        state = self._single(contender.frozen, seed)
        network.backbone.load_state_dict({key: state[f"backbone.{key}"] for key in network.backbone.state_dict()})
        model = dense_model(network, self.protocol, contender.method)
        head = model[contender.frozen].head
        assert head is not None
        head.load_state_dict({key: state[f"head.{key}"] for key in head.state_dict()})
        return model

    def _single(self, task: str, seed: int) -> dict[str, Tensor]:
        """The single-task network of a seed; trained if nobody has yet."""
        path = self._network_file(task, seed)
        if not path.exists():
            single = self.plan.contenders[0]
            model = self._model(single, seed)
            self._fit(model, single, [task], seed, 0.0)
            self._keep_networks({task: model}, seed)
        return load_file(path)

    def _network_file(self, task: str, seed: int) -> Path:
        return self.networks / f"{self.plan.network}-{task}-seed-{seed}.safetensors"

    def _keep_networks(self, models: Mapping[str, MultiTask], seed: int) -> None:
        self.networks.mkdir(parents=True, exist_ok=True)
        for task, model in models.items():
            state = {key: tensor.contiguous() for key, tensor in model.fold(task).state_dict().items()}
            plain = {key.replace("features.", "", 1): tensor for key, tensor in state.items()}
            write_atomically(self._network_file(task, seed), save(plain))

    @torch.no_grad()
    def score(self, models: Mapping[str, MultiTask]) -> dict[str, dict[str, float]]:
        """All scores on the test rooms, by task."""
        scores = DenseScores(self.protocol)
        for batch in self._batches():
            scores.update(_outputs(models, batch.images), batch)
        return scores.result()

    def _batches(self) -> DataLoader[DenseBatch]:
        return _loader(self.test, self.protocol)

    @torch.no_grad()
    def _contraction(self, models: Mapping[str, MultiTask]) -> dict[str, float]:
        """The largest difference between a task's outputs and those of the plain network it folds into."""
        images = next(iter(self._batches())).images
        said = _outputs(models, images)
        plain = {task: model.fold(task).eval() for task, model in models.items()}
        return {task: (plain[task](images) - said[task]).abs().max().item() for task in models}

    @torch.no_grad()
    def _pictures(self, models: Mapping[str, MultiTask]) -> list[dict[str, Tensor]]:
        """What is predicted for the images that the report shows."""
        images = torch.stack([self.test[n].image for n in self.shown])
        said = {task: self.kinds[task].predict(output) for task, output in _outputs(models, images).items()}
        return [{task: maps[n] for task, maps in said.items()} for n in range(len(images))]

    @property
    def shown(self) -> range:
        """Test rooms of the report, from all over."""
        count = min(self.plan.shown, len(self.test))
        return range(0, len(self.test) - len(self.test) % count, len(self.test) // count)


def _loader(data: DenseTensors, protocol: Protocol) -> DataLoader[DenseBatch]:
    return DataLoader(data, batch_size=40, collate_fn=protocol.collate)  # type: ignore[arg-type]


def _outputs(models: Mapping[str, MultiTask], images: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for model in dict.fromkeys(models.values()):
        tasks = [task for task, one in models.items() if one is model]
        found |= model.eval()(images, task=tasks, broadcast=True)
    return found


def _counts(models: Mapping[str, MultiTask]) -> dict[str, int]:
    """Numbers that were trained, heads included; those of the plain network that one task folds into, without."""
    trained: dict[int, nn.Parameter] = {}
    for model in dict.fromkeys(models.values()):
        own = [parameter for task, one in models.items() if one is model for parameter in one[task].parameters()]
        trained |= {id(p): p for p in [*own, *model.inventory.parameters()] if p.requires_grad}
    task, model = next(iter(models.items()))
    plain = sum(p.numel() for p in model.fold(task, head=False).parameters())
    return {"training": sum(p.numel() for p in trained.values()), "contracted": plain}


def _save(models: Mapping[str, MultiTask], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for task, model in models.items():
        model.save_task(task, folder / f"{task}.safetensors")
    for model in dict.fromkeys(models.values()):
        if len(model.inventory):
            model.save_inventory(folder / "inventory.safetensors")
