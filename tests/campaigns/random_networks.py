"""A mixed batch says what its tasks say one by one, or is refused by name: on random networks.

`python -m tests.campaigns.random_networks --networks 500 --seed 0` draws so many networks, with tasks of a method and
three batches, and compares mixed batches (of model and bank), broadcasts, folds and gradients with each task's rows by
themselves; a third of them with a hook of the user's, and each in one further way (see `ways`). `--only 17` draws one
of the networks, and prints it.
"""

from __future__ import annotations

import argparse
import copy
import re
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold.testing._compare import distance

from .drawn_networks import Drawn, drawn, given, model_of, network_of, rows_of, taken
from .ways import LAX, OF_BANKS, UNHOOKED, WAYS

SECONDS = 900
SLOWER = re.compile(r"answers mixed batches task by task, which is slower: (.*)", re.DOTALL)
STATEFUL = ("steps +=", "self.last =", "self.state =", "self.mean =", "self.held =")
ABSENT = ("has no ", "leave none", "selects none", "nothing to adapt", "no layer")


@dataclass
class Judgement:
    """What became of a network: how each mixed batch was answered, which other ways answered, and what is wrong."""

    how: list[str] = field(default_factory=list)
    ways: list[str] = field(default_factory=list)
    finds: list[str] = field(default_factory=list)


def is_ours(error: BaseException, network: nn.Module) -> bool:
    """Whether an error names the network or one of its layers."""
    said = str(error)
    paths = [path for path, _ in network.named_modules() if path]
    return "Network" in said or any(f"'{path}'" in said for path in paths)


def judged(drawn: Drawn) -> Judgement:
    """Compares mixed batches, by model and bank, with each task's rows by themselves in a fresh model."""
    found, network = Judgement(), network_of(drawn)
    try:
        start = model_of(drawn, network)
    except (ValueError, TypeError) as error:
        if not any(words in str(error) for words in ABSENT) and not is_ours(error, network):
            raise
        return Judgement(["absent"])
    runs: dict[str, Any] = {"model": copy.deepcopy(start)}
    if not drawn.training:
        try:
            runs["bank"] = copy.deepcopy(start).bank()
        except ValueError as error:
            if not is_ours(error, network) and "bank" not in str(error):
                found.finds.append(f"no bank: {error}")
    if not (drawn.way in OF_BANKS and "bank" not in runs) and not (drawn.hook and drawn.way in UNHOOKED):
        try:
            runs[drawn.way] = WAYS[drawn.way][0](copy.deepcopy(start))
        except Exception as error:
            found.finds.append(f"{drawn.way}: {told(error)}")
    for number in range(len(drawn.batches)):
        _judge(drawn, number, start, runs, found)
    return found


