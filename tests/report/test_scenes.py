"""Images with targets and predictions side by side."""

from __future__ import annotations

import base64
import copy
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from taskfold.report import ResultsError, read_results, write_report
from taskfold.report._marks import page_marks
from taskfold.report.record import encode_png

from .dense import METHODS, TASKS, dense
from .page import read_page

Document = dict[str, Any]
Pixels = NDArray[np.uint8]


@pytest.fixture(name="results", scope="module")
def _results() -> Document:
    return {**dense(images=2), "comparisons": []}  # they are slow to draw


def _decoded(image: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(image)))


def _random(height: int, width: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("pixels", "mode"),
    [
        (_random(17, 23), "RGB"),
        (_random(1, 1), "P"),
        (_random(16, 16), "P"),  # 256 colours
        (_random(1, 257), "RGB"),
        (np.repeat(_random(9, 5)[..., :1], 3, 2), "L"),
        (np.zeros((3, 2, 3), np.uint8), "L"),
        (_random(8, 12)[::-2, ::3], "P"),
        (np.broadcast_to(np.array([1, 2, 3], np.uint8), (4, 4, 3)), "P"),
    ],
)
def test_a_picture_comes_back_to_the_byte(pixels: Pixels, mode: str) -> None:
    image = _decoded(encode_png(pixels))
    assert image.mode == mode
    assert np.array_equal(np.asarray(image.convert("RGB")), pixels)


@pytest.mark.parametrize(
    "pixels",
    [_random(2, 2)[..., 0], _random(2, 2)[..., :2], _random(2, 2).astype(float), np.zeros((0, 2, 3), np.uint8)],
)
def test_what_is_no_picture_is_refused(pixels: Any) -> None:
    with pytest.raises(ValueError, match=r"pixels must be uint8 \[H, W, 3\], found (uint8|float64) \["):
        encode_png(pixels)


def _change(key: str, value: Any) -> Callable[[Document], None]:
    *path, last = [int(part) if part.isdigit() else part for part in key.split("/")]

    def change(part: Any) -> None:
        for step in path:
            part = part[step]
        part[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_change("images/0/image", "aGVsbG8="), r"scenes\[0\]\.images\[0\]\.image: .*the PNG signature is missing"),
        (_change("images/0/views/0/target", "x"), r"views\[0\]\.target\.image: image must be a base64 PNG"),
        (_change("images/0/views/1/predictions/ExpandNet", "%"), r"predictions\.ExpandNet\.image: .* base64 PNG"),
        (_change("images/0/views/1/predictions/MTAN", None), r"images\[0\]\.views\[1\]\.predictions: 'MTAN' is not"),
        (_change("images/0/views/1/predictoins", {}), r"views\[1\]\.predictoins is not a key"),
        (_change("images/0/views/2/ends", [0, 1]), r"views\[2\]\.ends: the legend of 'normals' has no bar"),
        (_change("images/1/views/1/ends", [0, float("inf")]), r"views\[1\]\.ends\[1\]: .* finite number, found inf"),
        (_change("images/0/views/0/task", "depth"), r"images\[0\]\.views\[1\]\.task: 'depth' is there twice"),
        (_change("images/0/views/0/task", "parts"), r"images\[0\]\.views\[0\]\.task: 'parts' has no legend"),
        (_change("images/0/views", []), r"images\[0\]\.views: .* at least 1 item"),
        (_change("legends/0/classes/0/colour", "red"), r"legends\[0\]\.classes\[0\]\.colour: .* found 'red'"),
        (_change("legends/0/classes/0/colour", "#fff;x:url(y)"), r"classes\[0\]\.colour: "),
        (_change("legends/0/classes/0/colour", "#ffffff\n"), r"classes\[0\]\.colour: "),
        (_change("legends/1/bar/colours", ["#000000"]), r"legends\[1\]\.bar\.colours: .* at least 2 items"),
        (
            _change("legends/3/task", "depth"),
            r"the tasks of legends must differ, found segmentation, depth",
        ),
        (_change("methods", ["a", "a"]), r"methods must differ, found a, a"),
    ],
)
def test_errors_name_the_key_and_the_value(results: Document, change: Callable[[Document], None], message: str) -> None:
    broken = copy.deepcopy(results)
    change(broken["scenes"][0])
    with pytest.raises(ResultsError, match=message):
        read_results(broken)


