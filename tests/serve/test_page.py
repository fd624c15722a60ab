"""The page in a real browser: tasks, a dropped image, a typed text, the chosen tasks' answers, at two widths."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import uvicorn
from PIL import Image

import taskfold as tfold
from taskfold.serve import Asked, Engine, Form, Ready, Stacked, TaskServer
from taskfold.serve.web import application

from .browser import CHROMIUM, Page, browsing
from .colours import Colours, image, network, task_file

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]
PREFIXES = {"cars": "car ", "birds": "bird ", "boats": "boat ", "dutch": "word ", "danish": "a word "}
CARDS = "[...document.querySelectorAll('article')]"
ANSWERS = f"{CARDS}.map(one => ['h3', '.said'].map(of => one.querySelector(of).textContent))"


class Names(Colours):
    """A text names a colour."""

    takes: Form = "text"

    def ready(self, content: Any, asked: Asked) -> Ready:
        del asked
        pixels = torch.tensor(Image.new("RGB", (1, 1), content).getpixel((0, 0))).float()[:, None, None].expand(3, 4, 4)
        return Ready(Stacked((3, 4, 4), pixels.dtype), pixels / 255)


def reading(task: tfold.Task) -> Colours:
    return (Names if "word" in task.info.labels[0] else Colours)(task)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def serving(folder: Path) -> TaskServer:
    """Three tasks on images and two on texts."""
    serving = TaskServer(Engine(tfold.MultiTask(network(), num_features=3)), reading)
    for name, prefix in PREFIXES.items():
        serving.load(name, task_file(folder, name, prefix))
    return serving


@pytest.fixture(scope="module")
def page(folder: Path, serving: TaskServer) -> Iterator[Page]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        running = uvicorn.Server(uvicorn.Config(application(serving), log_level="warning", lifespan="on"))
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        while not running.started:
            time.sleep(0.05)
        try:
            with browsing(f"http://127.0.0.1:{listening.getsockname()[1]}/", folder / "browser") as found:
                yield found
        finally:
            running.should_exit = True
            thread.join()


@pytest.fixture
def asked(page: Page, tmp_path: Path) -> Page:
    """The page, wide, with the answers of two tasks to a dropped image."""
    page.look(1280)
    page.reload()
    choose(page, "cars", "birds")
    (tmp_path / "photo.png").write_bytes(image("lime", (60, 40)))
    page.drop("#drop", tmp_path / "photo.png")
    page.until("document.querySelectorAll('article').length === 2")
    return page


def choose(page: Page, *names: str) -> None:
    page.until("document.querySelectorAll('#tasks li').length === 5")
    for name in names:
        number = page.value("[...document.querySelectorAll('#tasks span')].map(one => one.textContent)").index(name)
        page.click(f"#tasks li:nth-child({number + 1}) input")


def test_the_page_lists_tasks_and_shows_what_the_server_does(asked: Page) -> None:
    asked.until("document.querySelector('#served').textContent === '5'")
    assert asked.value("document.querySelector('#found').textContent") == "5 of 5, 2 chosen"


def test_tasks_are_listed_once_a_server_that_could_not_list_them_can(page: Page) -> None:
    page("Network.enable")
    page("Network.setBlockedURLs", urls=["*tasks?*"])
    page.reload()
    page.until("document.querySelector('#served').textContent === '5'")
    assert page.value("document.querySelectorAll('#tasks li').length") == 0
    page("Network.setBlockedURLs", urls=[])
    page.until("document.querySelectorAll('#tasks li').length === 5")


def test_a_dropped_image_is_shown_with_the_answers_of_the_chosen_tasks(asked: Page) -> None:
    assert asked.value(ANSWERS) == [["cars", "car green"], ["birds", "bird green"]]
    assert asked.value("(one => [one.hidden, one.naturalWidth])(document.querySelector('#picture'))") == [False, 60]


def test_a_typed_text_is_answered_by_the_chosen_tasks(asked: Page) -> None:
    asked.click("#none")
    choose(asked, "dutch", "danish")
    asked.click("#text")
    asked.write("blue")
    asked.click("button[type=submit]")
    asked.until("document.querySelectorAll('article').length === 2")
    assert asked.value(ANSWERS) == [["dutch", "word blue"], ["danish", "a word blue"]]
    assert asked.value("document.querySelector('#picture').hidden")


def test_a_task_that_does_not_take_the_input_is_said_in_place_of_answers(asked: Page) -> None:
    choose(asked, "dutch")
    asked.until("document.querySelector('#status').className === 'bad'")
    assert "dutch" in asked.value("document.querySelector('#status').textContent")
    assert asked.value(ANSWERS) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "beside"), [(1280, True), (390, False)])
def test_answers_are_whole_and_legible_at_both_widths(asked: Page, width: int, beside: bool, scheme: str) -> None:
    asked.look(width, scheme)
    boxes = f"{CARDS}.map(one => one.getBoundingClientRect())"
    assert asked.value("document.documentElement.scrollWidth") == width
    assert asked.value(f"{boxes}.every(box => box.left >= 0 && box.right <= {width})")
    assert asked.value(f"(([one, other]) => one.top === other.top && one.right <= other.left)({boxes})") is beside
    ink, card = (
        asked.value(f"getComputedStyle(document.querySelector('{one}')).{what}.match(/\\d+/g).map(Number)")
        for one, what in (("article .said", "color"), ("section", "backgroundColor"))
    )
    assert (sum(ink) < sum(card)) == (scheme == "light")
    assert contrast(ink, card) > 7


def contrast(one: list[int], other: list[int]) -> float:
    """The contrast of two colours, as WCAG defines it."""

    def light(colour: list[int]) -> float:
        parts = [part / 255 for part in colour[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dim, bright = sorted((light(one), light(other)))
    return (bright + 0.05) / (dim + 0.05)