class Batch:
    """A batch of a drawn network, and what tasks say of it by themselves.

    Attributes:
        inputs: of the network.
        names: the task of each row.
        tolerance: see `distance`.
    """

    def __init__(self, drawn: Drawn, number: int) -> None:
        self.drawn, self.number, self.inputs = drawn, number, given(drawn, number)
        self.names = [*drawn.batches[number][0]]
        self.tolerance = 2e-2 if drawn.autocast else 1e-6 if drawn.double else 1e-4
        self.rows = {name: [n for n, one in enumerate(self.names) if one == name] for name in sorted({*self.names})}

    def of(self, network: Callable[..., Any], rows: list[int], **named: Any) -> list[Tensor]:
        """What a network, or a model, puts out for some rows."""
        with torch.autocast("cpu", torch.bfloat16) if self.drawn.autocast else nullcontext():
            output = network(*taken(copy.deepcopy(self.inputs), rows, self.drawn.given), **named)
        return rows_of(self.drawn, output, len(rows), several=not isinstance(named.get("task", ""), str))

    def off(self, found: list[Tensor], wanted: list[Tensor]) -> float:
        """The largest difference of finite rows, in tolerances."""
        if [one.shape for one in found] != [one.shape for one in wanted]:
            return torch.inf
        pairs = zip(found, wanted, strict=True)
        return max([0.0, *(distance(a, b, self.tolerance) for a, b in pairs if torch.isfinite(b).all())])

    def alone(self, start: tfold.MultiTask) -> tuple[list[Tensor], str]:
        """What each row's task says of its rows, in a fresh model; where it refuses, its fold says it, and why.

        Raises:
            Exception: the network fails on these rows, or a fold differs from its task.
        """
        wanted, why = [torch.empty(0)] * len(self.names), ""
        for name, mine in self.rows.items():
            try:
                rows = self.of(copy.deepcopy(start), mine, task=name)
            except Exception as error:
                if not is_ours(error, start.backbone):
                    raise
                why, rows = str(error), self.of(copy.deepcopy(start).fold(name), mine)
            for n, row in zip(mine, rows, strict=True):
                wanted[n] = row
        return wanted, why

    def mixes(self, start: tfold.MultiTask) -> bool:
        """Whether what tasks say of a row depends on the other rows of its batch, with these numbers or with others."""
        kinds = [(*one[:2], "plain") if n == self.number else one for n, one in enumerate(self.drawn.batches)]
        for batch in (self, Batch(replace(self.drawn, batches=kinds), self.number)):
            for name, mine in batch.rows.items():
                whole = batch.of(copy.deepcopy(start), [*range(len(batch.names))], task=name)
                for some in (mine, *([n] for n in mine)):
                    try:
                        if batch.off(batch.of(copy.deepcopy(start), some, task=name), [whole[n] for n in some]) > 1:
                            return True
                    except Exception:
                        return True
        return False

    def gradients(self, model: tfold.MultiTask, mixed: bool) -> list[Tensor]:
        """Gradients of all tasks' numbers, of a sum over all rows, asked together or one by one."""
        parameters = [p for name in self.rows for p in model[name].parameters() if p.requires_grad]
        with torch.enable_grad():
            if mixed:
                rows = self.of(model, [*range(len(self.names))], task=self.names)
                loss = sum(row.square().sum() for row in rows)
            else:
                loss = sum(
                    row.square().sum() for name, mine in self.rows.items() for row in self.of(model, mine, task=name)
                )
            found = torch.autograd.grad(loss, parameters, allow_unused=True)  # type: ignore[arg-type]
        return [torch.zeros(1) if one is None else one for one in found]


@torch.no_grad()
def _judge(drawn: Drawn, number: int, start: tfold.MultiTask, runs: dict[str, Any], found: Judgement) -> None:
    batch = Batch(drawn, number)
    every = [*range(len(batch.names))]
    try:
        wanted, refused = batch.alone(start)
    except Exception as error:
        found.how.append("broken")
        for mine in batch.rows.values():
            try:
                batch.of(network_of(drawn).train(drawn.training), mine)
            except Exception:
                return
        found.finds.append(f"batch {number}, alone: {told(error)}")
        return
    if not number and not drawn.training and not refused:
        for name, mine in batch.rows.items():
            try:
                off = batch.off(batch.of(copy.deepcopy(start).fold(name), mine), [wanted[n] for n in mine])
            except ValueError as error:
                if not is_ours(error, start.backbone):
                    found.finds.append(f"batch {number}, fold: {told(error)}")
                break
            if off > 1:
                found.finds.append(f"batch {number}, fold of {name}: off by {off:.3g} tolerances")
    for way, run in runs.items():
        if way in ("model", "bank"):
            run._runner.said = False
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                rows = batch.of(run, every, task=batch.names)
            except Exception as error:
                if not is_ours(error, start.backbone) and not refused and way not in LAX:
                    try:
                        batch.of(network_of(drawn).train(drawn.training), every)
                    except Exception:
                        continue
                    found.finds.append(f"batch {number}, {way}: {told(error)}")
                if way == "model":
                    stateful = any(words in drawn.source for words in STATEFUL)  # and fresh copies hide that
                    needless = not refused and not stateful and not batch.mixes(start)
                    found.how.append(f"{'refused needlessly' if needless else 'refused'}: {error}")
                continue
        if way not in ("model", "bank"):
            found.ways.append(way)
        slower = next((m[1] for one in said if (m := SLOWER.search(str(one.message)))), "")
        how = f"task by task: {slower}" if slower else "in one pass"
        if way == "model":
            found.how.append(how)
        if (off := batch.off(rows, wanted)) > 1:
            found.finds.append(
                f"batch {number} of {''.join(batch.names)}, {way}: off by {off:.3g} tolerances, {how[:150]}"
            )
    if found.finds or refused or any(words in drawn.source for words in STATEFUL):
        return
    if found.how[-1].startswith(("in one pass", "task by task")):
        try:
            pairs = zip(*(batch.gradients(copy.deepcopy(start), mixed) for mixed in (True, False)), strict=True)
            if (off := max(batch.off([a / 100], [b / 100]) for a, b in pairs)) > 1:
                found.finds.append(f"batch {number}, gradients: off by {off:.3g} tolerances")
        except Exception as error:
            found.finds.append(f"batch {number}, gradients: {told(error)}")
    if not drawn.autocast:
        _judge_broadcast(batch, start, runs, found)
    for name, mine in batch.rows.items():
        try:
            off = batch.off(batch.of(runs["model"], mine, task=name), [wanted[n] for n in mine])
        except Exception as error:
            if not is_ours(error, start.backbone):
                found.finds.append(f"batch {number}, task {name} afterwards: {told(error)}")
            continue
        if off > 1:
            found.finds.append(f"batch {number}, task {name} afterwards: off by {off:.3g} tolerances")


