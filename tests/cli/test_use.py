"""Saved tasks: measured, used, shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from taskfold import FTN, MultiTask, build
from taskfold.backbones import load
from taskfold.cli._versions import seen_by
from taskfold.data import digest_of

from . import project
from .conftest import Run


@pytest.fixture(scope="module")
def files(trained: Path) -> list[Path]:
    return [trained / "runs" / "tasks" / f"{name}.safetensors" for name in ("warm", "all")]


@pytest.fixture(scope="module")
def backbone(trained: Path) -> list[object]:
    return ["--backbone", f"{trained}/net.py:build"]


class TestEvaluate:
    def test_a_configuration(self, trained: Path, run: Run) -> None:
        result = run("evaluate", trained / "config.yaml", "--json")
        assert result.exit_code == 0, result.stderr
        tasks = json.loads(result.stdout)["tasks"]
        assert [(task["task"], task["accuracy"], task["count"]) for task in tasks] == [
            ("warm", 1.0, 4),
            ("all", 1.0, 6),
        ]
        assert "100.00%" in run("evaluate", trained / "config.yaml").stdout

    def test_files_with_their_data(self, trained: Path, files: list[Path], backbone: list[object], run: Run) -> None:
        data = ["--data", trained / "data" / "warm", "--data", f"{{kind: folder, root: {trained / 'data' / 'all'}}}"]
        result = run("evaluate", *files, *backbone, *data, "--json")
        assert result.exit_code == 0, result.stderr
        assert "has no test split" in result.stderr
        found = json.loads(result.stdout)["tasks"]
        assert [(task["count"], task["left_out"]) for task in found] == [(4, 20), (6, 30)]
        assert "warm: 20 of 24 samples trained the task or chose its epoch, and are left out" in result.stderr

    def test_a_task_is_not_measured_on_what_it_was_trained_on(
        self, trained: Path, files: list[Path], backbone: list[object], run: Run, tmp_path: Path
    ) -> None:
        shutil.copytree(trained / "data" / "warm" / "red", tmp_path / "elsewhere" / "red")
        project.square(tmp_path / "elsewhere" / "blue" / "new.png", project.COLOURS["blue"], 1000)
        result = run("evaluate", files[0], *backbone, "--data", tmp_path / "elsewhere", "--json")
        [task] = json.loads(result.stdout)["tasks"]
        assert (task["count"], task["left_out"]) == (3, 10)  # two of the copies were held out

    def test_a_configuration_whose_data_were_split_anew(self, trained: Path, run: Run, tmp_path: Path) -> None:
        shutil.copytree(trained, tmp_path / "grown")
        for number in range(12, 24):
            project.square(tmp_path / "grown" / "data" / "warm" / "red" / f"{number}.png", (220, 40, 40), number)
        result = run("evaluate", tmp_path / "grown" / "config.yaml", "--json")
        warm, other = json.loads(result.stdout)["tasks"]
        assert warm["left_out"] > 0
        assert (warm["count"] + warm["left_out"], other["left_out"]) == (7, 0)
        assert f"warm: {warm['left_out']} of 7 samples trained the task" in result.stderr

    def test_data_of_trained_samples_alone_are_refused(
        self, trained: Path, files: list[Path], backbone: list[object], run: Run, tmp_path: Path
    ) -> None:
        seen = seen_by(files[0]) or ()
        images = (trained / "data" / "warm" / "red").iterdir()
        learnt = next(image for image in images if digest_of(image)[:12] in seen)
        for kind in ("blue", "red"):
            (tmp_path / "known" / kind).mkdir(parents=True)
            shutil.copy(learnt, tmp_path / "known" / kind)
        result = run("evaluate", files[0], *backbone, "--data", tmp_path / "known")
        assert result.exit_code == 1
        assert "task 'warm' was trained on all 2 samples, or they chose its epoch; give other data" in result.stderr

    def test_all_samples_count_where_no_record_tells_what_a_task_was_trained_on(
        self, trained: Path, files: list[Path], backbone: list[object], run: Run, tmp_path: Path
    ) -> None:
        file = shutil.copy(files[0], tmp_path / "alone.safetensors")
        result = run("evaluate", file, *backbone, "--data", trained / "data" / "warm", "--json")
        assert json.loads(result.stdout)["tasks"][0]["count"] == 24
        assert f"no record beside {file} tells what it was trained on; all samples count" in result.stderr

    def test_targets_are_matched_by_label(
        self, trained: Path, files: list[Path], backbone: list[object], run: Run
    ) -> None:
        # In this data red is class 1, for the task it is class 2.
        result = run("evaluate", files[1], *backbone, "--data", trained / "data" / "warm", "--json")
        [task] = json.loads(result.stdout)["tasks"]
        assert task["accuracy"] == 1.0
        assert task["recall"] == [1.0, None, 1.0]

    def test_a_label_that_the_task_lacks_is_said(
        self, trained: Path, files: list[Path], backbone: list[object], run: Run
    ) -> None:
        result = run("evaluate", files[0], *backbone, "--data", trained / "data" / "all")
        assert result.exit_code == 1
        assert "task 'warm' does not know green; its labels: blue, red" in result.stderr

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["a.safetensors"], "task files need --data"),
            (["a.yaml", "b.safetensors"], "one configuration, or task files"),
            (["a.yaml", "--backbone", "x"], "leave them out"),
            (["a.safetensors", "--backbone", "x", "--data", "nowhere"], "must be a folder"),
            (["a.safetensors", "--backbone", "x", "--data", "{kind: foldr}"], "foldr"),
        ],
    )
    def test_misuse_is_said(self, arguments: list[str], message: str, run: Run) -> None:
        result = run("evaluate", *arguments)
        assert result.exit_code == 1
        assert message in result.stderr

    def test_what_is_not_trained_yet_is_said(self, tmp_path: Path, trained: Path, run: Run) -> None:
        (tmp_path / "config.yaml").write_text((trained / "config.yaml").read_text())
        assert "not trained yet" in run("evaluate", tmp_path / "config.yaml").stderr


class TestPredict:
    def test_every_image_for_every_task(
        self, trained: Path, files: list[Path], backbone: list[object], run: Run
    ) -> None:
        images = [trained / "data" / "all" / colour / "0.png" for colour in ("red", "blue")]
        result = run("predict", *files, *images, *backbone, "--json")
        assert result.exit_code == 0, result.stderr
        found = json.loads(result.stdout)
        assert found["errors"] == []
        said = [(Path(one["image"]).parent.name, one["task"], one["label"]) for one in found["predictions"]]
        assert sorted(said) == sorted((c, t, c) for c in ("red", "blue") for t in ("warm", "all"))
        assert all(0.5 < one["probability"] <= 1 for one in found["predictions"])

    def test_one_task_of_several_on_a_folder(
        self, trained: Path, files: list[Path], backbone: list[object], run: Run
    ) -> None:
        result = run("predict", *files, trained / "data" / "warm", *backbone, "--task", "all", "--batch-size", 5)
        assert result.exit_code == 0
        assert result.stdout.count("0.png") == 4  # 0.png and 10.png of two classes
        assert " warm " not in result.stdout

    def test_a_folder_has_the_images_that_training_sees(
        self, files: list[Path], backbone: list[object], tmp_path: Path, run: Run
    ) -> None:
        Image.new("L", (30, 20), 200).save(tmp_path / "good.jfif", "JPEG")
        for name in ("._good.jfif", "paper.pdf"):
            (tmp_path / name).write_bytes(b"no image")
        result = run("predict", files[0], tmp_path, *backbone, "--json")
        assert (result.exit_code, result.stdout.count('"image"')) == (0, 1), result.output

    def test_a_corrupt_image_is_named_and_the_others_go_on(
        self, trained: Path, files: list[Path], backbone: list[object], tmp_path: Path, run: Run
    ) -> None:
        (tmp_path / "bad.png").write_bytes(b"no image")
        Image.new("L", (30, 20), 200).save(tmp_path / "good.png")
        result = run("predict", files[0], tmp_path / "bad.png", tmp_path / "good.png", *backbone, "--json")
        assert result.exit_code == 1
        found = json.loads(result.stdout)
        assert [Path(one["image"]).name for one in found["predictions"]] == ["good.png"]
        assert [Path(one["image"]).name for one in found["errors"]] == ["bad.png"]
        assert "bad.png" in result.stderr

    def test_misuse_is_said(
        self, trained: Path, files: list[Path], backbone: list[object], tmp_path: Path, run: Run
    ) -> None:
        image = trained / "data" / "warm" / "red" / "0.png"
        again = tmp_path / "again.safetensors"
        again.write_bytes(files[0].read_bytes())
        for arguments, message in (
            ([files[0], *backbone], "at least one image"),
            ([image, *backbone], "at least one task file"),
            ([files[0], image, *backbone, "--task", "wram"], "did you mean 'warm'"),
            ([files[0], again, image, *backbone], "both hold a task 'warm'"),
            ([files[0], tmp_path, *backbone], "holds no images"),
            ([files[0], image, "--backbone", "torch.nn:Identity"], "another backbone"),
        ):
            result = run("predict", *arguments)
            assert (result.exit_code, result.stdout) == (1, "")
            assert message in result.stderr


class TestInspect:
    def test_a_card(self, files: list[Path], run: Run) -> None:
        result = run("inspect", files[1], "--tensors")
        assert result.exit_code == 0
        for part in (
            "ftn",
            "blue, green, red",
            "rank=3",
            "test_accuracy=1",
            "intact",
            "head.weight",
        ):
            assert part in result.stdout

    @pytest.mark.parametrize(("statistics", "numbers"), [("backbone", 0), ("adapted", 16), ("own", 17)])
    def test_statistics_of_a_task_are_said(self, statistics: str, numbers: int, tmp_path: Path, run: Run) -> None:
        network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
        model = MultiTask(network, build("head-norm", {"statistics": statistics}))
        model.add_task("a")
        model.save_task("a", tmp_path / "a.safetensors")
        [card] = json.loads(run("inspect", tmp_path / "a.safetensors", "--json").stdout)
        assert card["method"]["settings"]["statistics"] == statistics
        assert (card["parameters"]["running statistics"], card["parameters"]["norm"]) == (numbers, 16)
        shown = run("inspect", tmp_path / "a.safetensors").stdout
        assert f"statistics={statistics}" in shown
        assert ("running statistics" in shown) == (numbers > 0)

    def test_numbers_are_those_of_the_task(self, trained: Path, files: list[Path], run: Run) -> None:
        model = MultiTask(load(f"{trained}/net.py:build").network)
        task = model.load_task(files[0])
        [card] = json.loads(run("inspect", files[0], "--json", "--tensors").stdout)
        counts = {kind: number for kind, number in task.counts().items() if number}
        assert {kind: card["parameters"][kind] for kind in counts} == counts
        assert sum(card["bytes"].values()) == task.nbytes()
        assert card["tensors"]["head.weight"] == {"kind": "head", "shape": [2, 8], "dtype": "float32"}

    def test_what_is_fine_tuned_or_shared_is_counted_as_that(self, trained: Path, tmp_path: Path, run: Run) -> None:
        model = MultiTask(load(f"{trained}/net.py:build").network)
        for name, method in {"a": FTN(rank=1, sharing="shared"), "b": __import__("taskfold").FineTuning()}.items():
            model.add_task(name, head=2, method=method)
            model.save_task(name, tmp_path / f"{name}.safetensors", standalone=True)
        cards = json.loads(run("inspect", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--json").stdout)
        assert cards[0]["parameters"]["shared"] == 8 + 8 + 9
        assert cards[1]["parameters"]["factors"] == model["b"].counts()["factors"]

    def test_every_group_that_a_method_has_is_counted(self, trained: Path, tmp_path: Path, run: Run) -> None:
        import taskfold as tfold

        network = load(f"{trained}/net.py:build").network
        task = MultiTask(network, tfold.OverParameterised()).add_task("a", head=2)
        model = MultiTask(network)
        model.add_task("a", head=2, method=tfold.OverParameterised())
        [card] = json.loads(run("inspect", model.save_task("a", tmp_path / "a.safetensors"), "--json").stdout)
        counts = {kind: number for kind, number in task.counts().items() if number}
        assert counts["diagonal"] == card["parameters"]["diagonal"]
        assert {kind: card["parameters"][kind] for kind in counts} == counts
        per_task = tfold.count(network, tfold.OverParameterised(), head=2).per_task
        assert {kind: number for kind, number in per_task.items() if number} == counts

    def test_a_damaged_file_is_said_and_the_others_shown(self, files: list[Path], tmp_path: Path, run: Run) -> None:
        data = bytearray(files[0].read_bytes())
        data[-1] ^= 1
        (tmp_path / "flipped.safetensors").write_bytes(data)
        (tmp_path / "cut.safetensors").write_bytes(data[:100])
        result = run("inspect", tmp_path / "flipped.safetensors", tmp_path / "cut.safetensors", files[0], "--json")
        assert result.exit_code == 1
        assert len(json.loads(result.stdout)) == 1
        assert "do not match its digest" in result.stderr
        assert "truncated" in result.stderr

    def test_a_folder_and_nothing_are_no_files(self, files: list[Path], tmp_path: Path, run: Run) -> None:
        folder = files[0].parent
        result = run("inspect", folder, tmp_path, tmp_path / "nope")
        assert result.exit_code == 1
        assert f"{folder} is a folder; give one of the files in it: {folder}" in result.stderr
        assert f"{tmp_path} is a folder; give a file" in result.stderr
        assert f"there is no file '{tmp_path / 'nope'}'" in result.stderr


class TestReport:
    def test_a_page_beside_the_results_or_elsewhere(self, trained: Path, tmp_path: Path, run: Run) -> None:
        result = run("report", trained / "runs" / "results.json", "-o", tmp_path / "page.html")
        assert result.exit_code == 0
        assert "FTN" in result.stdout
        assert (tmp_path / "page.html").read_text().startswith("<!")

    def test_what_are_no_results_is_said(self, tmp_path: Path, run: Run) -> None:
        (tmp_path / "r.json").write_text("{}")
        result = run("report", tmp_path / "r.json")
        assert result.exit_code == 1
        assert "r.json" in result.stderr


class TestExport:
    def test_one_task_and_several(
        self, files: list[Path], backbone: list[object], run: Run, tmp_path: Path, trained: Path
    ) -> None:
        onnxruntime = pytest.importorskip("onnxruntime")
        both = tmp_path / "both.onnx"
        result = run("export", *files, *backbone, "--output", both)
        assert result.exit_code == 0, result.stderr
        told = json.loads(both.with_suffix(".json").read_text())
        assert [(one["name"], one["index"]) for one in told["tasks"]] == [("warm", 0), ("all", 1)]
        size = told["inputs"]["image"][-1]
        session = onnxruntime.InferenceSession(both)
        model = MultiTask(load(f"{trained}/net.py:build").network).eval()
        for file in files:
            model.load_task(file)
        x = torch.randn(3, 3, size, size)
        [said] = session.run(None, {"image": x.numpy(), "index": np.array([1, 0, 1])})
        with torch.no_grad():
            for row, wanted in zip(said, model(x, task=["all", "warm", "all"]), strict=True):
                assert row[: len(wanted)] == pytest.approx(wanted.numpy(), rel=1e-3, abs=1e-4)
        result = run("export", files[0], *backbone, "-o", tmp_path / "warm.pt2", "--json")
        assert json.loads(result.stdout)["largest_difference"] < 1e-4
        assert torch.export.load(tmp_path / "warm.pt2").module()(x).shape == (3, 2)

    def test_other_suffixes_are_refused(
        self, files: list[Path], backbone: list[object], run: Run, tmp_path: Path
    ) -> None:
        result = run("export", files[0], *backbone, "-o", tmp_path / "warm.pth")
        assert result.exit_code == 1
        assert "must end in .onnx or .pt2, found 'warm.pth'" in result.stderr
        assert not list(tmp_path.iterdir())
