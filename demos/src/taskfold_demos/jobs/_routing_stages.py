"""The two stages: many languages together, then a new one from a few examples."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from taskfold import MultiTask
from taskfold.backbones import LoadedBackbone
from taskfold.layers import updates_of
from taskfold.methods import LoRA
from taskfold.report import routing_record
from taskfold.text import Collator, Example, Objective, exact_match, few_shot, generate, rank_classify
from taskfold.train import TaskSet, group_rates, train_together

from ._records import Record
from ._routing_data import Bundles, Words, bundled, collating
from ._routing_plan import LM, Contender, RoutingPlan, Stage, Way


class Bench:
    """A backbone, the languages' words, and what is done with them.

    Args:
        plan: what to compare.
        loaded: the backbone.
        words: of every language of the plan.
        quiet: without progress bars; None: where there is no terminal.
        say: where lines go.
    """

    def __init__(
        self,
        plan: RoutingPlan,
        loaded: LoadedBackbone,
        words: Mapping[str, Words],
        *,
        quiet: bool | None = True,
        say: Callable[[str], None] = print,
    ) -> None:
        assert loaded.tokenizer is not None
        self.plan, self.network, self.words = plan, loaded.network, words
        self.quiet, self.say = quiet, say
        longest = plan.max_bytes + 1
        tokenizer = loaded.tokenizer()
        self.plain, self.choosing = (
            Collator(
                tokenizer,
                causal=False,
                max_input=longest,
                max_target=longest,
                with_choices=with_choices,
                pad_to_multiple_of=8,
            )
            for with_choices in (False, True)
        )

    def changed(self, **settings: Any) -> Bench:
        """The same with another plan for the same languages."""
        other = copy.copy(self)
        other.plan = replace(self.plan, **settings)
        return other

    def run(self, contender: Contender, seed: int, *, routing: bool = False, keep: Path | None = None) -> Record:
        """One method at one seed: joint training, then the held-out languages in every way and number of examples.

        What fails is recorded with its reason, and ends that method at that seed.

        Args:
            contender: the method.
            seed: of all that is drawn.
            routing: record how the languages mix the inventory, if there is one.
            keep: folder for the inventory and for a file of each language learned by routing alone.
        """
        method = contender.method.as_json()
        record: Record = {"label": contender.label, "seed": seed, **method, "transfers": []}
        record["rates"] = {"factors": contender.lr, "routing": contender.routing, "transfer": dict(contender.ways)}
        try:
            model, record["training"] = self.train(contender, seed)
            if routing and contender.routed:
                record["routing"] = routing_record(model, self.plan.training, contender.label)
            before = self._outputs(model)
            self.say(f"{contender.label}, seed {seed}: validation loss {record['training']['val_loss']:.3f}")
            for way in contender.ways:
                for shots in self.plan.shots:
                    folder = keep if (way, shots) == ("z", self.plan.shots[0]) else None
                    found = self.transfer(contender, model, way, shots, seed, keep=folder)
                    record["transfers"].append(found)
                    means = [fmean(one[key] for one in found["languages"].values()) for key in ("exact_match", "rank")]
                    self.say(
                        f"{contender.label}, seed {seed}, {way}, {shots} examples: exact match {means[0]:.1%}, "
                        f"rank {means[1]:.1%}, {found['seconds']:.0f} s"
                    )
            record["outputs"] = {"before": before, "after": self._outputs(model)}
        except (ValueError, RuntimeError) as error:
            record["failed"] = f"{type(error).__name__}: {error}"
            self.say(f"{contender.label}, seed {seed} failed: {record['failed']}")
        return record

    def baselines(self) -> list[Record]:
        """Copying the form, and the backbone as it is."""
        model = MultiTask(self.network, LoRA(rank=1))
        for name in self.plan.held_out:
            model.add_task(name)
        copied: dict[str, Record] = {}
        for name in self.plan.held_out:
            test = self.words[name].test
            share = sum(one.input == one.target for one in test) / len(test)
            copied[name] = {"exact_match": share, "rank": share}
        rows = {"copying the form": copied, "backbone as it is": self.measure(model)}
        return [
            {
                "label": label,
                **{key: fmean(one[key] for one in found.values()) for key in ("exact_match", "rank")},
                "languages": found,
            }
            for label, found in rows.items()
        ]

    def train(self, contender: Contender, seed: int) -> tuple[MultiTask, Record]:
        """All training languages together; the best weights on their validation words, and what it took."""
        torch.manual_seed(seed)
        plan = self.plan
        model = MultiTask(self.network, contender.method)
        for name in plan.training:
            model.add_task(name)
        data = {name: self.words[name] for name in plan.training}
        trained = self._fit(
            model,
            {name: (one.train, one.val) for name, one in data.items()},
            plan.together,
            LM,
            seed,
            (contender.lr, contender.routing),
            f"{contender.label} · {len(data)} languages",
        )
        counts = model[plan.training[0]].counts()
        shared = sum(leaf.numel() for leaf in model.inventory.parameters())
        own = sum(sum(model[name].counts().values()) for name in plan.training)
        routing = counts["routing"] * len(plan.training)
        return model, trained | {"parameters": {"shared": shared, "own": own, "of_which_routing": routing}}

    def transfer(
        self,
        contender: Contender,
        model: MultiTask,
        way: Way,
        shots: int,
        seed: int,
        *,
        test: bool = True,
        keep: Path | None = None,
    ) -> Record:
        """All held-out languages at once: each has parameters of its own, so that they do not meet."""
        torch.manual_seed(seed + 1)
        plan = self.plan
        model = self._new_tasks(contender, model, way)
        words = {name: self.words[name] for name in plan.held_out}
        trained = self._fit(
            model,
            {name: (few_shot(one.train, shots, seed), one.val) for name, one in words.items()},
            plan.transfer,
            plan.losses,
            seed,
            contender.ways[way],
            f"{contender.label} · {way} · {shots} examples",
        )
        counted = sum(p.numel() for p in set(model[plan.held_out[0]].parameters()) if p.requires_grad)
        found = {"languages": self.measure(model)} if test else {}
        if keep is not None:
            model.save_inventory(keep / "inventory.safetensors")
            for name in plan.held_out:
                model.save_task(name, keep / f"{name}.safetensors")
        for name in plan.held_out:
            model.remove_task(name)
        return {"way": way, "shots": shots, **trained, "parameters": counted, **found}

    def measure(self, model: MultiTask) -> dict[str, Record]:
        """Exact match and rank classification of the held-out languages' test words, by language."""
        asked = [(name, example) for name in self.plan.held_out for example in self.words[name].test]
        tasks, examples = [name for name, _ in asked], [example for _, example in asked]
        written = generate(model, tasks, examples, self.plain, batch_size=256, max_new_tokens=self.plan.max_bytes + 1)
        chosen = rank_classify(model, tasks, examples, self.choosing, batch_size=64).predictions
        found: dict[str, Record] = {}
        for name in self.plan.held_out:
            rows = [n for n, task in enumerate(tasks) if task == name]
            found[name] = {
                "exact_match": exact_match([written[n] for n in rows], [examples[n].target for n in rows]),
                "rank": sum(chosen[n] == examples[n].answer for n in rows) / len(rows),
                "said": [(examples[n].input, written[n], examples[n].target) for n in rows[:6]],
            }
        return found

    def _outputs(self, model: MultiTask) -> dict[str, str]:
        """Fingerprints of what each training language's task says to its validation words."""
        model.eval()
        found: dict[str, str] = {}
        with torch.no_grad():
            for name in self.plan.training:
                logits: Tensor = model(**self.plain(list(self.words[name].val)).inputs, task=name).logits
                found[name] = hashlib.sha256(logits.numpy().tobytes()).hexdigest()
        return found

    def _new_tasks(self, contender: Contender, model: MultiTask, way: Way) -> MultiTask:
        """The model with the tasks that are to learn the held-out languages."""
        if way == "scratch":
            model = MultiTask(self.network, contender.method)
        for name in self.plan.held_out:
            if way == "scratch":
                model.add_task(name)
            elif way == "continue":
                model.add_task(name, sharing="private")
                _copy(model, self.plan.training[0], name)
            elif way == "random-mu":
                model.transfer_task(name, mode="mu", allocation="sigmoid")
            else:
                model.transfer_task(name, mode=way)
        return model

    def _fit(
        self,
        model: MultiTask,
        sets: Mapping[str, tuple[Sequence[Example], Sequence[Example]]],
        stage: Stage,
        objective: Objective,
        seed: int,
        rates: tuple[float, float],
        label: str,
    ) -> Record:
        settings = stage.settings(seed, *rates).model_copy(update={"threads": self.plan.threads})
        collator = self.choosing if objective.mc or objective.ul else self.plain
        tasks = {
            name: TaskSet(Bundles(train, stage.words, seed), Bundles(val, len(val), seed))
            for name, (train, val) in sets.items()
        }
        start = time.perf_counter()
        result = train_together(
            model,
            tasks,
            settings.only(group_rates(model, list(tasks))),
            objective=bundled(objective),
            collate=collating(collator),
            quiet=self.quiet,
            label=label,
        )
        rate = fmean(point["samples_per_second"] for point in result.curve)
        return {
            "curve": [{key: point[key] for key in ("step", "train_loss", "val_loss")} for point in result.curve],
            "val_loss": result.best["val_loss"],
            "best_step": result.curve[result.best_epoch - 1]["step"],
            "seconds": time.perf_counter() - start,
            "seconds_per_step": stage.languages / rate,
        }


@torch.no_grad()
def _copy(model: MultiTask, source: str, target: str) -> None:
    """The factors that all tasks share, as the start of a task's own."""
    mine = updates_of(model[target])
    for layer, update in updates_of(model[source]).items():
        assert update.bank is not None
        for name, leaf in update.bank.items():
            mine[layer].own[name].copy_(leaf)
