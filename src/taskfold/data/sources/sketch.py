"""The ImageNet-to-Sketch benchmark (Mallya et al., Piggyback, 2018)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from .._preprocessing import Preprocessing
from ._base import Parts, Source, existing_folder
from ._classes import images_of, scan

CLASSES = {"cubs_cropped": 200, "stanford_cars_cropped": 196, "flowers": 102, "wikiart": 195, "sketches": 250}


class ImageNetToSketch(Source):
    """`root/<dataset>/{train,test}/<class>/*.jpg`; val comes out of train.

    Attributes:
        root: the folder that holds the five data sets.
        dataset: one of the five.
    """

    kind: Literal["imagenet-to-sketch"] = "imagenet-to-sketch"
    root: Path
    dataset: Literal["cubs_cropped", "stanford_cars_cropped", "flowers", "wikiart", "sketches"]

    @property
    def origin(self) -> str:
        return f"{self.kind}:{self.dataset}"

    def preprocessing(self, base: Preprocessing) -> Preprocessing:
        """Cropped sets are squashed and flipped; others get RandomResizedCrop and flip, with centre crops in tests."""
        if self.dataset.endswith("_cropped"):
            return base.changed(resize="squash", crop="none", flip=True)
        return base.changed(resize="shorter-side+crop", crop="random-resized", flip=True)

    def parts(self) -> Parts:
        """Labels are the union over train and test, sorted."""
        root = existing_folder(self.root, "root")
        place = existing_folder(root / self.dataset, "root/dataset")
        train, train_notes = scan(existing_folder(place / "train", "root/dataset/train"))
        test, test_notes = scan(existing_folder(place / "test", "root/dataset/test"))
        labels = tuple(sorted({*train, *test}))
        notes = [*train_notes, *test_notes]
        if len(labels) != CLASSES[self.dataset]:
            notes.append(f"{len(labels)} classes found where {self.dataset} has {CLASSES[self.dataset]}")
        return Parts(labels, images_of(train, labels, root), None, images_of(test, labels, root), tuple(notes))
