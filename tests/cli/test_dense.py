"""Dense tasks: trained one by one and together, used, measured; interrupted, continued, refused."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from taskfold.cli._dense import DenseTask
from taskfold.dense import KINDS, DenseScores, DenseTensors, build_network, nyuv2, parse_dense_source
from taskfold.model import MultiTask
from taskfold.report import read_results
from taskfold.tasks import read_header
from taskfold.train import TaskSet

from . import rooms
from .conftest import Run
from .served import answers, served

NAMES = {"classes": "segmentation", "depth": "depth", "normals": "normals"}


def task_files(folder: Path) -> list[Path]:
    return [folder / "runs" / "tasks" / f"{name}.safetensors" for name in NAMES]


def loaded_by_hand(folder: Path, name: str) -> MultiTask:
    """A task without any of the command line's code."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network("segnet", {"width": 4, "stages": 2})
    model = MultiTask(network.backbone, features=lambda output: output)  # type: ignore[arg-type,return-value]
    if (folder / "runs" / "inventory.safetensors").exists():
        model.load_inventory(folder / "runs" / "inventory.safetensors")
    file = folder / "runs" / "tasks" / f"{name}.safetensors"
    model.load_task(file, head=network.head(rooms.CHANNELS[NAMES[name]]))
    return model.train(False)


def scores_by_hand(folder: Path, name: str) -> dict[str, float]:
    """What a task scores on the test split, each image by itself."""
    target = NAMES[name]
    source = parse_dense_source({"kind": "nyuv2", "root": folder / "data", "classes": rooms.CLASSES})
    data, protocol = source.load(), nyuv2(rooms.CLASSES)
    assert data.test is not None
    model, scores = loaded_by_hand(folder, name), DenseScores(protocol.only([target]))
    with torch.no_grad():
        for sample in DenseTensors(data.test):
            batch = protocol.collate([sample])
            scores.update({target: model(batch.images, task=name)}, batch)
    return scores.result()[target]


