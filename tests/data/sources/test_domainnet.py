from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskfold.data import DataError, MissingDataError, check
from taskfold.data.sources import DomainNet

NAMES = ["bat", "cat", "dog", "t shirt"]


def write_lists(root: Path, paint: Any, domain: str, classes: list[int], each: int = 4) -> None:
    for split in ("train", "test"):
        lines = []
        for label in classes:
            for n in range(each):
                file = f"{domain}/{NAMES[label]}/{split}_{n}.png"
                paint(root / file)
                lines.append(f"{file} {label}")
        (root / f"{domain}_{split}.txt").write_text("\n".join(lines) + "\n")


def test_all_domains_share_one_list(tmp_path: Path, paint: Any) -> None:
    write_lists(tmp_path, paint, "painting", [0, 1, 2])
    write_lists(tmp_path, paint, "real", [0, 1, 2, 3])
    painting, real = (DomainNet(root=tmp_path, domain=domain).load() for domain in ("painting", "real"))
    assert painting.labels == real.labels == tuple(NAMES)
    assert (painting.name, len(painting.test), len(real.test)) == ("painting", 12, 16)
    assert real.test.read(15).size == (8, 8)
    assert any("4 classes found" in note and "345" in note for note in real.notes)
    assert [(problem.kind, problem.fatal) for problem in check(painting)] == [("empty class", False)]


def test_a_number_without_images_anywhere_is_still_a_class(tmp_path: Path, paint: Any) -> None:
    write_lists(tmp_path, paint, "sketch", [0, 1, 3])
    assert DomainNet(root=tmp_path, domain="sketch").load().labels == ("bat", "cat", "class 2", "t shirt")


def test_folders_serve_as_well(tmp_path: Path, tree: Any) -> None:
    tree(tmp_path, ["painting/train/cat:4", "painting/test/cat:2", "real/train/cat:3", "real/test/dog:3"])
    painting = DomainNet(root=tmp_path, domain="painting").load()
    assert painting.labels == ("cat", "dog")
    assert len(painting.test) == 2


def test_lists_that_disagree_are_refused(tmp_path: Path, paint: Any) -> None:
    write_lists(tmp_path, paint, "real", [0])
    (tmp_path / "clipart_train.txt").write_text("clipart/owl/1.png 0\n")
    with pytest.raises(DataError, match="label 0 is 'bat' here and 'owl' before"):
        DomainNet(root=tmp_path, domain="real").load()


def test_a_bad_line_is_quoted(tmp_path: Path, paint: Any) -> None:
    write_lists(tmp_path, paint, "real", [0])
    with (tmp_path / "real_train.txt").open("a") as file:
        file.write("real/bat/9.png\n")
    with pytest.raises(DataError, match=r"real_train\.txt, line 5: must be 'path label', found 'real/bat/9\.png'"):
        DomainNet(root=tmp_path, domain="real").load()


def test_what_is_missing_is_named(tmp_path: Path, paint: Any) -> None:
    with pytest.raises(MissingDataError, match=r"no domain 'real'; looked for .*real_train\.txt.*"):
        DomainNet(root=tmp_path, domain="real").load()
    write_lists(tmp_path, paint, "real", [0, 1])
    (tmp_path / "real_test.txt").unlink()
    with pytest.raises(MissingDataError, match=r"no list .*real_test\.txt"):
        DomainNet(root=tmp_path, domain="real").load()
