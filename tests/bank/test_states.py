"""After any sequence of changes every task of the bank answers as it does by itself, and the tables stay small."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from taskfold import Bank
from taskfold.kinds import Rows
from taskfold.model._heads import GROWTH
from taskfold.model._table import Table

from .faults import FAULTS
from .pool import METHODS, Pool

pool = Pool()
NAMES = st.sampled_from([f"n{n}" for n in range(6)])
KEYS = st.sampled_from(list(METHODS))
Held = dict[str, str]


class Changes(RuleBasedStateMachine):
    """A bank, beside a dict that says which task of the pool each of its names is."""

    @initialize(settled=st.booleans())
    def begin(self, settled: bool) -> None:
        """An empty bank; `settled`: its rows have room for every task, so that tables share memory."""
        self.bank = pool.model.bank(METHODS if settled else [])
        for name in METHODS if settled else ():
            self.bank.remove(name)
        self.held: Held = {}
        self.born: dict[str, int] = {}
        self.step = 0
        self.indices: list[tuple[torch.Tensor, dict[str, int]]] = []
        self.readers: list[tuple[Table, Held, int]] = []
        self.gone: list[int] = []  # when
        self.most = len(METHODS) if settled else 0
        self.outputs = sum(answer.shape[1] for answer in pool.answers.values()) if settled else 0

    def added(self, name: str, key: str) -> None:
        self.step += 1
        self.held[name], self.born[name] = key, self.step
        self.measure()

    def forgotten(self, name: str) -> None:
        self.step += 1
        del self.held[name], self.born[name]
        self.gone.append(self.step)
        self.measure()

    def measure(self) -> None:
        """How many places and outputs are needed: of tasks, and of those that a table which somebody reads may name."""
        since = min((when for _, _, when in self.readers), default=self.step + 1)
        self.gone = [when for when in self.gone if when > since]
        self.most = max(self.most, len(self.held) + len(self.gone))
        self.outputs = max(self.outputs, sum(pool.answers[key].shape[1] for key in self.held.values()))

    # Changes

    @rule(name=NAMES, key=KEYS)
    def add(self, name: str, key: str) -> None:
        if name in self.held:
            with pytest.raises(ValueError, match=f"task '{name}' is in the bank already"):
                self.bank.add(pool.model[key], name)
        else:
            self.bank.add(pool.model[key], name)
            self.added(name, key)

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        if name in self.held:
            self.bank.remove(name)
            self.forgotten(name)
        else:
            with pytest.raises(ValueError, match=f"task '{name}' is not in the bank, which has {len(self.held)}"):
                self.bank.remove(name)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), name=NAMES)
    def rename(self, data: st.DataObject, name: str) -> None:
        """There is no renaming: the task is added under another name, and its old name removed."""
        old = data.draw(st.sampled_from(list(self.held)))
        if name not in self.held:
            key = self.held[old]
            self.bank.add(pool.model[key], name)
            self.added(name, key)
            self.bank.remove(old)
            self.forgotten(old)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), key=KEYS)
    def replace(self, data: st.DataObject, key: str) -> None:
        name = data.draw(st.sampled_from(list(self.held)))
        self.bank.remove(name)
        self.forgotten(name)
        self.bank.add(pool.model[key], name)
        self.added(name, key)

    @rule(name=NAMES, key=KEYS, fault=st.sampled_from(list(FAULTS)), at=st.integers(0, 150))
    def fail(self, name: str, key: str, fault: str, at: int) -> None:
        """An addition fails somewhere inside, or comes through if it has fewer operators or lines."""
        if name not in self.held:
            self.attempt(fault, at, lambda: self.bank.add(pool.model[key], name))
            if name in self.bank:
                self.added(name, key)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), fault=st.sampled_from(list(FAULTS)), at=st.integers(0, 60))
    def fail_to_remove(self, data: st.DataObject, fault: str, at: int) -> None:
        name = data.draw(st.sampled_from(list(self.held)))
        self.attempt(fault, at, lambda: self.bank.remove(name))
        if name not in self.bank:
            self.forgotten(name)

    @rule(fault=st.sampled_from(["not linear", "features", "none"]), key=KEYS)
    def refuse(self, fault: str, key: str) -> None:
        head = {"not linear": torch.nn.Sequential(), "features": torch.nn.Linear(5, 2), "none": None}[fault]
        task = pool.model[key]
        before, task.head = task.head, head
        try:
            if self.bank.table.heads.used or fault == "not linear":
                with pytest.raises(ValueError, match="head"):
                    self.bank.add(task, "refused")
        finally:
            task.head = before

    def attempt(self, fault: str, at: int, change: Any) -> None:
        mode, error = FAULTS[fault]
        try:
            with mode(at):
                change()
        except error as raised:
            # What a traceback holds is in use; pytest and hypothesis keep none of it.
            raised.__traceback__ = None

    # Readers

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def note(self, data: st.DataObject) -> None:
        names = data.draw(st.lists(st.sampled_from(list(self.held)), min_size=1, max_size=4))
        self.indices.append((self.bank.index(names), {name: self.born[name] for name in names}))

    @precondition(lambda self: self.held and len(self.readers) < 3)
    @rule()
    def begin_to_read(self) -> None:
        """A pass that has taken its table, and is slow."""
        self.readers.append((self.bank.table, dict(self.held), self.step))

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def read_on(self, data: st.DataObject) -> None:
        table, held, _ = self.readers.pop(data.draw(st.integers(0, len(self.readers) - 1)))
        answers(self.bank, table, held)
        del table
        self.measure()

    def teardown(self) -> None:
        for table, held, _ in getattr(self, "readers", ()):
            answers(self.bank, table, held)

    # What holds

    @invariant()
    @torch.no_grad()
    def every_task_answers_as_itself(self) -> None:
        pool.check_all(self.bank, self.held)

    @invariant()
    @torch.no_grad()
    def an_index_answers_or_is_refused(self) -> None:
        for index, born in self.indices[-3:]:
            x = pool.x[:1].expand(len(index), *pool.x.shape[1:])
            if all(self.born.get(name) == when for name, when in born.items()):
                names = [{number: name for name, number in self.bank.table.tasks.items()}[n] for n in index.tolist()]
                for row, name in zip(self.bank(x, index=index), names, strict=True):
                    wanted = pool.answers[self.held[name]][0]
                    torch.testing.assert_close(row[: len(wanted)], wanted, rtol=1e-4, atol=1e-4)
                    assert row[len(wanted) :].isneginf().all()
            else:
                gone = next(name for name, when in born.items() if self.born.get(name) != when)
                with pytest.raises(ValueError, match=f"index was made for task '{gone}', which is gone since"):
                    self.bank(x, index=index)

    @invariant()
    def tables_stay_small(self) -> None:
        table = self.bank.table
        assert len(table.numbers) <= max(self.most, int(self.most * GROWTH))
        assert len(table.free) + len(table.leaving) + len(table.places) <= max(self.most, 1)
        assert len(table.heads.weight) <= int(2 * GROWTH * self.outputs) + 1
        assert self.bank.nbytes() == sum(b.nbytes for b in table.buffers())
        assert len(self.bank._older) <= 2 + len(self.readers), "tables that nobody reads are forgotten"


@torch.no_grad()
def answers(bank: Bank, table: Table, held: Held) -> None:
    """Whether a pass that took that table answers as the bank did then, whatever has come since."""
    names = [name for name in held for _ in pool.x]
    places = tuple(table.places[name] for name in names)
    index = torch.tensor(places)
    made = bank._mixed(
        table, Rows(len(places), index, places=places, gathers=True), index, (torch.cat([pool.x] * len(held)),), {}
    )
    found = torch.stack([row[:1] for row in made]).reshape(len(held), -1)
    wanted = torch.stack([pool.answers[key][:, 0] for key in held.values()])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


TestChanges = Changes.TestCase
TestChanges.settings = settings(
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
