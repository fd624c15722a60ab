"""The HTTP application: predictions, tasks, limits, refusals."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from taskfold.serve import BusyError, Engine
from taskfold.serve._decoding import formats
from taskfold.serve.web import Access, application
from taskfold.tasks import Store

from .colours import LIMITS, MANAGER, TOKEN, image, server, task_file


def labels(response: Any) -> list[tuple[str, str]]:
    assert response.status_code == 200, response.text
    return [(one["task"], one["label"]) for one in response.json()["answers"]]


class TestPredict:
    def test_bytes_multipart_and_json_say_the_same(self, client: TestClient) -> None:
        red = image("red")
        wanted = [("cars", "cars red"), ("birds", "birds red")]
        raw = client.post("/predict?task=cars&task=birds", content=red, headers={"content-type": "image/png"})
        assert labels(raw) == wanted
        assert labels(client.post("/predict", files={"image": red}, data={"task": ["cars", "birds"]})) == wanted
        coded = {"task": ["cars", "birds"], "image": base64.b64encode(red).decode()}
        assert labels(client.post("/predict", json=coded)) == wanted
        assert sorted(labels(client.post("/predict?task=*", content=red))) == sorted(wanted)

    def test_a_batch_is_answered_input_by_input_with_identity(self, client: TestClient) -> None:
        parts = [("image", image("blue")), ("image", image("lime"))]
        found = client.post("/predict", files=parts, data={"task": "cars"}).json()["answers"]
        assert [(one["input"], one["label"]) for one in found] == [(0, "cars blue"), (1, "cars green")]
        known = client.get("/tasks/cars").json()
        assert {(one["digest"], one["generation"]) for one in found} == {(known["digest"], known["generation"])}

    @pytest.mark.parametrize(
        ("body", "status", "words"),
        [
            (b"", 400, "there is no image"),
            (b"no image", 400, "image 0 is no image that this server reads"),
            (image("red")[:45], 400, "cannot be read as an image"),
            (image("red", (200, 200)), 413, "pixels of image 0: found 40,000"),
            (bytes(100_001), 413, "bytes of the body: found 100,001"),
        ],
        ids=["nothing", "no image", "cut short", "many pixels", "many bytes"],
    )
    def test_a_broken_input_is_its_callers_error(
        self, client: TestClient, body: bytes, status: int, words: str
    ) -> None:
        response = client.post("/predict?task=cars", content=body)
        assert (response.status_code, words in response.text) == (status, True), response.text
        assert labels(client.post("/predict?task=cars", content=image("red"))) == [("cars", "cars red")]

    @pytest.mark.parametrize(
        ("query", "status", "words"),
        [
            ("", 400, "name a task"),
            ("?task=carz", 404, "did you mean 'cars'"),
            ("?task=cars&top=0", 400, "top must be a whole number, at least 1"),
            ("?task=cars&top=1&top=2", 400, "top is given twice, '1' and '2'"),
            ("?task=cars&tpo=2", 400, "'tpo' in the URL is not known here; known: choices, task, top"),
            ("?task=cars&task=cars", 400, "task 'cars' is named 2 times"),
            ("?task=cars&task=*", 400, "name no other beside it"),
            ("?task=cars&choices=yes", 400, "task 'cars': choices are for tasks that answer texts"),
        ],
    )
    def test_a_wrong_request_is_refused_by_name(self, client: TestClient, query: str, status: int, words: str) -> None:
        response = client.post(f"/predict{query}", content=image("red"))
        assert (response.status_code, words in response.text) == (status, True), response.text

    @pytest.mark.parametrize(
        "body",
        ["[", "[]", '{"tusk": 1}', '{"task": 1}', '{"image": 3}', '{"top": NaN}', "[" * 9999, '{"top": 1, "top": 2}'],
    )
    def test_odd_json_is_refused(self, client: TestClient, body: str) -> None:
        response = client.post("/predict?task=cars", content=body, headers={"content-type": "application/json"})
        assert response.status_code == 400, response.text
        assert "error" in response.json()

    def test_numbers_that_are_none_are_no_answer(self, client: TestClient, tmp_path: Path) -> None:
        odd = task_file(tmp_path, "odd", "", weight=float("nan")).read_bytes()
        assert client.put("/tasks/odd", content=odd, headers=MANAGER).status_code == 201
        failed = client.post("/predict?task=odd", content=image("red"))
        assert (failed.status_code, "task 'odd' puts out numbers that are infinite" in failed.text) == (500, True)

    def test_too_many_rows_are_refused_before_decoding(self, client: TestClient) -> None:
        parts = [("image", b"not decoded")] * 4
        response = client.post("/predict", files=parts, data={"task": ["cars", "birds"]})
        assert (response.status_code, "found 8" in response.text) == (413, True)

    def test_a_body_without_a_length_is_bounded_too(self, client: TestClient) -> None:
        response = client.post("/predict?task=cars", content=iter([bytes(60_000)] * 3))
        assert response.status_code == 413

    def test_a_text_is_refused_by_tasks_of_images(self, client: TestClient) -> None:
        response = client.post("/predict", json={"task": "cars", "text": "red"})
        assert (response.status_code, "takes images" in response.text) == (400, True)


class TestTasks:
    def test_list_search_and_details(self, client: TestClient) -> None:
        found = client.get("/tasks?search=CA").json()
        assert ([one["name"] for one in found["tasks"]], found["served"]) == (["cars"], 2)
        known = client.get("/tasks/cars").json()
        assert known["labels"] == ["cars red", "cars green", "cars blue"]
        assert known["bytes"] > 0

    def test_changes_need_the_token(self, client: TestClient, files: dict[str, bytes]) -> None:
        for headers in ({}, {"authorization": "Bearer wrong"}):
            assert client.put("/tasks/new", content=files["cars"], headers=headers).status_code == 401
            assert client.delete("/tasks/cars", headers=headers).status_code == 401
            assert client.post("/tasks/cars/rename", json={"name": "x"}, headers=headers).status_code == 401
        assert client.get("/tasks").json()["served"] == 2

    def test_put_replace_rename_roll_back_and_delete(
        self, client: TestClient, files: dict[str, bytes], tmp_path: Path
    ) -> None:
        red = image("red")
        made = client.put("/tasks/new", content=files["birds"], headers=MANAGER)
        assert (made.status_code, labels(client.post("/predict?task=new", content=red))) == (
            201,
            [("new", "birds red")],
        )
        assert client.put("/tasks/new", content=files["cars"], headers=MANAGER).status_code == 200
        assert labels(client.post("/predict?task=new", content=red)) == [("new", "cars red")]
        taken = client.put("/tasks/new", content=files["cars"], headers={**MANAGER, "if-none-match": "*"})
        assert taken.status_code == 409
        assert len(client.get("/tasks/new/versions").json()["versions"]) == 2
        assert client.post("/tasks/new/rollback", headers=MANAGER).json()["digest"] == made.json()["digest"]
        assert labels(client.post("/predict?task=new", content=red)) == [("new", "birds red")]
        assert client.post("/tasks/new/rename", json={"name": "newer"}, headers=MANAGER).status_code == 200
        assert labels(client.post("/predict?task=newer", content=red)) == [("newer", "birds red")]
        assert client.post("/predict?task=new", content=red).status_code == 404
        assert Store(tmp_path).names() == ["birds", "cars", "newer"]
        assert client.delete("/tasks/newer", headers=MANAGER).status_code == 200
        assert client.post("/predict?task=newer", content=red).status_code == 404
        assert Store(tmp_path).names() == ["birds", "cars"]

    @pytest.mark.parametrize(
        ("name", "file", "status", "words"),
        [
            ("new", "ranked", 413, "method.settings.rank: found 64"),
            ("new", "wide", 413, "found 20"),
            ("new", None, 422, "no safetensors file"),
            ("a.b", "cars", 422, "is not allowed"),
            ("Cars", "cars", 409, "differs from task 'cars'"),
        ],
    )
    def test_what_cannot_be_served_changes_nothing(
        self, client: TestClient, files: dict[str, bytes], name: str, file: str | None, status: int, words: str
    ) -> None:
        response = client.put(f"/tasks/{name}", content=files[file] if file else b"no file", headers=MANAGER)
        assert (response.status_code, words in response.text) == (status, True), response.text
        assert sorted(one["name"] for one in client.get("/tasks").json()["tasks"]) == ["birds", "cars"]

    def test_a_file_on_its_way_lies_beside_the_store_and_a_killed_servers_goes_at_the_next_start(
        self, client: TestClient, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[list[str]] = []
        prepare = Engine.prepare

        def noted(self: Engine, file: Path, name: str) -> Any:
            seen.append([file.parent.parent.name, file.parent.name[: len(".taskfold-arriving")]])
            return prepare(self, file, name)

        monkeypatch.setattr(Engine, "prepare", noted)
        assert client.put("/tasks/new", content=files["cars"], headers=MANAGER).status_code == 201
        assert seen == [[tmp_path.name, ".taskfold-arriving"]]
        assert not [*tmp_path.glob(".taskfold-arriving*")]
        left = tmp_path / ".taskfold-arriving.0123abcd"
        left.mkdir()
        (left / "task.safetensors").write_bytes(b"half a task")
        server(store=Store(tmp_path), limits=LIMITS)
        assert not left.exists()

    def test_nobody_manages_without_a_token(self) -> None:
        with TestClient(application(server()), base_url="http://localhost") as client:
            assert client.delete("/tasks/cars", headers=MANAGER).status_code == 403

    def test_a_server_follows_its_store(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        serving, store = server(store=Store(tmp_path)), Store(tmp_path)
        with TestClient(application(serving, Access(TOKEN)), base_url="http://localhost") as client:
            assert client.portal is not None
            (tmp_path / "made").write_bytes(files["cars"])
            store.publish(tmp_path / "made")
            (tmp_path / "bad.safetensors").write_bytes(b"bad")
            for _ in range(2):  # it is said as long as the file is there
                client.portal.call(serving.follow)
                [problem] = serving.problems
                assert problem.startswith("bad: ")
            assert labels(client.post("/predict?task=cars", content=image("red"))) == [("cars", "cars red")]
            store.remove("cars")
            client.portal.call(serving.follow)
            assert client.post("/predict?task=cars", content=image("red")).status_code == 404


class TestTwoServersOnOneFolder:
    """What one of them is told holds at the other with the next request; no test here waits for it to look."""

    @pytest.fixture
    def both(self, tmp_path: Path, client: TestClient) -> Iterator[tuple[TestClient, TestClient]]:
        app = application(server(store=Store(tmp_path), limits=LIMITS), Access(TOKEN))
        with TestClient(app, base_url="http://localhost", headers=MANAGER) as other:
            while other.get("/readyz").status_code != 200:
                pass
            client.headers.update(MANAGER)
            yield client, other

    def test_a_change_holds_for_both_at_once(self, both: Any, files: dict[str, bytes]) -> None:
        one, other = both
        red, digests = image("red"), list[str]()
        for n in range(6):
            putting, asking = both[n % 2], both[1 - n % 2]
            digests.append(putting.put("/tasks/new", content=files[("cars", "birds")[n % 2]]).json()["digest"])
            [found] = asking.post("/predict?task=new", content=red).json()["answers"]
            assert (found["digest"], found["label"]) == (digests[-1], f"{('cars', 'birds')[n % 2]} red")
        assert one.post("/tasks/new/rollback").json()["digest"] == digests[-2]
        assert labels(other.post("/predict?task=new", content=red)) == [("new", "cars red")]
        assert other.post("/tasks/new/rename", json={"name": "newer"}).status_code == 200
        assert one.post("/predict?task=new", content=red).status_code == 404
        assert labels(one.post("/predict?task=newer", content=red)) == [("newer", "cars red")]
        assert [one["name"] for one in other.get("/tasks").json()["tasks"]] == ["birds", "cars", "newer"]
        taken = other.put("/tasks/newer", content=files["cars"], headers={"if-none-match": "*"})
        assert one.put("/tasks/last", content=files["cars"], headers={"if-none-match": "*"}).status_code == 201
        assert other.put("/tasks/last", content=files["cars"], headers={"if-none-match": "*"}).status_code == 409
        assert taken.status_code == 409
        assert other.delete("/tasks/newer").status_code == 200
        assert one.post("/predict?task=newer", content=red).status_code == 404
        assert sorted(labels(one.post("/predict?task=*", content=red))) == [
            (name, f"{kind} red") for name, kind in (("birds", "birds"), ("cars", "cars"), ("last", "cars"))
        ]

    def test_a_version_that_cannot_be_served_is_refused_and_the_one_before_does_not_answer(
        self, both: Any, files: dict[str, bytes], tmp_path: Path
    ) -> None:
        for found in both:
            (tmp_path / "cars.safetensors").write_bytes(b"bad")
            response = found.post("/predict?task=cars", content=image("red"))
            assert (response.status_code, "task 'cars' cannot be served: " in response.text) == (500, True)
            assert str(tmp_path) not in response.text
            assert labels(found.post("/predict?task=birds", content=image("red"))) == [("birds", "birds red")]
        assert both[0].put("/tasks/cars", content=files["cars"]).status_code in (200, 201)
        assert labels(both[1].post("/predict?task=cars", content=image("red"))) == [("cars", "cars red")]

    def test_what_is_published_before_a_renaming_is_what_the_new_name_says(
        self, client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (later := tmp_path / "later").mkdir()
        file, rename = task_file(later, "cars", "later "), Store.rename

        def raced(self: Store, old: str, new: str) -> Any:
            self.publish(file)  # as another process may, after this server has looked
            return rename(self, old, new)

        monkeypatch.setattr(Store, "rename", raced)
        made = client.post("/tasks/cars/rename", json={"name": "carts"}, headers=MANAGER).json()
        assert made["digest"] == Store(tmp_path).digest("carts")
        assert labels(client.post("/predict?task=carts", content=image("red"))) == [("carts", "later red")]

    def test_a_task_answers_before_the_others_have_come(self, files: dict[str, bytes], tmp_path: Path) -> None:
        folder = tmp_path / "many"
        folder.mkdir()
        for name in ("a", "b", "cars"):
            (folder / f"{name}.safetensors").write_bytes(files["cars"])
        serving = server(store=Store(folder))

        async def asked() -> tuple[str, list[str], str]:
            async with serving, serving.lease("cars") as version:
                with pytest.raises(BusyError, match="tasks are being read from the store") as busy:
                    await serving.every()
                return version.name, [*serving.versions], str(busy.value)

        assert asyncio.run(asked())[:2] == ("cars", ["cars"])


def test_batches_of_all_sizes_have_run_before_a_task_is_served(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    run = Engine.run

    def noted(self: Engine, group: Any, rows: Any) -> Any:
        ran.append(len(rows))
        return run(self, group, rows)

    monkeypatch.setattr(Engine, "run", noted)
    (tmp_path / "cars.safetensors").write_bytes(files["cars"])
    formats.cache_clear()
    serving = server(store=Store(tmp_path), size=7, warm=True)
    with TestClient(application(serving, Access(TOKEN)), base_url="http://localhost", headers=MANAGER) as client:
        while client.get("/readyz").status_code != 200:
            assert not serving.versions or ran == [1, 2, 3, 4, 6, 7]
        assert ran == [1, 2, 3, 4, 6, 7]
        assert formats.cache_info().currsize  # what decodes images has been imported
        client.put("/tasks/new", content=files["birds"])  # of the same size
        assert labels(client.post("/predict?task=new", content=image("red"))) == [("new", "birds red")]
        assert ran == [1, 2, 3, 4, 6, 7, 1]


class TestAround:
    def test_health_metrics_stats_openapi_and_page(self, client: TestClient) -> None:
        client.post("/predict?task=cars", content=image("red"))
        assert client.get("/healthz").json()["status"] == "ok"
        assert client.get("/readyz").json() == {"ready": True, "tasks": 2, "problems": []}
        assert "taskfold_tasks 2.0" in client.get("/metrics").text
        assert client.get("/stats").json()["rows"] >= 1
        assert "/predict" in client.get("/openapi.json").json()["paths"]
        page = client.get("/")
        assert "Drop an image" in page.text
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert [client.get(path).status_code for path in ("/page.js", "/page.css")] == [200, 200]

    def test_another_host_name_is_refused(self, client: TestClient) -> None:
        assert client.get("/tasks", headers={"host": "elsewhere.example"}).status_code == 400


class TestInference:
    def test_a_model_that_is_a_task(self, client: TestClient) -> None:
        assert client.get("/v2/health/ready").json() == {"ready": True}
        assert client.get("/v2/models/cars").json()["inputs"][0]["shape"] == [-1, 3, 4, 4]
        pixels = np.zeros((2, 3, 4, 4), np.float32)
        pixels[0, 0], pixels[1, 2] = 1, 1
        one = {"name": "image", "shape": [2, 3, 4, 4], "datatype": "FP32", "data": pixels.reshape(-1).tolist()}
        found = client.post("/v2/models/cars/infer", json={"id": "7", "inputs": [one]}).json()
        assert (found["id"], found["model_name"]) == ("7", "cars")
        outputs = {each["name"]: each for each in found["outputs"]}
        assert outputs["label"]["data"] == ["cars red", "cars blue"]
        assert outputs["task"]["data"] == ["cars", "cars"]
        assert outputs["outputs"]["shape"] == [2, 3]
        asked = {"inputs": [one], "parameters": {"task": "birds"}}
        other = client.post("/v2/models/taskfold/infer", json=asked).json()
        assert other["outputs"][1]["data"] == ["birds red", "birds blue"]

    def test_bytes_behind_the_header_and_a_task_for_each_row(self, client: TestClient) -> None:
        def texts(*parts: bytes) -> bytes:
            return b"".join(len(part).to_bytes(4, "little") + part for part in parts)

        images, names = texts(image("red"), image("lime")), texts(b"birds", b"cars")
        listed = [("image", images), ("task", names)]
        inputs = [
            {"name": name, "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
            for name, data in listed
        ]
        head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
        size = {"inference-header-content-length": str(len(head))}
        response = client.post("/v2/models/taskfold/infer", content=head + images + names, headers=size)
        assert response.status_code == 200, response.text
        length = int(response.headers["inference-header-content-length"])
        said, rest = json.loads(response.content[:length]), response.content[length:]
        for one in said["outputs"]:
            data, rest = rest[: one["parameters"]["binary_data_size"]], rest[one["parameters"]["binary_data_size"] :]
            if one["name"] == "label":
                assert data == texts(b"birds red", b"cars green")
        assert not rest

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"shape": [1, 3, 5, 5], "data": [0.0] * 75}, "takes [3, 4, 4], found [3, 5, 5]"),
            ({"shape": [2, 3, 4, 4]}, "has 96 numbers, found 48"),
            ({"shape": [1 << 40]}, "shape must list"),
            ({"shape": [1] * 9}, "shape must list"),
            ({"datatype": "FP8"}, "datatype must be"),
            ({"data": ["a"]}, "data are no FP32"),
            ({"name": "tokens"}, "inputs must be image or text"),
            ({"parameters": {"binary_data_size": 9}}, "is not what the body holds"),
        ],
    )
    def test_odd_tensors_are_refused_by_name(self, client: TestClient, change: dict[str, Any], words: str) -> None:
        one = {"name": "image", "shape": [1, 3, 4, 4], "datatype": "FP32", "data": [0.0] * 48} | change
        response = client.post("/v2/models/cars/infer", json={"inputs": [one]})
        assert (response.status_code, words in response.text) == (400, True), response.text

    def test_no_task_is_no_answer(self, client: TestClient) -> None:
        one = {"name": "image", "shape": [1, 3, 4, 4], "datatype": "FP32", "data": [0.0] * 48}
        assert client.post("/v2/models/taskfold/infer", json={"inputs": [one]}).status_code == 404
        assert client.post("/v2/models/carz/infer", json={"inputs": [one]}).status_code == 404
