from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from taskfold.data import DataError, MissingDataError
from taskfold.dense import Aligned, DenseData, DenseSample, DenseSource, NyudMt, NYUv2, parse_dense_source, reading

from . import folders

Make = Callable[[Path], DenseSource]


def make_nyuv2(root: Path) -> DenseSource:
    return NYUv2(root=folders.nyuv2(root, {"train": 11, "val": 2}), classes=3)


def make_nyud(root: Path) -> DenseSource:
    return NyudMt(root=folders.nyud_mt(root, {"train": ["7", "3"], "val": ["5"]}), classes=3)


def make_png(root: Path) -> DenseSource:
    return Aligned(root=folders.aligned(root, {"train": ["7", "3"], "val": ["5"]}, ".png"), classes=3)


def make_npy(root: Path) -> DenseSource:
    return Aligned(root=folders.aligned(root, {"train": ["7"], "val": ["5"], "test": ["1"]}, ".npy"), classes=3)


def agrees(sample: DenseSample, seed: int, coarse: bool) -> None:
    """The sample holds what was written; `coarse`: through a .jpg."""
    values = folders.arrays(seed)
    image = torch.from_numpy(values["image"]).permute(2, 0, 1) / 255
    assert (sample.image - image).abs().max() < (0.15 if coarse else 1e-6)
    classes = np.where(values["segmentation"] < 0, 255, values["segmentation"])
    for task, target in sample.targets.items():
        if task == "segmentation":
            assert target[0].tolist() == classes.tolist()
        elif task == "normals":
            assert (target[:, :, 0] == 0).all() or coarse  # a .jpg bleeds
            cosine = (target.permute(1, 2, 0).numpy() * values["normals"]).sum(2)[:, 1:]
            assert np.median(cosine) > 0.97 if coarse else cosine.min() > 0.9999
        else:
            assert np.allclose(target[0].numpy(), values[task], atol=6e-4)


@pytest.mark.parametrize(
    ("make", "train", "val", "coarse"),
    [
        (make_nyuv2, [500 + n for n in range(11)], [300, 301], False),
        (make_nyud, [7, 3], [5], True),
        (make_png, [3, 7], [5], False),
        (make_npy, [7], [5], False),
    ],
)
def test_what_was_written_is_read(tmp_path: Path, make: Make, train: list[int], val: list[int], coarse: bool) -> None:
    source = make(tmp_path)
    data = source.load()
    assert data.notes == ()
    assert len(data.train) == len(train) and len(data.val) == len(val)
    for seed, sample in zip([*train, *val], [*data.train, *data.val], strict=True):  # numbers in order of value
        assert set(sample.targets) == set(source.kinds())
        agrees(sample, seed, coarse)
    assert parse_dense_source(source.model_dump()) == source


def test_a_test_part_is_used_if_there_is_one(tmp_path: Path) -> None:
    data = make_npy(tmp_path).load()
    assert data.test is not None and list(data.splits) == ["train", "val", "test"]
    agrees(data.test[0], 1, False)
    assert make_nyuv2(tmp_path / "nyu").load().test is None


def test_the_unlabelled_of_nyud_may_be_a_class(tmp_path: Path) -> None:
    source = make_nyud(tmp_path)
    kept = NyudMt(**{**source.model_dump(), "background": True}).load().train
    ignored = source.load().train
    for one, other in zip([*kept], [*ignored], strict=True):
        whole, part = one.targets["segmentation"].int(), other.targets["segmentation"].int()
        assert torch.equal(whole, torch.where(part == 255, 0, part + 1)) and (whole == 0).any()
    assert kept.kinds["segmentation"].channels == 4