@pytest.mark.parametrize("way", ["alone", "joint"])
def test_what_a_run_leaves_behind(way: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(way)
    results = read_results(folder / "runs" / "results.json")
    tables = {table.title: table for table in results.comparisons}
    assert {title: [row.label for row in table.rows] for title, table in tables.items()} == {
        "Segmentation": ["classes"],
        "Depth": ["depth"],
        "Normals": ["normals"],
    }
    for name, target in NAMES.items():
        header, expected = read_header(folder / "runs" / "tasks" / f"{name}.safetensors"), scores_by_hand(folder, name)
        kept = {f"test_{score}": value for score, value in expected.items()}
        assert {key: header["info"]["metrics"][key] for key in kept} == pytest.approx(kept, rel=1e-5, abs=1e-5)
        table = tables[target.capitalize()]
        shown = dict(zip([column.title for column in table.columns], table.rows[0].cells, strict=True))
        measured = {score: shown[KINDS[target].titles[score]].mean for score in expected}
        assert measured == pytest.approx(expected, rel=1e-5, abs=1e-5)
    [scenes] = results.scenes
    assert (scenes.tasks, [len(scene.views) for scene in scenes.images]) == (tuple(NAMES), [3] * 4)
    assert [item.name for item in scenes.legends[0].classes] == [str(n) for n in range(rooms.CLASSES)]
    assert [(task.train, task.val, task.test) for task in results.tasks] == [(6, 3, 4)] * 3


@pytest.mark.parametrize("way", ["alone", "joint"])
def test_a_server_draws_the_maps_that_predict_draws(
    way: str, request: pytest.FixtureRequest, run: Run, tmp_path: Path
) -> None:
    folder: Path = request.getfixturevalue(way)
    pixels = np.random.default_rng(0).integers(0, 255, (10, 12, 3), np.uint8)  # no size that the network divides
    Image.fromarray(pixels).save(image := tmp_path / "image.png")
    drawn = json.loads(run("predict", *task_files(folder), image, "-o", tmp_path / "maps", "--json").stdout)
    wanted = {one["task"]: one for one in drawn["predictions"]}
    with served(run, folder / "runs") as client:
        found = answers(client.post("/predict?task=*", content=image.read_bytes()))
        assert sorted(one["task"] for one in found) == sorted(wanted) == sorted(NAMES)
        for one in found:
            mine, theirs = (np.load(at) for at in (_file(one["array"]), wanted[one["task"]]["array"]))
            assert (one["target"], one["size"]) == (NAMES[one["task"]], [10, 12])
            assert mine.dtype == theirs.dtype
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
            maps = [np.array(Image.open(at), int) for at in (_file(one["map"]), wanted[one["task"]]["picture"])]
            assert maps[0].shape == maps[1].shape
            assert np.abs(maps[0] - maps[1]).max() <= 1
        small = io.BytesIO()
        Image.new("RGB", (1, 1)).save(small, "png")
        failed = client.post("/predict?task=depth", content=small.getvalue())
        assert (failed.status_code, "task 'depth': the network cannot run this input" in failed.text) == (500, True)


def test_dense_tensors_through_the_inference_protocol(alone: Path, run: Run) -> None:
    with served(run, alone / "runs") as client:
        assert client.get("/v2/models/classes").json()["inputs"][0]["shape"] == [-1, 3, -1, -1]
        one = {"name": "image", "shape": [2, 3, 8, 12], "datatype": "FP32", "data": [0.5] * 576}
        found = client.post("/v2/models/classes/infer", json={"inputs": [one]})
        assert found.status_code == 200, found.text
        assert found.json()["outputs"][0]["shape"] == [2, rooms.CLASSES, 8, 12]
        one["shape"] = [6, 1, 8, 12]
        refused = client.post("/v2/models/classes/infer", json={"inputs": [one]})
        assert (refused.status_code, "takes [3, any, any], found [1, 8, 12]" in refused.text) == (400, True)


def _file(text: str) -> io.BytesIO:
    return io.BytesIO(base64.b64decode(text))


def test_each_task_is_trained_as_if_it_were_the_only_one(alone: Path, tmp_path: Path, run: Run) -> None:
    result = run("train", rooms.write(tmp_path, tasks=[{"name": "depth"}]))
    assert result.exit_code == 0, result.stderr
    assert digest(tmp_path, "depth") == digest(alone, "depth")


def test_an_image_is_read_once_for_all_tasks_that_are_trained_together(tmp_path: Path, run: Run) -> None:
    config = rooms.together(tmp_path, together={"epochs": 1, "batch_size": 6, "reestimate_norm": False}, dense=None)
    seen = list[tuple[str, int]]()

    class Counted(DenseTensors):
        def __getitem__(self, index: int) -> Any:
            seen.append((str(self.samples.entries[index].image.parent.parent.name), index))
            return super().__getitem__(index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("taskfold.cli._dense_seen.DenseTensors", Counted)
        sets = DenseTask.joint
        found: dict[str, TaskSet] = {}

        def joint(tasks: Any, seed: int) -> Any:
            made = sets(tasks, seed)
            found.update(made[0])  # type: ignore[arg-type]
            return made

        patch.setattr(DenseTask, "joint", joint)
        assert run("train", config).exit_code == 0
    assert list(found) == [tuple(NAMES)]
    assert sorted(index for split, index in seen if split == "train") == list(range(6))


class TestEvaluate:
    def test_all_scores(self, joint: Path, run: Run) -> None:
        result = run("evaluate", joint / "rooms.yaml", "--json")
        assert result.exit_code == 0, result.stderr
        for task in json.loads(result.stdout)["tasks"]:
            expected = scores_by_hand(joint, task["task"])
            assert {key: task[key] for key in expected} == pytest.approx(expected, abs=1e-5)
            kind = NAMES[task["task"]]
            assert (task["target"], task["main"], task["split"]) == (kind, KINDS[kind].main, "test")

    def test_task_files_with_data(self, joint: Path, tmp_path: Path, run: Run) -> None:
        rooms.rooms(tmp_path / "other", (16, 20), {"train": 1, "val": 2})
        data = f"{{kind: nyuv2, root: {tmp_path / 'other'}, classes: 3, check_files: false}}"
        result = run("evaluate", *task_files(joint)[:2], "--data", data, "--json")
        assert result.exit_code == 0, result.stderr
        assert [(task["split"], task["count"]) for task in json.loads(result.stdout)["tasks"]] == [("val", 2)] * 2
        told = run("evaluate", task_files(joint)[0], "--data", data)
        assert "mIoU" in told.stdout
        assert "the data have no test split; measured on val" in told.stderr

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ("{folder}", "task 'classes' is for dense targets, and data of kind folder have images; give other data"),
            ("{{kind: nyuv2, root: {folder}, classes: 5}}", "task 'classes' has 3 classes, and nyuv2:data has 5"),
            ("{{kind: nyuv2, root: {folder}, klasses: 5}}", "klasses: key is not known; did you mean classes?"),
            ("{{kind: nyu, root: {folder}}}", "kind 'nyu' is not known; did you mean nyuv2?"),
        ],
    )
    def test_other_data_are_refused(self, data: str, message: str, alone: Path, run: Run) -> None:
        result = run("evaluate", task_files(alone)[0], "--data", data.format(folder=alone / "data"))
        assert result.exit_code == 1
        assert message in result.stderr

    def test_a_task_of_images_on_dense_data(self, trained: Path, alone: Path, run: Run) -> None:
        data = f"{{kind: nyuv2, root: {alone / 'data'}}}"
        result = run("evaluate", trained / "runs" / "tasks" / "warm.safetensors", "--data", data)
        assert "task 'warm' is for images, and data of kind nyuv2 have dense targets" in result.stderr


