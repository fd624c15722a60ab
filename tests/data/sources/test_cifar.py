from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision

from taskfold.data import DataError, MissingDataError
from taskfold.data.sources import Cifar

KINDS = ["cifar10", "cifar100"]
PYTHON = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
NAMES = ["airplane", "bird"]


def batches(kind: str) -> dict[str, tuple[np.ndarray, list[int]]]:
    train = [f"data_batch_{n}" for n in range(1, 6)] if kind == "cifar10" else ["train"]
    test = "test_batch" if kind == "cifar10" else "test"
    random = np.random.default_rng(0)
    return {name: (random.integers(0, 256, (4, 3072), dtype=np.uint8), [0, 1, 1, 0]) for name in [*train, test]}


def write_python(root: Path, kind: str) -> Path:
    place = root / PYTHON[kind]
    place.mkdir()
    labels, names, meta = (
        ("labels", "label_names", "batches.meta") if kind == "cifar10" else ("fine_labels", "fine_label_names", "meta")
    )
    for name, (pixels, targets) in batches(kind).items():
        (place / name).write_bytes(pickle.dumps({"data": pixels, labels: targets}, protocol=2))
    (place / meta).write_bytes(pickle.dumps({names: NAMES}, protocol=2))
    return place


def write_binary(root: Path, kind: str) -> Path:
    place = root / ("cifar-10-batches-bin" if kind == "cifar10" else "cifar-100-binary")
    place.mkdir()
    for name, (pixels, targets) in batches(kind).items():
        fine = np.array(targets, np.uint8)[:, None]
        columns = [fine, pixels] if kind == "cifar10" else [fine + 7, fine, pixels]  # coarse labels come first
        np.concatenate(columns, axis=1).tofile(place / f"{name}.bin")
    (place / ("batches.meta.txt" if kind == "cifar10" else "fine_label_names.txt")).write_text(
        "\n".join(NAMES) + "\n\n"
    )
    return place


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("write", [write_python, write_binary])
def test_both_versions_give_what_torchvision_gives(
    tmp_path: Path, kind: Any, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = tmp_path / "ours"
    ours.mkdir()
    write(ours, kind)
    write_python(tmp_path, kind)
    parts = Cifar(kind=kind, root=ours).parts()
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_, **__: True)
    reader = torchvision.datasets.CIFAR10 if kind == "cifar10" else torchvision.datasets.CIFAR100
    for train, images in ((True, parts.train), (False, parts.test)):
        theirs = reader(str(tmp_path), train=train)
        assert images is not None
        assert list(parts.labels) == theirs.classes
        assert list(images.targets) == theirs.targets
        for index in range(len(theirs)):
            np.testing.assert_array_equal(np.asarray(images.read(index)), np.asarray(theirs[index][0]))


@pytest.mark.parametrize("kind", KINDS)
def test_root_may_be_the_folder_itself(tmp_path: Path, kind: Any) -> None:
    inner = write_binary(tmp_path, kind)
    assert Cifar(kind=kind, root=inner).load().test.names == Cifar(kind=kind, root=tmp_path).load().test.names


def test_a_pickle_with_a_payload_is_refused(tmp_path: Path) -> None:
    place = write_python(tmp_path, "cifar10")

    class Payload:
        def __reduce__(self) -> Any:
            return os.system, (f"rm {place / 'test_batch'}",)

    (place / "data_batch_3").write_bytes(pickle.dumps({"data": Payload(), "labels": []}))
    with pytest.raises(DataError, match=r"data_batch_3 is refused: it asks for .*system"):
        Cifar(kind="cifar10", root=tmp_path).load()
    assert (place / "test_batch").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": np.zeros((4, 3072), np.uint8)}, "must hold 'labels'"),
        ({"data": np.zeros((4, 3072)), "labels": [0] * 4}, r"data must be uint8 \[4, 3072\], found float64"),
        ({"data": np.zeros((3, 3072), np.uint8), "labels": [0] * 4}, r"found uint8 \[3, 3072\]"),
        ([1, 2], "must hold 'data', found"),
    ],
)
def test_a_strange_batch_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    (write_python(tmp_path, "cifar10") / "test_batch").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=message):
        Cifar(kind="cifar10", root=tmp_path).load()


def test_a_truncated_binary_is_refused(tmp_path: Path) -> None:
    path = write_binary(tmp_path, "cifar100") / "test.bin"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"test\.bin: must be records of 3074 bytes"):
        Cifar(kind="cifar100", root=tmp_path).load()


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no cifar-10-batches-bin or cifar-10-batches-py in"):
        Cifar(kind="cifar10", root=tmp_path).load()
    (write_python(tmp_path, "cifar10") / "data_batch_5").unlink()
    with pytest.raises(MissingDataError, match="data_batch_5"):
        Cifar(kind="cifar10", root=tmp_path).load()
