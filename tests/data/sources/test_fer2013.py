from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torchvision

from taskfold.data import DataError, MissingDataError, check
from taskfold.data.sources import Fer2013

USES = ["Training"] * 14 + ["PublicTest"] * 3 + ["PrivateTest"] * 4
FACES = np.random.default_rng(0).integers(0, 256, (len(USES), 48 * 48))


def write(root: Path, layout: str = "fer2013.csv") -> Path:
    path = root / "fer2013" / layout
    path.parent.mkdir()
    rows = [(str(n % 7), " ".join(map(str, face)), use) for n, (face, use) in enumerate(zip(FACES, USES, strict=True))]
    if layout == "fer2013.csv":
        lines = ["emotion,pixels,Usage", *(f"{label},{face},{use}" for label, face, use in rows)]
    else:
        lines = ["emotion, Usage, pixels", *(f"{label},{use},{face}" for label, face, use in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("layout", ["fer2013.csv", "icml_face_data.csv"])
def test_it_reads_what_torchvision_reads(tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, layout)
    parts = Fer2013(root=tmp_path).parts()
    monkeypatch.setattr(torchvision.datasets.fer2013, "check_integrity", lambda *_, **__: True)
    for split, images in {"train": parts.train, "test": parts.test}.items():
        theirs = torchvision.datasets.FER2013(tmp_path, split)
        assert images is not None
        assert len(images) == len(theirs)
        for index in range(len(theirs)):
            face, label = theirs[index]
            assert images.targets[index] == label
            np.testing.assert_array_equal(np.asarray(images.read(index))[..., 0], np.asarray(face))


def test_public_and_private_make_the_test_set(tmp_path: Path) -> None:
    write(tmp_path)
    data = Fer2013(root=tmp_path, val_fraction=0.5).load()
    assert [len(images) for images in data.splits.values()] == [7, 7, 7]
    assert check(data) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Training", "Trainin", r"line 2: cannot be read: KeyError\('Trainin'\)"),
        (f",{FACES[0][0]} ", ",256 ", "line 2: cannot be read"),
        (f",{FACES[0][0]} ", ",", "line 2: must have 2304 pixels, found 2303"),
        ("emotion", "feeling", "missing emotion"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        Fer2013(root=tmp_path).load()


def test_an_emotion_out_of_range_is_found(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text().replace("\n6,", "\n7,", 1))
    assert "target out of range" in {problem.kind for problem in check(Fer2013(root=tmp_path).load())}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"FER2013 not found; looked for .*fer2013\.csv"):
        Fer2013(root=tmp_path).load()
