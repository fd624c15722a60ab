from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from taskfold.threads import Threads, chosen, cores

COUNTS = (1, 2, 4, 8)


class Machine:
    """A clock that work moves: how long it takes depends on torch's threads."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.seconds, self.now, self.used = seconds, 0.0, list[int]()
        self.said: list[dict[str, object]] = []

    def threads(self) -> Threads:
        return Threads("auto", COUNTS, self.said.append, lambda: self.now)

    def work(self, threads: Threads, pieces: int, rows: int = 1) -> float:
        """Seconds that so many pieces took; a third of each is done halfway."""
        begun = self.now
        for _ in range(pieces):
            with threads.piece(rows):
                self.used.append(torch.get_num_threads())
                self.now += rows * self.seconds(torch.get_num_threads()) / 3
                threads.halfway(rows)
                self.now += rows * self.seconds(torch.get_num_threads()) * 2 / 3
        return self.now - begun


MACHINES: dict[str, Callable[[int], float]] = {
    "more are faster": lambda count: 1.2 / count + 0.1,
    "two cores": lambda count: {1: 1.15, 2: 0.75, 4: 0.9, 8: 1.6}[count],
    "others work here": lambda count: {1: 1.3}.get(count, 10.0 * count),
    "two of four": lambda count: {1: 1.0, 2: 0.6}.get(count, 3.0 * count),
    "all the same": lambda count: 0.1,
    "quick pieces": lambda count: 1e-3 / count + 1e-4,
}


@pytest.mark.parametrize("name", MACHINES)
def test_the_fastest_is_kept_and_finding_it_costs_little(name: str) -> None:
    seconds = MACHINES[name]
    machine, best = Machine(seconds), min(COUNTS, key=lambda count: (seconds(count), count))
    pieces = 4000 if name == "quick pieces" else 120
    with machine.threads() as threads:
        taken = machine.work(threads, pieces)
        assert threads.count == torch.get_num_threads() == best
    assert {one["threads"] for one in machine.said} == {best}
    assert machine.said[0]["why"] == "start"
    assert set(machine.used[-pieces // 2 :]) == {best}
    assert taken < 1.3 * pieces * seconds(best)


def test_a_number_that_is_far_too_slow_is_given_up_within_its_piece() -> None:
    machine = Machine(lambda count: 1.0 if count == 1 else 30.0)
    with machine.threads() as threads:
        machine.work(threads, 2)
        assert machine.work(threads, 1) == pytest.approx(10 + 2 / 3)
        machine.work(threads, 10)
    assert machine.used.count(2) == 1 and 4 not in machine.used


def test_what_torch_needs_to_get_ready_does_not_count() -> None:
    machine, ready = Machine(lambda count: 0.0), set[int]()

    def seconds(count: int) -> float:
        first = count not in ready
        ready.add(count)
        return 0.4 if first else 0.02 / count

    machine.seconds = seconds
    with machine.threads() as threads:
        machine.work(threads, 100)
        assert threads.count == 8


def test_rows_of_pieces_may_differ() -> None:
    machine = Machine(MACHINES["more are faster"])
    with machine.threads() as threads:
        for rows in 7, 1, 2, 64, 1, 9, 3, 3, 5, 8, 2, 2, 30, 1, 1, 6, 5:
            machine.work(threads, 1, rows)
        assert threads.count == 8


def test_when_work_becomes_slower_it_is_measured_again() -> None:
    machine = Machine(MACHINES["two cores"])
    with machine.threads() as threads:
        machine.work(threads, 40)
        assert threads.count == 2
        machine.seconds = MACHINES["others work here"]
        machine.work(threads, 1)
        assert len(machine.said) == 1  # one piece may be slow for any reason
        machine.work(threads, 20)
        assert threads.count == 1
        machine.work(threads, 20)
    assert [one["why"] for one in machine.said] == ["start", "slower"]


def test_when_the_machine_becomes_idle_that_is_found_in_time() -> None:
    machine = Machine(MACHINES["others work here"])
    with machine.threads() as threads:
        machine.work(threads, 40)
        machine.seconds = MACHINES["two cores"]
        machine.work(threads, 800)
        assert threads.count == 2
    assert [one["why"] for one in machine.said][:2] == ["start", "again"]


def test_slow_for_all_alike_is_the_new_usual() -> None:
    machine = Machine(lambda count: 1.0 + count)
    with machine.threads() as threads:
        machine.work(threads, 10)
        machine.seconds = lambda count: 3.0 + count
        machine.work(threads, 40)
        assert threads.count == 1
    assert [one["why"] for one in machine.said] == ["start", "slower"]


@pytest.mark.parametrize("choice", [None, 2, "auto"])
def test_torch_gets_its_threads_back(choice: int | str | None) -> None:
    before = torch.get_num_threads()

    def fail(threads: Threads) -> None:
        with threads, threads.piece():
            assert torch.get_num_threads() == {None: before, 2: 2, "auto": 1}[choice]
            torch.set_num_threads(before + 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail(Threads(choice))  # type: ignore[arg-type]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("choice", [0, -1, 1.5, True, "many"])
def test_what_is_no_choice_is_refused(choice: object) -> None:
    with pytest.raises(ValueError, match="threads must be a whole number ≥ 1, 'auto' or None, found"):
        Threads(choice)  # type: ignore[arg-type]


def test_what_is_said_comes_before_the_environment_and_that_before_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert chosen(None, "auto") == "auto" and chosen(2, "auto") == 2
    assert chosen(None, None) is None  # as torch is set: it has read the variable
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert chosen(None, None) == "auto"


def test_elsewhere_than_on_one_process_of_a_cpu_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert Threads.of("auto", torch.device("cuda")).choice is None
    assert Threads.of(3, torch.device("cuda")).choice == 3
    assert Threads.of("auto", torch.device("cpu"), 2).choice == max(1, cores() // 2)


def test_calls_of_a_module_are_pieces_and_hooks_go() -> None:
    machine = Machine(MACHINES["two cores"])

    class Slow(nn.Module):
        def forward(self, x: torch.Tensor, fail: bool = False) -> torch.Tensor:
            machine.now += len(x) * machine.seconds(torch.get_num_threads())
            if fail:
                raise RuntimeError
            return x

    network = Slow()
    with machine.threads() as threads, threads.over(network):
        with pytest.raises(RuntimeError):
            network(torch.zeros(4, 1), fail=True)
        for rows in (3, 4, 5) * 10:
            network(x=torch.zeros(rows, 1))
        assert threads.count == 2
    assert not network._forward_hooks and not network._forward_pre_hooks
