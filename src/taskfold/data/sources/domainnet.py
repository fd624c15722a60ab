"""DomainNet (Peng et al., 2019): six domains that share one list of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from .._errors import DataError, MissingDataError, first_few
from .._images import FileImages
from .._sets import ImageSet
from ._base import CROPPED, Parts, Source, existing_folder
from ._classes import class_folders, images_of, scan

DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
CLASSES = 345
Entry = tuple[str, int]


class DomainNet(Source):
    """`root/<domain>_{train,test}.txt` with lines `path label`, or `root/<domain>/{train,test}/<class>/`.

    All domains have the same classes, from all the lists (or folders) in `root`: `painting_train.txt` has
    no image of class 327, which still is a class.

    Attributes:
        root: the folder that holds the lists and the domains.
        domain: one of the six domains.
    """

    kind: Literal["domainnet"] = "domainnet"
    root: Path
    usual = CROPPED
    domain: Literal["clipart", "infograph", "painting", "quickdraw", "real", "sketch"]

    @property
    def origin(self) -> str:
        return f"domainnet:{self.domain}"

    def parts(self) -> Parts:
        """Train and test are official; val comes out of train."""
        root = existing_folder(self.root, "root")
        lists = {split: root / f"{self.domain}_{split}.txt" for split in ("train", "test")}
        if any(path.is_file() for path in lists.values()):
            labels = _labels_of_lists(root)
            train, test = (_listed(root, path) for path in lists.values())
            notes: list[str] = []
        else:
            places = {split: root / self.domain / split for split in ("train", "test")}
            if absent := [str(path) for path in places.values() if not path.is_dir()]:
                raise MissingDataError(
                    f"root: no domain {self.domain!r}; looked for {first_few([*lists.values(), *absent])}"
                )
            labels = _labels_of_folders(root)
            scans = {split: scan(place) for split, place in places.items()}
            train, test = (images_of(classes, labels, root) for classes, _ in scans.values())
            notes = [note for _, several in scans.values() for note in several]
        if len(labels) != CLASSES:
            notes.append(f"{len(labels)} classes found in all domains together where DomainNet has {CLASSES}")
        return Parts(labels, train, None, test, tuple(notes), fixed_labels=True)


def _entries(path: Path) -> list[Entry]:
    """The lines `path label` of a list; paths may contain spaces."""
    entries: list[Entry] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise MissingDataError(f"root: no list {path}: the official lists come in pairs, train and test") from None
    for number, line in enumerate(lines, 1):
        file, _, label = line.rstrip().rpartition(" ")
        if line.strip():
            if not file or not label.isdigit():
                raise DataError(f"{path}, line {number}: must be 'path label', found {line!r}")
            entries.append((file, int(label)))
    return entries


def _labels_of_lists(root: Path) -> tuple[str, ...]:
    """Class names by number, from the lists of all domains; the folder of an image names its class."""
    names: dict[int, str] = {}
    for domain in DOMAINS:
        for path in sorted(root.glob(f"{domain}_*.txt")):
            for file, label in _entries(path):
                name = Path(file).parent.name
                if names.setdefault(label, name) != name:
                    raise DataError(
                        f"{path}: label {label} is {name!r} here and {names[label]!r} before; "
                        "the lists of all domains must agree"
                    )
    return tuple(names.get(label, f"class {label}") for label in range(max(names, default=-1) + 1))


def _labels_of_folders(root: Path) -> tuple[str, ...]:
    """Class names of all domains, sorted."""
    splits = (root / domain / split for domain in DOMAINS for split in ("train", "test"))
    return tuple(sorted({place.name for split in splits if split.is_dir() for place in class_folders(split)}))


def _listed(root: Path, path: Path) -> ImageSet:
    entries = _entries(path)
    return ImageSet(
        [label for _, label in entries], FileImages([root / file for file, _ in entries]), [file for file, _ in entries]
    )
