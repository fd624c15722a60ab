"""Reads pictures as 8-bit RGB, from files and from arrays."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ._contents import digest_of, known_whole, note_whole
from ._errors import MissingDataError, UnreadableImageError

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are decoded in this process; others start programs (EPS), or hold no picture."""
Read = Callable[[int], Image.Image]
"""Index → RGB image."""

# Decoding a JPEG at an eighth of its size still reads the whole file, and is several times faster.
DRAFT = (32, 32)


@lru_cache
def image_suffixes() -> Mapping[str, str]:
    """How names of images end that the installed PIL reads, `.jpg`, and the format of each."""
    found = Image.registered_extensions()
    return {end: kind for end, kind in found.items() if kind in FORMATS and kind in Image.OPEN}


def to_rgb(image: Image.Image) -> Image.Image:
    """An image as viewers show it, in 8-bit RGB: upright, 16 bits scaled to 8, transparency on white.

    Raises:
        ValueError: 32-bit pixels, whose range is unknown.

    Example:
        >>> to_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 0))).getpixel((0, 0))
        (255, 255, 255)
    """
    image = ImageOps.exif_transpose(image)
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in {"I", "F"}:
        raise ValueError(f"32-bit pixels (mode {image.mode}): convert the image to 8 bits per channel")
    if image.has_transparency_data:
        front = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", front.size, "white"), front).convert("RGB")
    return image.convert("RGB")


def open_image(path: Path | str, *, draft: bool = False) -> Image.Image:
    """Read one file completely as RGB; with `draft`, a JPEG at reduced size, to check that it is whole.

    Raises:
        MissingDataError: no such file.
        UnreadableImageError: the file is not an image, is truncated, has 32-bit pixels, or is a pipe or a device.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # reading a pipe could wait without end
        raise UnreadableImageError(f"{path} cannot be read as an image: it is no file; remove it")
    try:
        with Image.open(path) as image:
            if draft:
                image.draft("RGB", DRAFT)
            image.load()
            return to_rgb(image)
    except FileNotFoundError:
        raise MissingDataError(f"no image at {path}: restore the file or take it out of the list") from None
    except Exception as error:  # decoders raise errors of any type: OSError, SyntaxError, struct.error, zlib.error, …
        raise UnreadableImageError(f"{path} cannot be read as an image: {error}") from error


class Reader(ABC):
    """A reader of images by index, which may have cheap checks and keys."""

    @abstractmethod
    def __call__(self, index: int) -> Image.Image:
        """The image as RGB."""

    @abstractmethod
    def verify(self, index: int) -> None:
        """Raise the error that reading the image would raise."""

    @abstractmethod
    def contents(self) -> Sequence[Hashable]:
        """One key per image; equal images have equal keys, as far as known without decoding."""

    @abstractmethod
    def digest(self, index: int) -> str:
        """A digest of an image's content, independent of its path: it changes with the pixels."""


@dataclass(frozen=True)
class FileImages(Reader):
    """Images in files."""

    paths: Sequence[Path]

    def __call__(self, index: int) -> Image.Image:
        return open_image(self.paths[index])

    def verify(self, index: int) -> None:
        path = self.paths[index]
        if path.is_file() and known_whole(path):
            return
        open_image(path, draft=True)
        note_whole(path)

    def contents(self) -> Sequence[Hashable]:
        # Equal files have equal sizes, so few need to be read.
        sizes = [path.stat().st_size if path.is_file() else -1 for path in self.paths]
        count = Counter(sizes)
        return [
            digest_of(path) if count[size] > 1 and size >= 0 else str(path)
            for path, size in zip(self.paths, sizes, strict=True)
        ]

    def digest(self, index: int) -> str:
        return digest_of(self.paths[index])


@dataclass(frozen=True, eq=False)
class ArrayImages(Reader):
    """Images in memory: uint8 `[N, H, W]` (grey) or `[N, H, W, 3]` (RGB)."""

    pixels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        shape, grey, colour = self.pixels.shape, 3, 4
        if (
            self.pixels.dtype != np.uint8
            or len(shape) not in {grey, colour}
            or (len(shape) == colour and shape[3] != 3)
        ):
            raise ValueError(
                f"pixels: must be uint8 [N, H, W] or [N, H, W, 3], found {self.pixels.dtype} {list(shape)}"
            )

    def __call__(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index]).convert("RGB")

    def verify(self, index: int) -> None:
        """Does nothing: the pixels are in memory."""

    def contents(self) -> Sequence[Hashable]:
        return [self.digest(index) for index in range(len(self.pixels))]

    def digest(self, index: int) -> str:
        return blake2b(self.pixels[index].tobytes(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Picked(Reader):
    read: Read
    indices: Sequence[int]

    def __call__(self, index: int) -> Image.Image:
        return self.read(self.indices[index])

    def verify(self, index: int) -> None:
        verify(self.read, self.indices[index])

    def contents(self) -> Sequence[Hashable]:
        if isinstance(self.read, Reader):
            keys = self.read.contents()
            return [keys[index] for index in self.indices]
        return self.indices

    def digest(self, index: int) -> str:
        return digest(self.read, self.indices[index])


def pick(read: Read, indices: Sequence[int]) -> Picked:
    """Some images of `read`; a pick from a pick refers to the first reader directly."""
    if isinstance(read, Picked):
        return Picked(read.read, [read.indices[index] for index in indices])
    return Picked(read, indices)


def verify(read: Read, index: int) -> None:
    """Raise the error that reading image `index` would raise, as cheaply as its reader can."""
    if isinstance(read, Reader):
        read.verify(index)
    else:
        read(index)


def digest(read: Read, index: int) -> str:
    """A digest of the content of image `index`; a plain function's image is decoded for it."""
    if isinstance(read, Reader):
        return read.digest(index)
    return blake2b(read(index).tobytes(), digest_size=16).hexdigest()