def test_the_files_of_nyud_may_be_of_matlab_7_3(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    source = make_nyud(tmp_path)
    depth = folders.arrays(7)["depth"]
    with h5py.File(tmp_path / "depth" / "7.mat", "w", userblock_size=512) as file:
        file["depth"] = depth.T
    with (tmp_path / "depth" / "7.mat").open("r+b") as file:  # what MATLAB writes before it
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    assert np.array_equal(source.load().train[0].targets["depth"][0].numpy(), depth)


def test_images_without_some_targets_are_kept_and_counted(tmp_path: Path) -> None:
    source = Aligned(root=folders.aligned(tmp_path, {"train": ["7", "3", "9"], "val": ["5"]}, ".png"), classes=3)
    (tmp_path / "train" / "depth" / "3.png").unlink()
    Image.fromarray(np.zeros(folders.SHAPE, np.uint16)).save(tmp_path / "train" / "depth" / "7.png")
    data = source.load()
    assert data.notes == (
        "train: 1 of 3 images have no depth: 3",
        "train: 1 images have no valid pixel of depth: 7",
    )
    assert data.train.counts == {"segmentation": 3, "depth": 2, "normals": 3, "edges": 3}
    assert "depth" not in data.train[0].targets
    Image.fromarray(np.zeros(folders.SHAPE, np.uint16)).save(tmp_path / "val" / "depth" / "5.png")
    with pytest.raises(DataError, match="val: no image has a valid pixel of depth: add some, or leave the task out"):
        source.load()


def test_images_in_two_parts_are_said(tmp_path: Path) -> None:
    source = make_npy(tmp_path)
    for kind in ("image", "segmentation", "depth", "normals", "edges"):
        copyfile(tmp_path / "train" / kind / "7.npy", tmp_path / "test" / kind / "other.npy")
    [note] = source.load().notes
    assert note.startswith("1 images are in train and in test: 7 = other: what is measured there was learnt here")


def broken(path: str, action: Callable[[Path], Any], whole: Make | None = None) -> Make:
    def make(root: Path) -> DenseSource:
        source = (whole or (make_nyuv2 if path.endswith(".npy") else make_png))(root)
        action(root / path)
        return source

    return make


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write(values: Any) -> Callable[[Path], Any]:
    return lambda path: folders.save(path, values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (broken("train/depth/3.png", cut_short), "train: 1 images cannot be used:\n.*3.png cannot"),
        (broken("train/label/3.npy", cut_short), "3.npy cannot be read as an array"),
        (broken("train/label/3.npy", write(np.full((6, 8), 3))), "3.npy: classes must be 0 to 2, .* found 3"),
        (broken("val/depth/1.npy", write(np.ones((5, 8)))), "1.npy: depth is 5 × 8 pixels, its image 6 × 8"),
        (broken("val/image/1.npy", write(np.full((6, 8, 3), 255.0))), "1.npy: .* 0 to 1, found 255 to 255"),
        (broken("val/image/1.npy", write(np.array([{}], object))), "1.npy cannot be read"),
        (broken("val/normal/1.npy", write(np.ones((6, 8, 3)))), "1.npy: normals must be unit vectors"),
        (broken("train/depth/3.png", write(np.ones((6, 8), np.uint8))), "3.png: depth must be one channel of 16 bits"),
        (broken("train/edges/9.png", write(np.ones((6, 8), np.uint8))), "1 files of edges have no image.*: 9.png"),
        (broken("train/depth/3.jpg", write(np.ones((6, 8), np.uint8))), "depth is read from .png, .npy; found 3.jpg"),
        (broken("train/depth/3.npy", write(np.ones((6, 8))), make_png), "holds 3.npy and 3.png"),
    ],
)  # fmt: skip
def test_files_that_are_wrong_are_named_when_loading(tmp_path: Path, make: Make, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(tmp_path).load()


def test_headers_of_arrays_are_read_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11 raises SystemError where two threads parse at once, and NumPy parses its headers."""
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(2, 3))
    inside, overlaps, load = threading.Lock(), [], np.load

    def slow(*arguments: Any, **settings: Any) -> Any:
        overlaps.append(not inside.acquire(blocking=False))
        time.sleep(0.002)
        try:
            return load(*arguments, **settings)
        finally:
            if inside.locked():
                inside.release()

    monkeypatch.setattr(np, "load", slow)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: reading.npy(tmp_path / "a.npy"), range(32)))
    assert not any(overlaps)
    assert all(type(one) is np.ndarray and one.flags.writeable and one[1, 2] == 5 for one in found)


def test_without_reading_all_files_the_sample_says_so(tmp_path: Path) -> None:
    folders.nyuv2(tmp_path, {"train": 2, "val": 1})
    (tmp_path / "train" / "depth" / "1.npy").write_bytes(b"")
    data: DenseData = NYUv2(root=tmp_path, check_files=False).load()
    with pytest.raises(OSError, match=r"1\.npy cannot be read"):
        data.train[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "nyuv2", "root": "nowhere"}, "root: must be a folder"),
        ({"kind": "nyuv2", "root": "png"}, "no folder .*label"),
        ({"kind": "nyud-mt", "root": "png"}, "no folder .*images"),
        ({"kind": "aligned", "root": "png"}, "classes: must say how many"),
        ({"kind": "aligned", "root": "png", "tasks": ["dept"]}, "'?dept'? not in"),
        ({"kind": "aligned", "root": "half", "tasks": ["depth"]}, "has no val split"),
    ],
)
def test_folders_of_another_form_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    folders.aligned(tmp_path / "png", {"train": ["1"], "val": ["2"]}, ".png")
    folders.aligned(tmp_path / "half", {"train": ["1"]}, ".png")
    with pytest.raises((DataError, MissingDataError), match=message):
        parse_dense_source({**settings, "root": tmp_path / settings["root"]}).load()


def test_names_in_a_list_without_an_image_are_an_error(tmp_path: Path) -> None:
    source = make_nyud(tmp_path)
    (tmp_path / "images" / "3.jpg").unlink()
    with pytest.raises(MissingDataError, match=r"train.txt: 1 images are not in .*: 3"):
        source.load()
