"""Images and labels from a user's function."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from ...functions import function_of
from ...problems import Problem
from .._errors import DataError
from .._images import open_image, to_rgb
from ._base import CLASSES, Parts, Source
from ._rows import SPLITS, parts_of, read_labels


class Python(Source):
    """A function without arguments: `package.module:function`, or `file.py:function`, from the configuration's folder.

    It returns a mapping of `train`, and perhaps `val` and `test`, to map-style data sets, `data[i]` → (image, label): a
    PIL image or the path of a file; and a class name or a number, several of them for several columns, or a list of
    labels, as the task's problem needs them.

    Attributes:
        function: the function's name.
    """

    kind: Literal["python"] = "python"
    function: str

    @property
    def origin(self) -> str:
        return f"python:{self.function.rpartition(':')[2]}"

    def parts(self) -> Parts:
        """The splits that the function returns."""
        return self.parts_for(CLASSES)

    def parts_for(self, problem: Problem) -> Parts:
        """The parts, with labels read by the problem."""
        sets = self._called()
        rows = [(split, index) for split in SPLITS if split in sets for index in range(len(sets[split]))]
        samples = [(f"{self.origin}, {split}[{index}]", sets[split][index]) for split, index in rows]
        for place, sample in samples:
            if not isinstance(sample, tuple | list) or len(sample) != 2:
                raise DataError(f"{place}: must be (image, label), found {type(sample).__name__}")
        labels = read_labels(problem, [(place, _cells(sample[1], problem)) for place, sample in samples])
        read = Sampled({split: sets[split] for split in sets}, rows)
        splits = ["" if len(sets) == 1 else split for split, _ in rows]
        return parts_of(self.origin, problem, labels, splits, read, [f"{split}/{index}" for split, index in rows])

    def _called(self) -> Mapping[str, Any]:
        try:
            found = function_of(self.function)()
        except Exception as error:
            raise DataError(f"function: {self.function}: {type(error).__name__}: {error}") from error
        if not isinstance(found, Mapping) or "train" not in found or {*found} - {*SPLITS}:
            said = sorted(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
            raise DataError(f"function: {self.function} must return a mapping of train, val and test, found {said}")
        for split, data in found.items():
            if not isinstance(data, Sized) or not hasattr(data, "__getitem__"):
                raise DataError(
                    f"function: {self.function}: {split} must be a map-style data set, with a length and samples by "
                    f"number, found {type(data).__name__}"
                )
        return found


class Sampled:
    """Reads the image of a row."""

    def __init__(self, sets: Mapping[str, Any], rows: list[tuple[str, int]]) -> None:
        self.sets, self.rows = sets, rows

    def __call__(self, index: int) -> Image.Image:
        split, number = self.rows[index]
        image = self.sets[split][number][0]
        return to_rgb(image) if isinstance(image, Image.Image) else open_image(Path(image))


def _cells(label: object, problem: Problem) -> tuple[object, ...]:
    several = len(problem.columns) > 1 and isinstance(label, tuple | list)
    return tuple(label) if several else (label,)  # type: ignore[arg-type]