def _judge_broadcast(batch: Batch, start: tfold.MultiTask, runs: dict[str, Any], found: Judgement) -> None:
    every, names = [*range(len(batch.names))], [*batch.rows]
    if len(names) < 2:
        return
    for way, run in ((way, run) for way, run in runs.items() if way in ("model", "bank")):
        try:
            output = run(*copy.deepcopy(batch.inputs), task=names, broadcast=True)
        except Exception as error:
            if not is_ours(error, start.backbone):
                found.finds.append(f"batch {batch.number}, broadcast of {way}: {told(error)}")
            return
        for name in names:
            wanted = batch.of(copy.deepcopy(start), every, task=name)
            if (off := batch.off(rows_of(batch.drawn, output[name], len(every)), wanted)) > 1:
                found.finds.append(f"batch {batch.number}, broadcast of {way}, {name}: off by {off:.3g} tolerances")


def told(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({last.filename.rpartition('/')[2]}:{last.lineno})"


def _late(*_: object) -> None:
    raise TimeoutError(f"it takes more than {SECONDS} seconds")


def campaign(numbers: Iterable[int], seed: int) -> Iterator[tuple[Drawn, Judgement]]:
    """Draws networks and judges each."""
    before = signal.signal(signal.SIGALRM, _late)
    try:
        for number in numbers:
            one = drawn(seed, number)
            signal.alarm(SECONDS)
            try:
                yield one, judged(one)
            except Exception as error:
                last = "".join(traceback.format_tb(error.__traceback__)[-3:])
                yield one, Judgement(["failed"], [f"the campaign itself: {type(error).__name__}: {error}\n{last}"])
            finally:
                signal.alarm(0)
    finally:
        signal.signal(signal.SIGALRM, before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of a network, which is printed")
    asked = parser.parse_args()
    counts: Counter[str] = Counter()
    ways: Counter[str] = Counter()
    wrong = 0
    for one, found in campaign(range(asked.networks) if asked.only is None else [asked.only], asked.seed):
        for how in found.how:
            counts[how.partition(":")[0]] += 1
        ways.update(found.ways)
        wrong += bool(found.finds)
        if found.finds or asked.only is not None:
            print(f"network {one.seed}: {found.finds}\n{found.how}\n{one}\n", flush=True)
    print(f"{asked.networks} networks, their batches: {dict(counts)}; networks with finds: {wrong}")
    print(f"batches that were answered in other ways, too: {dict(ways)}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
