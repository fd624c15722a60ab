"""Predictions for every pixel of images: arrays and pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rich import box
from rich.table import Table
from rich.text import Text
from torch import Tensor

from .. import MultiTask, Task
from ..backbones import LoadedBackbone
from ..data import DataError, MissingDataError, UnreadableImageError
from ..dense import reading
from ..dense.resize import resize_image
from ..dense.sources import IMAGES
from ..serve import Asked, Form, Ready, Stacked
from ..tasks import write_atomically
from ._dense_scores import outputs_of
from ._dense_seen import Seen
from ._output import UserError

Answers = tuple[list[dict[str, Any]], list[dict[str, str]]]


def draw_images(model: MultiTask, names: Sequence[str], paths: Sequence[Path], output: Path) -> Answers:
    """`output/<task>/<image>.npy` and `.png` for every image and task; returns the unreadable images too.

    Arrays are as in `aligned` data: classes `[H, W]` as bytes, metres `[H, W]`, unit vectors `[H, W, 3]`, edges 0
    to 1 `[H, W]`; in the size of the image.
    """
    seen = {name: Seen.of_task(model[name]) for name in names}
    found: list[dict[str, Any]] = []
    errors: list[dict[str, str]] = []
    for path, place in _places(paths).items():
        try:
            image = reading.image(path)
        except (DataError, UnreadableImageError, MissingDataError) as error:
            errors.append({"image": str(path), "error": str(error)})
            continue
        for name, said in _said(model, seen, image).items():
            array, picture = (output / name / f"{place}{suffix}" for suffix in (".npy", ".png"))
            array.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(array, _npy(said))
            write_atomically(picture, _png(seen[name].kind.picture(said)))
            found.append({"image": str(path), "task": name, "array": str(array), "picture": str(picture)})
    return found, errors


def map_table(found: Sequence[dict[str, Any]]) -> Table:
    table = Table("image", "task", "array", "picture", box=box.SIMPLE)
    for column in table.columns:
        column.overflow = "fold"
    for answer in found:
        table.add_row(*(Text(answer[key]) for key in ("image", "task", "array", "picture")))
    return table


def _said(model: MultiTask, seen: Mapping[str, Seen], image: Tensor) -> dict[str, Tensor]:
    """Predictions in the form of targets, `[target_channels, H, W]`, at the image's size."""
    found: dict[str, Tensor] = {}
    for names in _alike(seen):
        for name, output in outputs_of(model, names, _made_ready(seen[names[0]], image)).items():
            found[name] = _predicted(seen[name], output, image.shape[1:])
    return {name: found[name] for name in seen}


def _predicted(seen: Seen, output: Tensor, size: Sequence[int]) -> Tensor:
    """Predictions `[target_channels, H, W]` from outputs `[1, channels, h, w]`."""
    if output.shape[2:] != torch.Size(size):
        # Resize before choosing classes, for borders as fine as the larger image's pixels.
        output = F.interpolate(output, tuple(size), mode="bilinear")
    return seen.kind.predict(output)[0]


@dataclass(frozen=True)
class DenseReading:
    """Predicted maps over images: a picture, and the array."""

    seen: Seen
    takes: Form = "image"

    @classmethod
    def of(cls, task: Task, loaded: LoadedBackbone) -> DenseReading:
        del loaded
        return cls(Seen.of_task(task))

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The size that images are resized to, or any size."""
        return 3, *(self.seen.size or (None, None))

    @property
    def way(self) -> Hashable:
        return self.seen.size, self.seen.mean, self.seen.std

    def ready(self, content: Image.Image, asked: Asked) -> Ready:
        """The pixels, and the size of the maps."""
        asked.refuse_choices()
        image = torch.from_numpy(np.array(content)).permute(2, 0, 1).float() / 255
        pixels = _made_ready(self.seen, image)[0]
        return Ready(Stacked(tuple(pixels.shape), pixels.dtype), pixels, tuple(image.shape[1:]))

    def said(self, output: Tensor, ready: Ready, asked: Asked) -> dict[str, Any]:
        """PNG and .npy in base64, at the size of the image, or of the tensor that the caller has made of one."""
        del asked
        size = ready.about or tuple(ready.value.shape[1:])
        said = _predicted(self.seen, output[None], size)
        picture, array = (base64.b64encode(data).decode() for data in (_png(self.seen.kind.picture(said)), _npy(said)))
        return {"target": self.seen.kind.name, "size": list(size), "map": picture, "array": array}


def _alike(seen: Mapping[str, Seen]) -> Iterator[list[str]]:
    """Tasks grouped by equal preprocessing: the tasks of a group share a pass."""
    groups: dict[object, list[str]] = {}
    for name, one in seen.items():
        groups.setdefault((one.size, one.mean, one.std), []).append(name)
    yield from groups.values()


def _made_ready(seen: Seen, image: Tensor) -> Tensor:
    mean, std = (image.new_tensor(part)[:, None, None] for part in (seen.mean, seen.std))
    return (((resize_image(image, seen.size) if seen.size else image) - mean) / std)[None]


def _places(paths: Sequence[Path]) -> dict[Path, Path]:
    """Images and the names of their output files: the file's name, or its path within a given folder."""
    found: dict[Path, Path] = {}
    for path, place in _listed(paths):
        other = next((known for known, taken in found.items() if taken == place and known != path), None)
        if other is not None:
            raise UserError(f"{other} and {path} would both be written to {place}; give them one at a time")
        found[path] = place
    return found


def _listed(paths: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    for path in paths:
        if not path.is_dir():
            yield path, Path(path.stem)
            continue
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGES)
        if not inside:
            raise UserError(f"folder {str(path)!r} holds no images ({', '.join(IMAGES)})")
        yield from ((file, file.relative_to(path).with_suffix("")) for file in inside)


def _npy(said: Tensor) -> bytes:
    buffer = io.BytesIO()
    channels_last = said.permute(1, 2, 0) if len(said) > 1 else said[0]
    np.save(buffer, np.ascontiguousarray(channels_last.numpy()))
    return buffer.getvalue()


def _png(picture: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    return buffer.getvalue()
