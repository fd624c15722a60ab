"""What stands and hangs in rendered rooms, as instances."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from taskfold.data import DataError, MissingDataError
from taskfold_demos.rooms import CLASSES, THINGS, RoomInstances, rooms

BED, CHAIR, TV, WALL = (CLASSES.index(name) for name in ("bed", "chair", "tv", "wall"))


def write(root: Path) -> Path:
    """Room 0: a wall, a chair that hides a bed's middle, a speck of tv. Room 1: walls."""
    label, instance = np.full((2, 12, 16), WALL, np.int8), np.zeros((2, 12, 16), np.int16)
    label[0, 2:8, 1:13], instance[0, 2:8, 1:13] = BED, 5
    label[0, 1:10, 5:8], instance[0, 1:10, 5:8] = CHAIR, 2
    label[0, 9, 5] = -1  # one pixel without a class does not change the chair's
    label[0, 0, 14:], instance[0, 0, 14:] = TV, 7
    instance[0, 11, 15] = -1
    images = np.random.default_rng(0).random((2, 12, 16, 3), dtype=np.float32)
    for name, values in {"image": images, "label": label, "instance": instance}.items():
        (root / "train" / name).mkdir(parents=True)
        for number, value in enumerate(values):
            np.save(root / "train" / name / f"{number}.npy", value)
    return root


def test_things_become_objects(tmp_path: Path) -> None:
    data = RoomInstances(write(tmp_path), classes=("tv", "chair", "bed"))
    assert len(data) == 2
    assert data.labels == ("tv", "chair", "bed")
    assert data.counts == {"tv": 0, "chair": 1, "bed": 1}
    assert data.notes == ("1 things of fewer than 16 pixels left out",)
    sample = data[0]
    assert sample.classes.tolist() == [2, 3]  # in order of the instance's number
    assert sample.boxes.tolist() == [[5, 1, 8, 10], [1, 2, 13, 8]]
    assert sample.masks.flatten(1).sum(1).tolist() == [9 * 3, 6 * 12 - 6 * 3]
    assert sample.masks[1].any(0).tolist() == [False, *[True] * 4, *[False] * 3, *[True] * 5, *[False] * 3]
    assert np.array_equal(sample.image.permute(1, 2, 0).numpy(), np.load(tmp_path / "train" / "image" / "0.npy"))
    assert [tuple(part.shape) for part in data[1].target().values()] == [(0, 4), (0,), (0, 12, 16)]


def test_what_is_an_object_is_a_choice(tmp_path: Path) -> None:
    everything = RoomInstances(write(tmp_path), min_area=1, empty=False)
    assert everything.labels == THINGS
    assert everything.notes == ("1 images without objects left out",)
    assert sorted(everything.labels[c - 1] for c in everything[0].classes.tolist()) == ["bed", "chair", "tv"]
    assert RoomInstances(tmp_path, classes=["wall"])[1].masks.all()


def spoil(name: str, value: np.ndarray) -> Callable[[Path], None]:
    return lambda root: np.save(root / "train" / name / "1.npy", value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoil("label", np.zeros((3, 4), np.int8)), r"label.1\.npy is \(3, 4\), .* \(12, 16\)"),
        (spoil("label", np.full((12, 16), 40)), r"label.1\.npy: classes must be below 13, found 40"),
        (spoil("instance", np.zeros((12, 16))), r"instance.1\.npy: must be whole numbers \[H, W\], found float64"),
        (lambda root: (root / "train/instance/1.npy").unlink(), "image and instance must have files .* not so 1"),
        (lambda root: [path.unlink() for path in root.glob("train/*/*.npy")], "has no images"),
    ],
)
def test_folders_that_are_not_so(change: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    change(write(tmp_path))
    with pytest.raises(DataError, match=message):
        RoomInstances(tmp_path)


def test_settings_that_cannot_be(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(ValueError, match=r"classes must be of bed, .*; found sopha"):
        RoomInstances(tmp_path, classes=("bed", "sopha"))
    with pytest.raises(ValueError, match="each once"):
        RoomInstances(tmp_path, classes=("bed", "bed"))
    with pytest.raises(ValueError, match=r"min_area must be .* found 0"):
        RoomInstances(tmp_path, min_area=0)
    with pytest.raises(MissingDataError, match=r"no folder .*test"):
        RoomInstances(tmp_path, "test")
    with pytest.raises(DataError, match="no images with objects"):
        RoomInstances(tmp_path, classes=("window",), empty=False)
    spoil("image", np.zeros((3, 4, 3), np.float32))(tmp_path)
    with pytest.raises(DataError, match=r"instance.1\.npy is \(12, 16\), its image \(3, 4\)"):
        _ = RoomInstances(tmp_path)[1]


def test_rendered_rooms_are_read(tmp_path: Path) -> None:
    pytest.importorskip("pybullet")
    root = rooms(tmp_path / "rooms", train=2, val=1, test=1, size=(32, 64), seed=1, quiet=True)
    assert "classes" in json.loads((root / "rooms.json").read_text())
    for sample in RoomInstances(root, "train", min_area=1):  # type: ignore[attr-defined]
        inside = sample.masks.flatten(1).sum(1)
        width, height = (sample.boxes[:, 2:] - sample.boxes[:, :2]).T
        assert len(inside) > 3
        assert (inside >= 1).all() and (inside <= width * height).all()
        assert (sample.masks.sum(0) <= 1).all()  # no pixel is two things
