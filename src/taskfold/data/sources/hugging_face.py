"""A data set of the Hugging Face hub, or one saved in a folder."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from ...reach import at_once
from .._contents import digest_of
from .._errors import DataError, UnreadableImageError, first_few, require
from .._images import Reader, to_rgb
from .._sets import ImageSet
from ._base import Parts, Source

SPLITS = {"train": ("train",), "val": ("validation", "val", "valid", "dev"), "test": ("test",)}


class HuggingFace(Source):
    """A data set read by the `datasets` package; without an official test split one is set aside.

    Attributes:
        dataset: a name on the hub, or a folder: written by `save_to_disk`, or one that `load_dataset` reads.
        config: the configuration of the data set.
        image: the column of images.
        label: the column of labels: class labels, strings or integers.
    """

    kind: Literal["huggingface"] = "huggingface"
    dataset: str
    config: str | None = None
    image: str = "image"
    label: str = "label"

    @property
    def origin(self) -> str:
        return f"huggingface:{Path(self.dataset).name}"

    def parts(self) -> Parts:
        """Official splits by their usual names; a split without published labels is left out."""
        splits = self._splits()
        values = {split: list(rows[self.label]) for split, rows in splits.items()}
        hidden = [split for split, found in values.items() if split != "train" and set(found) <= {-1, None}]
        for split in hidden:
            del splits[split], values[split]
        labels, index = self._labels(splits["train"], [value for found in values.values() for value in found])
        sets = {split: self._set(split, rows, list(map(index, values[split]))) for split, rows in splits.items()}
        notes = tuple(f"{split}: left out, its labels are not published" for split in hidden)
        return Parts(labels, sets["train"], sets.get("val"), sets.get("test"), notes)

    def _splits(self) -> dict[str, Any]:
        """The tables by taskfold's names of the splits."""
        datasets = require("datasets", '"taskfold[datasets]"')
        path = Path(self.dataset).expanduser()
        if any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
            content = datasets.load_from_disk(str(path))
        else:
            with at_once():
                content = datasets.load_dataset(str(path) if path.is_dir() else self.dataset, self.config)
        theirs = dict(content) if isinstance(content, dict) else {"train": content}
        if "train" not in theirs:
            raise DataError(f"dataset: {self.dataset} must have a train split, found {first_few(theirs)}")
        names = {split: next((name for name in several if name in theirs), None) for split, several in SPLITS.items()}
        splits = {split: theirs[name] for split, name in names.items() if name}
        for split, rows in splits.items():
            if absent := [column for column in (self.image, self.label) if column not in rows.column_names]:
                raise DataError(
                    f"image, label: {self.dataset} has no column {absent[0]!r} in {split}, "
                    f"only {first_few(rows.column_names)}"
                )
        return splits

    def _labels(self, train: Any, values: Sequence[Any]) -> tuple[tuple[str, ...], Callable[[Any], int]]:
        """Class names, and the function from a value in the label column to its index."""
        if odd := [value for value in values if not isinstance(value, str | int)]:
            raise DataError(f"label: {self.label!r} must hold strings or whole numbers, found {odd[0]!r}")
        if names := getattr(train.features[self.label], "names", None):
            return tuple(names), int
        index = {value: target for target, value in enumerate(sorted(set(values)))}
        return tuple(map(str, index)), index.__getitem__

    def _set(self, split: str, rows: Any, targets: list[int]) -> ImageSet:
        datasets = require("datasets", '"taskfold[datasets]"')
        images = rows.cast_column(self.image, datasets.Image()).select_columns([self.image])
        name = Path(self.dataset).name
        return ImageSet(targets, HubImages(images, self.image), [f"{name}/{split}/{i}" for i in range(len(rows))])


@dataclass(frozen=True, eq=False)
class HubImages(Reader):
    """The images of one column."""

    rows: Any
    column: str

    def __call__(self, index: int) -> Image.Image:
        try:
            return to_rgb(self.rows[index][self.column])
        except Exception as error:  # decoders raise errors of any type
            raise UnreadableImageError(f"row {index} of column {self.column!r} cannot be read: {error}") from error

    def verify(self, index: int) -> None:
        self(index)

    def contents(self) -> Sequence[Hashable]:
        return range(len(self.rows))  # comparing images would read them all

    def digest(self, index: int) -> str:
        stored = self.encoded[index][self.column]
        if stored["bytes"] is None:
            return digest_of(Path(stored["path"]))
        return blake2b(stored["bytes"], digest_size=16).hexdigest()

    @cached_property
    def encoded(self) -> Any:
        """The rows as they are stored."""
        datasets = require("datasets", '"taskfold[datasets]"')
        return self.rows.cast_column(self.column, datasets.Image(decode=False))
