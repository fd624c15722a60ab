"""Threads use a bank while other threads change it. `python -m tests.bank.campaign` runs the whole campaign.

Every task is a canary: its outputs encode its name, generation and width, once from its row of numbers and once
from its head. So the right answer is known in advance, and an answer that mixes two tasks shows it.
"""

from __future__ import annotations

import argparse
import copy
import random
import sys
import threading
import time
from collections import Counter

import torch
from torch import Tensor, nn

import taskfold as tfold

from .faults import OutOfMemory

STEADY, FLEETING = 12, 12
"""Names that are never removed, and names that come and go."""
WIDTHS = 5
GENERATIONS = 90
METHODS = [tfold.LoRA(rank=rank, norm=True) for rank in (1, 2, 3)] + [tfold.HeadNorm()]


class WrongAnswer(Exception):
    """An answer that is not its task's."""


def outputs(name: str) -> int:
    return 1 + int(name) % WIDTHS


class Canaries:
    """Tasks that say who they are, one for each name; each thread that changes a bank has its own."""

    def __init__(self, net: nn.Module) -> None:
        self.model = tfold.MultiTask(net, num_features=4).eval()
        for n in range(STEADY + FLEETING):
            self.model.add_task(str(n), head=outputs(str(n)), method=METHODS[n % len(METHODS)])
        self.model.double()

    @torch.no_grad()
    def __call__(self, name: str, generation: int) -> tfold.Task:
        task, says = self.model[name], float(100 * (generation % GENERATIONS) + int(name))
        for path, parameter in task.named_parameters():
            if path.startswith("sites.1."):  # the normalisation: γ = 0, and β says it
                parameter.fill_(0.0 if path.endswith("weight") else says)
        head = task.head
        assert isinstance(head, nn.Linear)
        head.weight.zero_()
        head.weight[:, generation % 4] = 1.0
        head.bias.copy_(1e4 * says + 1e8 * torch.arange(len(head.bias), dtype=torch.float64))
        return task