class TestPredict:
    def test_arrays_and_pictures_are_what_the_tasks_say(self, joint: Path, tmp_path: Path, run: Run) -> None:
        output = tmp_path / "maps"
        result = run("predict", *task_files(joint), joint / "data" / "test" / "image", "-o", output, "--json")
        assert result.exit_code == 0, result.stderr
        found = json.loads(result.stdout)
        assert (len(found["predictions"]), found["errors"]) == (4 * 3, [])
        [one] = [p for p in found["predictions"] if p["task"] == "classes" and p["image"].endswith("2.npy")]
        image = torch.from_numpy(np.load(joint / "data" / "test" / "image" / "2.npy")).permute(2, 0, 1)
        network = build_network("segnet", {"width": 4})
        mean, std = (torch.tensor(part)[:, None, None] for part in (network.mean, network.std))
        with torch.no_grad():
            expected = loaded_by_hand(joint, "classes")(((image - mean) / std)[None], task="classes")[0].argmax(0)
        assert (np.load(one["array"]) == expected.numpy()).all()
        with Image.open(one["picture"]) as picture:
            colours = np.array(picture.convert("RGB")).reshape(-1, 3)
        assert len(np.unique(colours, axis=0)) == len(expected.unique())

    def test_what_is_written_can_be_read_as_targets(self, alone: Path, tmp_path: Path, run: Run) -> None:
        photo = tmp_path / "photo.png"
        Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(photo)
        output = tmp_path / "maps"
        assert run("predict", *task_files(alone), photo, "--output", output).exit_code == 0
        kinds = nyuv2(rooms.CLASSES).kinds
        for name, target in NAMES.items():
            values = np.load(output / name / "photo.npy")
            assert kinds[target].clean(values).shape[1:] == (20, 30)
            with Image.open(output / name / "photo.png") as picture:
                assert (picture.size, picture.mode) == ((30, 20), "RGB")

    def test_one_that_cannot_be_read_is_named_and_the_others_are_answered(
        self, alone: Path, tmp_path: Path, run: Run
    ) -> None:
        folder = tmp_path / "photos"
        (folder / "inner").mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "inner" / "good.png")
        (folder / "bad.png").write_bytes(b"no image")
        result = run("predict", task_files(alone)[1], folder, "-o", tmp_path / "maps")
        assert result.exit_code == 1
        assert "bad.png" in result.stderr
        assert (tmp_path / "maps" / "depth" / "inner" / "good.npy").exists()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["photo.png", "--choices", "a ||| b"], "--choices is for tasks of texts, and these are for dense targets"),
            ([], "give at least one image"),
            (["photo.png", "--batch-size", "4"], "--batch-size is for tasks of images and texts"),
            (["a/photo.png", "b/photo.png"], "would both be written to photo"),
            (["empty"], "holds no images"),
        ],
    )
    def test_what_makes_no_sense_is_refused(
        self, options: list[str], message: str, alone: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path)
        result = run("predict", task_files(alone)[1], *options)
        assert result.exit_code == 1
        assert message in result.stderr
        assert not (tmp_path / "predictions").exists()


def test_an_image_is_seen_in_the_size_that_the_task_was_trained_in(tmp_path: Path, run: Run) -> None:
    config = rooms.write(tmp_path, dense={"size": [4, 8]}, tasks=[{"name": "depth"}])
    assert run("train", config).exit_code == 0
    output = tmp_path / "maps"
    image = tmp_path / "data" / "test" / "image" / "0.npy"
    result = run("predict", tmp_path / "runs" / "tasks" / "depth.safetensors", image, "-o", output)
    assert result.exit_code == 0, result.stderr
    model = loaded_by_hand(tmp_path, "depth")
    source = parse_dense_source({"kind": "nyuv2", "root": tmp_path / "data", "classes": rooms.CLASSES})
    data = source.load()
    assert data.test is not None
    with torch.no_grad():
        small = model(DenseTensors(data.test, size=(4, 8))[0].image[None], task="depth")
    large = torch.nn.functional.interpolate(small, rooms.SIZE, mode="bilinear")[0, 0]
    assert np.allclose(np.load(output / "depth" / "0.npy"), large.numpy(), atol=1e-5)


def test_inspect_says_what_a_task_is_for(joint: Path, trained: Path, run: Run) -> None:
    shown = run("inspect", *task_files(joint)).stdout
    assert [line.split(maxsplit=1)[1].strip() for line in shown.splitlines() if line.strip().startswith("for ")] == [
        f"dense: {target}" for target in NAMES.values()
    ]
    [card] = json.loads(run("inspect", task_files(joint)[0], "--json").stdout)
    assert card["data"] == "dense"
    assert " images " in run("inspect", trained / "runs" / "tasks" / "warm.safetensors").stdout


def digest(folder: Path, name: str) -> str:
    return hashlib.sha256((folder / "runs" / "tasks" / f"{name}.safetensors").read_bytes()).hexdigest()
