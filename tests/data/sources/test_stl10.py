from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torchvision

from taskfold.data import DataError, MissingDataError
from taskfold.data.sources import Stl10


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "stl10_binary"
    place.mkdir()
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        random.integers(0, 256, (6, 3, 96, 96), dtype=np.uint8).tofile(place / f"{split}_X.bin")
        np.array([1, 2, 3, 1, 2, 3], np.uint8).tofile(place / f"{split}_y.bin")
    (place / "class_names.txt").write_text("airplane\nbird\ncar\n")
    return tmp_path


def test_it_reads_what_torchvision_reads(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Stl10(root=root).parts()
    monkeypatch.setattr(torchvision.datasets.STL10, "_check_integrity", lambda _: True)
    for split, images in {"train": parts.train, "test": parts.test}.items():
        theirs = torchvision.datasets.STL10(root, split)
        assert images is not None
        assert list(parts.labels) == theirs.classes
        for index in range(6):
            image, label = theirs[index]
            assert images.targets[index] == label
            np.testing.assert_array_equal(np.asarray(images.read(index)), np.asarray(image))


def test_root_may_be_the_folder_itself(root: Path) -> None:
    assert [len(images) for images in Stl10(root=root / "stl10_binary").load().splits.values()] == [3, 3, 6]


def test_truncation_and_mismatch_are_found(root: Path) -> None:
    place = root / "stl10_binary"
    (place / "train_y.bin").write_bytes(b"\1\2")
    with pytest.raises(DataError, match="6 images and 2 labels"):
        Stl10(root=root).load()
    (place / "train_X.bin").write_bytes((place / "train_X.bin").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"train_X\.bin: must be records of 27648 bytes.*truncated"):
        Stl10(root=root).load()


def test_a_missing_file_is_named(root: Path) -> None:
    (root / "stl10_binary" / "test_y.bin").unlink()
    with pytest.raises(MissingDataError, match=r"test_y\.bin"):
        Stl10(root=root).load()
