from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taskfold.data import ArrayImages, FileImages, MissingDataError, UnreadableImageError, open_image, to_rgb
from taskfold.data._images import Picked, pick


def test_transparent_pixels_are_white_not_what_hides_below() -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (10, 20, 30, 255))
    rgb = to_rgb(image)
    assert [rgb.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (10, 20, 30)]


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16)).save(tmp_path / "deep.png")
    assert np.asarray(open_image(tmp_path / "deep.png"))[0, :, 0].tolist() == [0, 128, 255]


def test_thirty_two_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2), dtype=np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(UnreadableImageError, match=r"float\.tif.*mode F.*8 bits"):
        open_image(tmp_path / "float.tif")


def test_photographs_stand_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90°
    Image.new("RGB", (16, 8)).save(tmp_path / "turned.jpg", exif=exif)
    assert open_image(tmp_path / "turned.jpg").size == (8, 16)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_file_is_found_by_reading_and_by_verifying(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    images = FileImages([path])
    images.verify(0)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    for attempt in (images, images.verify):
        with pytest.raises(UnreadableImageError, match=rf"cut\.{suffix} cannot be read"):
            attempt(0)


def test_a_text_file_and_no_file_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "note.jpg").write_text("not an image")
    with pytest.raises(UnreadableImageError, match=r"note\.jpg"):
        open_image(tmp_path / "note.jpg")
    with pytest.raises(MissingDataError, match=r"gone\.jpg"):
        open_image(tmp_path / "gone.jpg")


def test_equal_files_have_equal_contents(tmp_path: Path) -> None:
    for name, content in {"a": b"12", "b": b"12", "c": b"34", "d": b"5"}.items():
        (tmp_path / name).write_bytes(content)
    a, b, c, d = FileImages([tmp_path / name for name in "abcd"]).contents()
    assert a == b
    assert len({a, c, d}) == 3


def test_picking_twice_stays_one_step_deep() -> None:
    images = ArrayImages(np.arange(4, dtype=np.uint8).reshape(4, 1, 1))
    twice = pick(pick(images, [3, 2, 1]), [2, 0])
    assert isinstance(twice, Picked)
    assert twice.read is images
    assert [twice(i).getpixel((0, 0)) for i in (0, 1)] == [(1, 1, 1), (3, 3, 3)]
    assert twice.contents() == [images.contents()[1], images.contents()[3]]


@pytest.mark.parametrize("wrong", [np.zeros((2, 8, 8)), np.zeros((2, 8, 8, 4), np.uint8), np.zeros((8, 8), np.uint8)])
def test_only_bytes_of_grey_or_rgb_make_images(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"pixels: must be uint8 \[N, H, W\].*found"):
        ArrayImages(wrong)
