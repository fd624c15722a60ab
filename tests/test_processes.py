"""Independent work in several processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from taskfold import processes
from taskfold.processes import ProcessLostError, side_by_side, worthwhile


def numbers(common: int, count: int) -> Iterator[tuple[int, int, int]]:
    for n in range(count):
        yield common + n, os.getpid(), torch.get_num_threads()


def failing(common: int, how: str) -> Iterator[int]:
    yield common
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise KeyError(how)


def test_pieces_go_to_processes_that_share_the_cores_and_answer_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "cores", lambda: 4)
    pieces = [partial(numbers, count=count) for count in (3, 1, 2)]
    alone, apart = [*side_by_side(5, pieces)], [*side_by_side(5, pieces, 2)]
    assert {pid for _, (_, pid, _) in alone} == {os.getpid()}
    assert len({pid for _, (_, pid, _) in apart}) == 2
    assert {threads for _, (*_, threads) in apart} == {2}
    assert sorted((n, one[0]) for n, one in apart) == [(n, one[0]) for n, one in alone]


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ("wrong", KeyError, "wrong"),
        ("killed", ProcessLostError, r"process of piece 1 was lost \(exit code -9.*use fewer processes"),
    ],
)
def test_an_error_says_where(how: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        dict(side_by_side(7, [partial(failing, how=how)], 2))
    assert how == "killed" or "in failing" in caught.value.__notes__[0]


def test_at_least_one_process() -> None:
    with pytest.raises(ValueError, match="processes must be ≥ 1, found 0"):
        next(side_by_side(7, [], 0))


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.whole)])
def test_ctrl_c_and_a_killed_parent_leave_no_process(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "script.py"
    script.write_text("""
import os, signal, time
from taskfold.processes import side_by_side

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs that ignore Ctrl-C

def slow(common):
    yield os.getpid()
    time.sleep(60)

if __name__ == "__main__":
    for _, pid in side_by_side(None, [slow, slow], 2):
        print(pid, flush=True)
""")
    asked = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert asked.stdout
    pids = [int(asked.stdout.readline()) for _ in range(2)]
    if how is signal.SIGINT:
        os.killpg(asked.pid, how)  # as a terminal does
    else:
        asked.kill()
    with asked:
        said = asked.communicate(timeout=30)[1]
    assert said.count("Traceback") == (how is signal.SIGINT), said
    gone = time.monotonic() + 10
    while any(running(pid) for pid in pids):
        assert time.monotonic() < gone
        time.sleep(0.02)


def running(pid: int) -> bool:
    try:
        return not re.search(r"^State:\s+Z", Path(f"/proc/{pid}/status").read_text(), re.M)
    except FileNotFoundError:
        return False


def test_as_many_processes_as_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "cores", lambda: 8)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert [worthwhile(*of) for of in ((3,), (20,), (20, 3), (20, 9))] == [3, 8, 2, 1]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert worthwhile(20, None) == 2
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert worthwhile(20) == 1
