from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision

from taskfold.data import DataError, MissingDataError
from taskfold.data.sources import Dtd


@pytest.fixture
def root(tmp_path: Path, paint: Any) -> Path:
    base = tmp_path / "dtd" / "dtd"
    (base / "labels").mkdir(parents=True)
    for partition in (1, 2):
        for n, split in enumerate(("train", "val", "test")):
            files = [f"{label}/{label}_{(n + partition) % 3}.jpg" for label in ("banded", "dotted")]
            (base / "labels" / f"{split}{partition}.txt").write_text("\n".join(files) + "\n")
            for file in files:
                paint(base / "images" / file)
    return tmp_path


@pytest.mark.parametrize("partition", [1, 2])
def test_it_reads_what_torchvision_reads(root: Path, partition: int) -> None:
    data = Dtd(root=root, partition=partition).load()
    for split, images in data.splits.items():
        theirs = torchvision.datasets.DTD(root, split, partition)
        assert list(data.labels) == theirs.classes
        assert images.targets == theirs._labels
        for index in range(len(theirs)):
            np.testing.assert_array_equal(np.asarray(images.read(index)), np.asarray(theirs[index][0]))


def test_root_may_be_the_folder_itself(root: Path) -> None:
    assert Dtd(root=root / "dtd" / "dtd").load().test.names == Dtd(root=root).load().test.names


def test_what_is_missing_is_named(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(MissingDataError, match=r"train3\.txt"):
        Dtd(root=root, partition=3).load()
    with pytest.raises(MissingDataError, match=r"looked for .*labels"):
        Dtd(root=tmp_path_factory.mktemp("empty")).load()


def test_a_bad_line_is_quoted(root: Path) -> None:
    (root / "dtd/dtd/labels/val1.txt").write_text("banded_1.jpg\n")
    with pytest.raises(DataError, match=r"val1\.txt.*'banded_1\.jpg'"):
        Dtd(root=root).load()
