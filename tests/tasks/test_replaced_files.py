"""Files replaced while they are read, and folders for files: one file is read, and messages are true."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold.export import export
from taskfold.tasks import contents_of, read, read_header, write, write_atomically

SECONDS = 1.0


def header(task: str) -> dict[str, Any]:
    """Of a task that has nothing of its own."""
    backbone = {"class": "Net", "fingerprint": "", "types": [], "rounded": {}}
    info = {"labels": [], "preprocessing": {}, "metrics": {}}
    made = {"method": {"name": "ftn", "settings": {}}, "head": None, "info": info, "backbone": backbone}
    return {"task": task, **made, "groups": {}, "stored": {}, "silent": []}


def contents(version: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Files of several lengths, each consistent in itself."""
    return header("a" * (1 + version)), {f"t{n}": torch.full((50 + 100 * version,), float(version)) for n in range(4)}


def replaced(write_one: Callable[[int], None]) -> Iterator[None]:
    """Until the time is over, a turn whenever another thread goes on replacing the file."""
    write_one(0)
    over = threading.Event()

    def go_on() -> None:
        version = 0
        while not over.is_set():
            version = (version + 1) % 5
            write_one(version)

    writer, timer = threading.Thread(target=go_on), threading.Timer(SECONDS, over.set)
    writer.start()
    timer.start()
    try:
        while not over.is_set():
            yield
    finally:
        over.set()
        timer.cancel()
        writer.join()


def test_a_task_file_is_read_from_one_opening(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for _ in replaced(lambda version: write(path, *contents(version))):
        found = read(path)  # its digest is checked
        assert {float(tensor[0]) for tensor in found.tensors.values()} == {len(found.header["task"]) - 1.0}
        read_header(path)


def test_a_checkpoint_is_read_from_one_opening(tmp_path: Path) -> None:
    _checkpoint = pytest.importorskip(
        "taskfold.train._checkpoint", reason="needs the extra train", exc_type=ImportError
    )
    path = tmp_path / "checkpoint.safetensors"
    for _ in replaced(lambda version: _checkpoint.save(path, {"run": 1}, contents(version)[1])):
        assert len(_checkpoint.load(path, {"run": 1})) == 4


def test_one_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is gone once it has been opened, as far as Python opens it."""
    path = tmp_path / "a.safetensors"
    write(path, *contents(1))
    bytes_of = Path.read_bytes

    def once(self: Path) -> bytes:
        data = bytes_of(self)
        self.unlink()
        return data

    monkeypatch.setattr(Path, "read_bytes", once)
    assert [*read(path).tensors] == [f"t{n}" for n in range(4)]
    write(path, *contents(1))
    metadata, tensors = contents_of(path)
    assert "taskfold" in metadata
    assert [*tensors] == [f"t{n}" for n in range(4)]


TYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0, 3), (3,), (2, 1, 3)], ids=str)
def test_tensors_come_back_as_they_were(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    path, tensor = tmp_path / "a.safetensors", torch.randint(0, 2, shape).to(dtype)
    write(path, contents(0)[0], {"odd": torch.ones(3, dtype=torch.uint8), "t": tensor})
    found = read(path).tensors["t"]
    assert found.dtype == dtype
    assert torch.equal(found, tensor)


def built() -> tfold.MultiTask:
    model = tfold.MultiTask(nn.Sequential(nn.Linear(4, 4)), tfold.LoRA(rank=1, sharing="shared")).eval()
    model.add_task("a")
    return model


SAVES: dict[str, Callable[[tfold.MultiTask, Path], object]] = {
    "task": lambda model, path: model.save_task("a", path),
    "standalone": lambda model, path: model.save_task("a", path, standalone=True),
    "inventory": lambda model, path: model.save_inventory(path),
    "program": lambda model, path: export(model.fold("a"), [torch.randn(2, 4)], path),
    "bytes": lambda _, path: write_atomically(path, b""),
}


@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
def test_a_folder_is_no_file(tmp_path: Path, save: Callable[[tfold.MultiTask, Path], object]) -> None:
    folder = tmp_path / "kept.pt2"
    folder.mkdir()
    with pytest.raises(IsADirectoryError, match=r"^cannot write '.*kept\.pt2': it is a folder; name a file in it$"):
        save(built(), folder)
    assert list(tmp_path.iterdir()) == [folder]
    assert list(folder.iterdir()) == []


def test_a_folder_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="it is a folder"):
        built().load_task(tmp_path, name="b")


def test_a_full_disk_is_said_with_the_name_of_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match="File too large") as found:
            write_atomically(tmp_path / "a", b"x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert found.value.filename == str(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"before"
