"""A store keeps every version of a task, and a kill leaves the old one or the new one."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import taskfold as tfold
from taskfold.files import alone_in
from taskfold.tasks import Store, TaskFileError, read_header


@pytest.fixture
def model() -> tfold.MultiTask:
    torch.manual_seed(0)
    made = tfold.MultiTask(nn.Sequential(nn.Linear(4, 4)), tfold.LoRA(rank=2), num_features=4).eval()
    made.add_task("cars", head=2)
    return made


def publish(model: tfold.MultiTask, store: Store, score: float, name: str = "cars", **record: Any) -> str:
    model[name].info.metrics["accuracy"] = score
    file = store.folder.parent / "made.safetensors"
    return store.publish(model.save_task(name, file), record or None).digest


def score(store: Store, name: str = "cars") -> float:
    return read_header(store.path(name))["info"]["metrics"]["accuracy"]


def test_versions_follow_one_another_and_go_back(model: tfold.MultiTask, tmp_path: Path) -> None:
    store = Store(tmp_path / "tasks")
    first, second = publish(model, store, 0.1, note="one"), publish(model, store, 0.2)
    assert [version.digest for version in store.versions("cars")] == [first, second]
    assert store.current("cars").digest == second and store.record("cars") is None
    assert store.rollback("cars").digest == first and score(store) == 0.1 and store.record("cars") == {"note": "one"}
    with pytest.raises(ValueError, match="has no version before"):
        store.rollback("cars")
    assert store.rollback("cars", second[:6]).digest == second and score(store) == 0.2
    publish(model, store, 0.1)
    assert [version.digest for version in store.versions("cars")] == [second, first]
    assert [entry["event"] for entry in store.history("cars")].count("rolled back") == 2


def test_what_was_removed_comes_back_unless_it_was_purged(model: tfold.MultiTask, tmp_path: Path) -> None:
    store = Store(tmp_path / "tasks")
    publish(model, store, 0.1)
    store.remove("cars")
    assert store.names() == [] and store.digest("cars") is None
    with pytest.raises(ValueError, match="there is no task 'cars'"):
        store.current("cars")
    store.rollback("cars")
    assert store.names() == ["cars"]
    store.remove("cars", purge=True)
    assert not list(store.folder.iterdir())


def test_a_renamed_task_keeps_numbers_versions_and_record(model: tfold.MultiTask, tmp_path: Path) -> None:
    store = Store(tmp_path / "tasks")
    publish(model, store, 0.1, note="one"), publish(model, store, 0.2, note="two")
    store.rollback("cars")
    renamed = store.rename("cars", "trucks")
    assert store.names() == ["trucks"] and not (store.folder / "cars").exists()
    assert len(store.versions("trucks")) == 2 and store.record("trucks") == {"note": "one"}
    again = tfold.MultiTask(model.backbone, num_features=4).eval()
    again.load_task(renamed.path)
    x = torch.randn(3, 4)
    assert torch.equal(again(x, task="trucks"), model(x, task="cars"))


def test_names_that_are_taken_are_refused(model: tfold.MultiTask, tmp_path: Path) -> None:
    store = Store(tmp_path / "tasks")
    publish(model, store, 0.1)
    model.add_task("vans", head=2)
    publish(model, store, 0.1, name="vans")
    for name, why in [("vans", "exists already"), ("Vans", "case or composition"), ("a/b", "not allowed")]:
        with pytest.raises(ValueError, match=why):
            store.rename("cars", name)
    assert store.names() == ["cars", "vans"]


def test_a_damaged_file_is_not_published_nor_brought_back(model: tfold.MultiTask, tmp_path: Path) -> None:
    store = Store(tmp_path / "tasks")
    first = publish(model, store, 0.1)
    publish(model, store, 0.2)
    old = store.versions("cars")[0].path
    damaged = bytearray(old.read_bytes())
    damaged[-1] ^= 1
    old.unlink()
    old.write_bytes(damaged)
    for act in (lambda: store.rollback("cars", first), lambda: store.publish(old)):
        with pytest.raises(TaskFileError, match="damaged"):
            act()
    assert score(store) == 0.2


def test_a_file_that_was_there_before_becomes_a_version(model: tfold.MultiTask, tmp_path: Path) -> None:
    store = Store(tmp_path)
    model["cars"].info.metrics["accuracy"] = 0.1
    model.save_task("cars", tmp_path / "cars.safetensors")
    assert [version.current for version in store.versions("cars")] == [True]
    model["cars"].info.metrics["accuracy"] = 0.2
    store.publish(model.save_task("cars", tmp_path / "made"))
    store.rollback("cars")
    assert score(store) == 0.1


def test_one_whose_inventory_is_shared_keeps_its_current_version(tmp_path: Path) -> None:
    model = tfold.MultiTask(nn.Sequential(nn.Linear(4, 4)), tfold.Poly(rank=2, skills=2), num_features=4).eval()
    model.add_task("cars", head=2)
    store = Store(tmp_path / "tasks")
    publish(model, store, 0.1)
    latest = publish(model, store, 0.2)
    assert [version.digest for version in store.versions("cars")] == [latest]


@pytest.mark.parametrize("act", ["publish", "rollback", "remove"])
def test_a_kill_leaves_the_old_version_or_the_new_one(model: tfold.MultiTask, tmp_path: Path, act: str) -> None:
    allowed = {"publish": {0.2, 0.3}, "rollback": {0.1, 0.2}, "remove": {0.2, None}}[act]
    seen = set()
    for step in range(60):
        store = Store(tmp_path / str(step) / "tasks")
        store.folder.parent.mkdir()
        publish(model, store, 0.1)
        publish(model, store, 0.2)
        model["cars"].info.metrics["accuracy"] = 0.3
        made = model.save_task("cars", store.folder.parent / "made.safetensors")
        if not (child := os.fork()):
            kill_at(step)
            if act == "publish":
                store.publish(made)
            else:
                getattr(store, act)("cars")
            os._exit(0)
        finished = os.waitpid(child, 0)[1] == 0
        found = score(store) if store.names() else None
        assert found in allowed
        seen.add(found)
        store.rollback("cars", store.versions("cars")[0].digest)  # nothing stands in the way of going on
        assert score(store) == 0.1
        if finished:
            assert seen == allowed
            return
    pytest.fail("more operations on files than expected")


def kill_at(step: int) -> None:
    """This process ends before its file operation of that number."""
    count = iter(range(1000))

    def watched(original: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            if next(count) == step:
                os._exit(9)
            return original(*given, **named)

        return call

    for name in ("replace", "link", "unlink", "fsync", "mkdir"):
        setattr(os, name, watched(getattr(os, name)))


def test_what_was_rolled_back_and_removed_comes_back_as_it_was(model: tfold.MultiTask, tmp_path: Path) -> None:
    store = Store(tmp_path / "tasks")
    first, _ = publish(model, store, 0.1), publish(model, store, 0.2)
    store.rollback("cars")
    store.remove("cars")
    assert store.rollback("cars").digest == first == store.digest("cars")


def test_one_change_of_a_store_waits_for_another(model: tfold.MultiTask, tmp_path: Path) -> None:
    store = Store(tmp_path / "tasks")
    first = publish(model, store, 0.1)
    with ThreadPoolExecutor(1) as other:
        with alone_in(store.folder):
            second = other.submit(publish, model, store, 0.2)
            with pytest.raises(FutureTimeout):
                second.result(0.2)
            assert store.digest("cars") == first
        assert second.result(10) == store.digest("cars")
