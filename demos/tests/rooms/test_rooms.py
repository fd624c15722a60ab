"""Rendered rooms: the same every time, sound, and a folder that is never half believed."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if importlib.util.find_spec("pybullet") is None:
    pytest.skip("pybullet is not installed", allow_module_level=True)

from taskfold.data import DataError, MissingExtraError
from taskfold.dense.sources.nyuv2 import NYUv2
from taskfold_demos.rooms import CLASSES, IGNORE, Renderer, View, _dataset, room, rooms
from taskfold_demos.rooms._scene import draw_scene

KINDS = ("image", "label", "depth", "normal", "instance")
TINY: dict[str, Any] = {"train": 2, "val": 1, "test": 1, "size": (32, 64), "quiet": True}


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer() as one:
        yield one


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rooms(tmp_path_factory.mktemp("rooms") / "whole", **TINY)


def data(view: View) -> list[bytes]:
    return [getattr(view, kind).tobytes() for kind in KINDS]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_room_is_the_same_whatever_was_rendered_before(renderer: Renderer) -> None:
    first = data(room(5, size=(64, 96), renderer=renderer))
    for index in (0,):
        room(index, size=(64, 64), renderer=renderer)
    assert data(room(5, size=(64, 96), renderer=renderer)) == first
    assert data(room(5, size=(64, 96))) == first


def test_another_seed_part_or_number_is_another_room(renderer: Renderer) -> None:
    drawn = [(0, "train", 0), (1, "train", 0), (0, "val", 0), (0, "test", 0), (0, "train", 1)]
    depths = {room(i, part, seed=seed, size=(32, 32), renderer=renderer).depth.tobytes() for i, part, seed in drawn}
    assert len(depths) == len(drawn)


@pytest.mark.parametrize("index", range(4))
def test_what_a_view_promises(renderer: Renderer, index: int) -> None:
    view = room(index, "val", size=(64, 96), renderer=renderer)
    assert [getattr(view, kind).dtype for kind in KINDS] == ["float32", "int8", "float32", "float32", "int16"]
    assert view.image.min() >= 0 and view.image.max() <= 1
    assert 0.25 < view.image.mean() < 0.75 and view.image.std() > 0.05
    assert (view.label >= 0).all() and (view.label < len(CLASSES)).all()  # a room is closed: nothing is unlabelled
    assert (view.depth > 0.1).all() and (view.depth < 9).all()
    length = np.linalg.norm(view.normal, axis=-1)
    assert set(np.unique(length.round(5))) <= {0.0, 1.0}
    assert (length > 0).mean() > 0.85
    # What is seen faces the eye.
    rows, columns = np.indices(view.label.shape)
    focal = 32 / np.tan(np.radians(30))
    toward = -np.stack([(columns - 47.5) / focal, (31.5 - rows) / focal, -np.ones(view.label.shape)], -1)
    assert ((view.normal * toward).sum(-1)[length > 0] > 0).all()
    assert len(np.unique(view.label)) >= 4
    for one in np.unique(view.instance):
        assert len(np.unique(view.label[view.instance == one])) == 1


def test_every_class_is_in_some_room() -> None:
    scenes = [draw_scene(np.random.default_rng(seed)) for seed in range(20)]
    assert {part.of for scene in scenes for placed in scene.things for part in placed.thing.parts} == set(CLASSES)


def test_the_folder_has_nyuv2s_layout(made: Path, renderer: Renderer) -> None:
    said = json.loads((made / "rooms.json").read_text())
    assert said["classes"] == list(CLASSES) and said["ignore"] == IGNORE == -1
    assert (said["version"], said["seed"], said["size"]) == (1, 0, [32, 64])
    for part in ("train", "val", "test"):
        assert said["rooms"][part] == TINY[part]
        for index in range(TINY[part]):
            view = room(index, part, size=(32, 64), renderer=renderer)
            for kind in KINDS:
                np.testing.assert_array_equal(
                    np.load(made / part / kind / f"{index}.npy", allow_pickle=False), getattr(view, kind)
                )
    assert len(contents(made)) == 1 + 5 * (2 + 1 + 1)


def test_the_loader_of_nyuv2_reads_it(made: Path, renderer: Renderer) -> None:
    loaded = NYUv2(root=made, labels=CLASSES).load()
    assert {split: len(images) for split, images in loaded.splits.items()} == {
        k: TINY[k] for k in ("train", "val", "test")
    }
    sample, view = loaded.train[0], room(0, size=(32, 64), renderer=renderer)
    np.testing.assert_allclose(sample.image.permute(1, 2, 0), view.image, atol=1e-6)
    np.testing.assert_array_equal(sample.targets["segmentation"][0], view.label)
    np.testing.assert_array_equal(sample.targets["depth"].permute(1, 2, 0), view.depth)
    np.testing.assert_allclose(sample.targets["normals"].permute(1, 2, 0), view.normal, atol=1e-6)


def test_a_folder_that_is_there_is_not_made_again_and_needs_no_pybullet(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    monkeypatch.setitem(sys.modules, "pybullet", None)
    assert rooms(made, **TINY) == made
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before


def test_an_interrupted_run_is_completed(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, save, saved = tmp_path / "half", _dataset.save, []

    def stops(view: View, folder: Path, index: int) -> None:
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(index)
        save(view, folder, index)

    monkeypatch.setattr(_dataset, "save", stops)
    with pytest.raises(KeyboardInterrupt):
        rooms(place, **TINY)
    assert not (place / "rooms.json").exists()
    (place / "train" / "depth" / "1.npy").write_bytes(b"cut off")
    monkeypatch.setattr(_dataset, "save", save)
    kept = (place / "train" / "image" / "0.npy").stat().st_mtime_ns
    rooms(place, **TINY)
    assert contents(place) == contents(made)
    assert (place / "train" / "image" / "0.npy").stat().st_mtime_ns == kept


def test_a_file_that_is_lost_later_is_made_again(made: Path, tmp_path: Path) -> None:
    place = tmp_path / "copy"
    shutil.copytree(made, place)
    (place / "test" / "normal" / "0.npy").unlink()
    rooms(place, **TINY)
    assert contents(place) == contents(made)


@pytest.mark.parametrize(
    ("changed", "named"), [({"seed": 1}, "seed"), ({"size": (64, 64)}, "size"), ({"train": 4}, "rooms")]
)
def test_rooms_of_other_settings_are_refused(made: Path, changed: dict[str, Any], named: str) -> None:
    before = contents(made)
    with pytest.raises(DataError, match=f"holds rooms of another .*{named}"):
        rooms(made, **TINY | changed)
    assert contents(made) == before


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="something that is not rendered rooms"):
        rooms(tmp_path, **TINY)
    (tmp_path / "rooms.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        rooms(tmp_path, **TINY)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"size": (100, 160)}, r"multiples of 32.*got \(100, 160\)"),
        ({"size": (0, 32)}, "multiples of 32"),
        ({"size": (32, 32, 3)}, "multiples of 32"),
        ({"train": 0}, "train must be a whole number, 1 or more; got 0"),
        ({"val": -1}, "val must be"),
        ({"test": 1.5}, "test must be"),
        ({"seed": -1}, "seed must be a whole number, 0 or more"),
        ({"processes": 0}, "processes must be"),
    ],
)
def test_what_cannot_be_made_says_so(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        rooms(tmp_path / "none", **TINY | changed)
    assert not (tmp_path / "none").exists()


def test_a_part_that_is_none() -> None:
    with pytest.raises(ValueError, match="train, val, test, got 'dev'"):
        room(0, "dev")


def test_without_pybullet_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pybullet", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*pybullet"):
        rooms(tmp_path / "none", **TINY)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("variable", "below"), [("TASKFOLD_DATA", "rooms"), ("XDG_CACHE_HOME", "taskfold/rooms")])
def test_by_default_they_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, below: str) -> None:
    monkeypatch.delenv("TASKFOLD_DATA", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    found = _dataset.default_folder({"train": 3, "val": 1, "test": 2}, (32, 64), 7)
    assert found == tmp_path / below / "v1-32x64-3-1-2-seed7"


@pytest.mark.slow
def test_nothing_is_printed() -> None:
    code = "from taskfold_demos.rooms import room; room(0, size=(32, 32))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.slow
def test_several_processes_make_the_same_bytes(made: Path, tmp_path: Path) -> None:
    assert contents(rooms(tmp_path / "two", processes=2, **TINY)) == contents(made)