def test_tasks_shown_must_be_tasks_of_the_document(results: Document) -> None:
    with pytest.raises(ResultsError, match=r"scenes\[0\]: the task 'edges' is not among the tasks \(segmentation, "):
        read_results({**results, "tasks": [task for task in results["tasks"] if task["name"] != "edges"]})


def test_every_cell_has_a_picture_or_says_why_not(results: Document, tmp_path: Path) -> None:
    page = read_page(results, tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    section = html.split('<section id="scenes-0">')[1].split("</section>")[0]
    cells = re.findall(r"<td>(.*?)</td>", section, re.DOTALL)
    assert len(cells) == 2 * len(TASKS) * (1 + len(METHODS))
    without = [cell for cell in cells if "<img" not in cell]
    assert [re.sub(r"<[^>]*>", "", cell).strip() for cell in without] == ["no target", "diverged", "no prediction"]
    alts = re.findall(r'alt="([^"]*)"', section)
    assert len(alts) == len(set(alts)) == 1 + 2 + len(cells) - 3  # the ball, the images
    assert {"image room 3", "depth of room 3: target", "normals of room 20: ExpandNet"} <= set(alts)
    assert section.count('width="80" height="64"') == len(alts) - 1
    assert all(words in page.text for words in ("wall", "sofa", "as on this ball", "mIoU 0.44", "0.9", "4.53 m"))
    first = results["scenes"][0]["images"][0]
    assert first["views"][1]["predictions"]["ExpandNet"] in section
    assert 'role="region" aria-label="Rooms of the test set"' in section


def test_rows_and_columns_are_in_the_order_given(results: Document, tmp_path: Path) -> None:
    changed = copy.deepcopy(results)
    (scenes,) = changed["scenes"]
    scenes["methods"] = scenes["methods"][::-1]
    for image in scenes["images"]:
        image["views"] = image["views"][::-1]
    html = write_report(changed, tmp_path / "report.html").read_text(encoding="utf-8")
    alts = re.findall(r'alt="(\w+) of room 3: ([^"]*)"', html)
    columns = ["target", *METHODS[::-1]]
    assert alts == [(task, column) for task in TASKS[::-1] for column in columns]


def test_methods_have_the_colours_of_the_figures(results: Document) -> None:
    assert set(page_marks(read_results(results))) == set(METHODS)
    shown = page_marks(read_results(dense(images=1)))
    alone = page_marks(read_results({**dense(images=1), "scenes": []}))
    assert shown == alone


def test_images_alone_make_a_report_and_no_method_is_fine(results: Document, tmp_path: Path) -> None:
    changed = copy.deepcopy(results)
    changed["scenes"][0] |= {"methods": [], "legends": [{"task": task} for task in TASKS]}
    for image in changed["scenes"][0]["images"]:
        image["views"] = [{"task": task} for task in TASKS]
    page = read_page(changed, tmp_path)
    assert "2 images on 4 tasks." in page.text
    assert page.text.count("no target") == 2 * len(TASKS)


def test_six_images_of_four_tasks_by_five_methods_stay_small(tmp_path: Path) -> None:
    out = write_report({**dense(images=6), "comparisons": []}, tmp_path / "report.html")
    assert out.stat().st_size < 1_500_000


def test_names_are_text_whatever_they_hold(results: Document, tmp_path: Path) -> None:
    odd = '<script>"&'
    text = copy.deepcopy(results)
    (scenes,) = text["scenes"]
    scenes["methods"].append(odd)
    scenes["images"][0]["name"] = odd
    scenes["images"][0]["views"][0]["predictions"][odd] = {"text": odd}
    scenes["legends"][0]["classes"][0]["name"] = odd
    assert read_page(text, tmp_path).text.count(odd) == 4  # column, image, cell, class