def generation_of(row: Tensor, name: str, padded: bool = False) -> int:
    """The generation that a canary says it is of.

    Raises:
        WrongAnswer: it is another canary's answer, or that of two.
    """
    said, size = [round(value) for value in row.tolist() if value != -torch.inf], outputs(name)
    if len(said) != size or (not padded and len(row) != size):
        raise WrongAnswer(f"task {name} has {size} outputs, found {len(said)} of {len(row)}")
    found = set()
    for n, value in enumerate(said):
        output, rest = divmod(value, 10**8)
        head, numbers = divmod(rest, 10**4)
        if output != n or head != numbers or numbers % 100 != int(name):
            raise WrongAnswer(f"task {name}: output {n} is of output {output}, head {head}, row {numbers}")
        found.add(numbers // 100)
    if len(found) > 1:
        raise WrongAnswer(f"task {name}: outputs of generations {found}")
    return found.pop()


class Campaign:
    """Threads on one bank.

    Args:
        askers, changers: threads.
        answers: to come to, of all askers together.
    """

    def __init__(self, askers: int, changers: int, answers: int) -> None:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)).double()
        self.bank = tfold.Bank(net)
        self.canaries = [Canaries(copy.deepcopy(net)) for _ in range(changers)]
        for n in range(STEADY):
            self.bank.add(self.canaries[0](str(n), n))
        self.answers, self.askers, self.changers = answers, askers, changers
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.adding = threading.Lock()
        self.over = threading.Event()

    def run(self) -> Counter[str]:
        """All threads until the answers are there or one is wrong; how often each thing happened."""
        asking = [threading.Thread(target=self._guarded, args=(self._ask, n)) for n in range(self.askers)]
        changing = [threading.Thread(target=self._guarded, args=(self._change, n)) for n in range(self.changers)]
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-4)  # threads interrupt each other often
        try:
            for thread in (*asking, *changing):
                thread.start()
            for thread in asking:
                thread.join()
            self.over.set()
            for thread in changing:
                thread.join()
        finally:
            sys.setswitchinterval(before)
        for name in self.bank:
            generation_of(self.bank(torch.randn(1, 3).double(), task=[name])[0], name)
        self.counts["places"] = len(self.bank.table.numbers)
        return self.counts

    def _guarded(self, work: object, n: int) -> None:
        mine: Counter[str] = Counter()
        try:
            torch.set_num_threads(1)
            with torch.no_grad():
                work(random.Random(n), mine)  # type: ignore[operator]
        except WrongAnswer as error:
            mine["wrong"] += 1
            self.problems.append(str(error))
        except BaseException as error:
            mine["errors"] += 1
            self.problems.append(f"{type(error).__name__}: {error}")
        finally:
            if self.problems:
                self.over.set()
            with self.adding:
                self.counts += mine

    # Asking

    def _ask(self, draw: random.Random, mine: Counter[str]) -> None:
        kept: list[tuple[Tensor, list[str], list[int] | None]] = []
        ways = [self._by_name, self._by_index, self._broadcast, self._broadcast_index]
        while not self.over.is_set() and mine["answers"] < self.answers // self.askers:
            names = [str(draw.randrange(STEADY + FLEETING * draw.randrange(2))) for _ in range(draw.randint(1, 6))]
            try:
                if kept and draw.random() < 0.2:
                    self._kept(draw, kept, mine)
                else:
                    draw.choice(ways)(names, mine, kept)
            except ValueError as error:
                self._refused(error, names, mine)

    def _refused(self, error: ValueError, names: list[str], mine: Counter[str]) -> None:
        said = str(error)
        missing = next((name for name in names if f"task {name!r} is not in the bank" in said), None)
        if missing is None or int(missing) < STEADY:
            raise error
        mine["refused by name"] += 1

    def _by_name(self, names: list[str], mine: Counter[str], _: object) -> None:
        found = self.bank(torch.randn(len(names), 3).double(), task=names)
        for name, row in zip(names, found, strict=True):
            generation_of(row, name)
        for name in set(names):
            for row in found.of(name):
                generation_of(row, name)
        mine["answers"] += 1
        mine["rows"] += len(names)

    def _by_index(self, names: list[str], mine: Counter[str], kept: list) -> None:
        kept.append((self.bank.index(names), names, None))
        del kept[:-8]

    def _kept(self, draw: random.Random, kept: list, mine: Counter[str]) -> None:
        """An index from before: the tasks of then answer, or one of them is gone and the index is refused."""
        at = draw.randrange(len(kept))
        index, names, wanted = kept[at]
        try:
            found = self.bank(torch.randn(len(names), 3).double(), index=index)
        except ValueError as error:
            del kept[at]
            if not any(f"made for task {name!r}, which is gone" in str(error) for name in names if int(name) >= STEADY):
                raise
            mine["stale indices refused"] += 1
            return
        said = [generation_of(row, name, padded=True) for name, row in zip(names, found, strict=True)]
        if wanted is not None and said != wanted:
            raise WrongAnswer(f"an index of tasks {names} answers as generations {said}, and before as {wanted}")
        kept[at] = index, names, said
        mine["answers"] += 1
        mine["rows"] += len(names)

    def _broadcast(self, names: list[str], mine: Counter[str], _: object) -> None:
        distinct = list(dict.fromkeys(names))
        found = self.bank(torch.randn(2, 3).double(), task=distinct, broadcast=True)
        if list(found) != distinct:
            raise WrongAnswer(f"asked tasks {distinct}, and {list(found)} answered")
        for name, rows in found.items():
            if len({generation_of(row, name) for row in rows}) > 1:
                raise WrongAnswer(f"task {name}: rows of several generations")
        mine["answers"] += 1
        mine["rows"] += 2 * len(distinct)

    def _broadcast_index(self, names: list[str], mine: Counter[str], _: object) -> None:
        index = self.bank.index(names)
        try:
            found = self.bank(torch.randn(2, 3).double(), index=index, broadcast=True)
        except ValueError as error:
            if "which is gone since" not in str(error):
                raise
            mine["stale indices refused"] += 1
            return
        for name, rows in zip(names, found, strict=True):
            for row in rows:
                generation_of(row, name, padded=True)
        mine["answers"] += 1
        mine["rows"] += 2 * len(names)

    # Changing

    def _change(self, draw: random.Random, mine: Counter[str]) -> None:
        canaries = self.canaries.pop()
        generation = 0
        while not self.over.is_set():
            name, generation = str(STEADY + draw.randrange(FLEETING)), generation + 1
            try:
                if draw.random() < 0.5:
                    self.bank.remove(name)
                    mine["removed"] += 1
                elif draw.random() < 0.1:
                    try:
                        with OutOfMemory(draw.randrange(120)):
                            self.bank.add(canaries(name, generation))
                        mine["added"] += 1
                    except MemoryError:
                        mine["failed inside"] += 1
                else:
                    self.bank.add(canaries(name, generation))
                    mine["added"] += 1
            except ValueError as error:
                if "is not in the bank" not in str(error) and "is in the bank already" not in str(error):
                    raise
                mine["changes refused"] += 1
            time.sleep(draw.random() * 2e-3)


def main() -> None:
    """Runs the campaign and prints one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--askers", type=int, default=8)
    parser.add_argument("--changers", type=int, default=3)
    parser.add_argument("--answers", type=int, default=100_000)
    settings = parser.parse_args()
    begin, campaign = time.perf_counter(), Campaign(settings.askers, settings.changers, settings.answers)
    counts = campaign.run()
    print(*(f"{counts[what]} {what}" for what in WHAT), f"{time.perf_counter() - begin:.0f} s", sep=", ")
    for problem in campaign.problems:
        print(problem, file=sys.stderr)
    sys.exit(bool(campaign.problems))


WHAT = (
    "answers",
    "wrong",
    "errors",
    "rows",
    "added",
    "removed",
    "failed inside",
    "changes refused",
    "refused by name",
    "stale indices refused",
    "places",
)

if __name__ == "__main__":
    main()
