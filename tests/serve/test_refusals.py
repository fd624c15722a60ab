"""Parts of a request that the server would ignore are refused by name, and every refusal has one form."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from .colours import MANAGER, image
from .conftest import asking

IMAGE = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(image("red")).decode()]}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> Iterator[TestClient]:
    """One for all, since refusals change nothing."""
    with asking(tmp_path_factory.mktemp("store"), files) as found:
        yield found


def refused(response: Any, status: int, words: str) -> None:
    assert response.status_code == status, response.text
    assert words in response.json()["error"], response.text


def test_a_key_that_stands_twice_is_no_request(client: TestClient) -> None:
    said = '{"task": "cars", "task": "birds", "image": ""}'
    response = client.post("/predict", content=said, headers={"content-type": "application/json"})
    refused(response, 400, "key 'task' stands there twice")


@pytest.mark.parametrize(
    ("path", "top"), [("/predict?top=1", "2"), ("/predict", "1.5"), ("/predict", True), ("/predict", None)]
)
def test_top_is_one_whole_number(client: TestClient, path: str, top: object) -> None:
    refused(client.post(path, json={"task": "cars", "image": IMAGE["data"], "top": top}), 400, "top ")


def test_a_part_that_is_no_file_is_told_how_to_be_one(client: TestClient) -> None:
    parts = [("image", (None, "photo.jpg")), ("task", (None, "cars"))]
    refused(client.post("/predict", files=parts), 400, "must be a file (curl -F image=@photo.jpg), found 'image'")
    refused(client.post("/predict", files=[("imgae", (None, "x"))]), 400, "part 'imgae' is not known here")


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/nothing", 404, "there is nothing at '/nothing'"),
        ("DELETE", "/predict", 405, "DELETE is not for '/predict'"),
        ("GET", "/tasks?limit=0", 400, "limit: Input should be greater than or equal to 1, found '0'"),
        ("GET", "/tasks?limit=abc", 400, "found 'abc'"),
        ("GET", "/tasks?serch=a", 400, "'serch' in the URL is not known here; known: limit, offset, search"),
        ("GET", "/tasks?search=a&search=b", 400, "search in the URL is given twice"),
        ("POST", "/tasks/cars/rollback?too=ab", 400, "'too' in the URL is not known here; known: to"),
        ("DELETE", "/tasks/cars?purged=true", 400, "'purged' in the URL is not known here; known: purge"),
        ("PUT", "/tasks/cars?new=1", 400, "'new' in the URL is not known here; known: none"),
        ("POST", "/v2/models/cars/infer?task=cars", 400, "'task' in the URL is not known here; known: none"),
    ],
)
def test_what_the_framework_refuses_is_said_alike(
    client: TestClient, method: str, path: str, status: int, words: str
) -> None:
    refused(client.request(method, path, headers=MANAGER), status, words)
    assert client.get("/tasks/cars").status_code == 200


@pytest.mark.parametrize("value", [1e39, -1e39])
def test_numbers_that_single_precision_lacks_are_the_callers_error(client: TestClient, value: float) -> None:
    for kind in ("FP32", "FP64"):
        one = {"name": "image", "shape": [1, 3, 4, 4], "datatype": kind, "data": [value] * 48}
        response = client.post("/v2/models/cars/infer", json={"inputs": [one]})
        refused(response, 400, "image 0: must be numbers that single precision has, found NaN or infinity")


def test_another_host_is_told_how_to_be_let_in(client: TestClient) -> None:
    for host in ("evil.example", "evil.example:8000", "localhost.evil.example"):
        refused(client.get("/tasks", headers={"host": host}), 400, "--hostname")
    for host in ("LOCALHOST:8000", "127.0.0.1", "[::1]:8000"):
        assert client.get("/tasks", headers={"host": host}).status_code == 200


def test_head_says_what_get_says_without_a_body(client: TestClient) -> None:
    for path in ("/", "/healthz", "/readyz", "/tasks/cars"):
        assert client.head(path).status_code == 200
    assert client.head("/tasks/carz").status_code == 404
    assert client.head("/predict").status_code == 405


@pytest.mark.parametrize("condition", [{"if-none-match": '"abc"'}, {"if-match": "*"}])
def test_a_condition_that_is_not_known_changes_nothing(client: TestClient, condition: dict[str, str]) -> None:
    refused(client.put("/tasks/new", content=b"", headers=MANAGER | condition), 400, "If-None-Match: *")
    assert client.get("/tasks/new").status_code == 404


def test_a_task_file_that_is_none_is_refused_without_a_path_of_the_server(client: TestClient) -> None:
    response = client.put("/tasks/new", content=b"nothing", headers=MANAGER)
    refused(response, 422, "cannot be served as 'new': ")
    assert "safetensors/" not in response.text
    assert "arriving" not in response.text


def test_a_name_in_decomposed_letters_is_told_the_composed_one(client: TestClient, files: dict[str, bytes]) -> None:
    assert client.put("/tasks/été", content=files["cars"], headers=MANAGER).status_code == 201
    refused(client.get("/tasks/e\u0301te\u0301"), 404, "did you mean 'été'?")


class TestInference:
    def test_the_outputs_that_are_asked_come_alone(self, client: TestClient) -> None:
        said = {"inputs": [IMAGE], "outputs": [{"name": "digest"}, {"name": "label"}]}
        found = client.post("/v2/models/cars/infer", json=said).json()["outputs"]
        assert [one["name"] for one in found] == ["digest", "label"]
        assert found[1]["data"] == ["cars red"]

    @pytest.mark.parametrize(
        ("said", "words"),
        [
            ({"ouputs": [{"name": "label"}]}, "the request: key 'ouputs' is not known here; keys: id, parameters"),
            ({"parameters": {"tsk": "birds"}}, "the request: parameter 'tsk' is not known here; known: task, binary"),
            ({"parameters": ["birds"]}, "parameters must be an object, found ['birds']"),
            ({"parameters": {"task": ["birds"]}}, "parameter task must be of type str, found ['birds']"),
            ({"parameters": {"binary_data_output": "yes"}}, "binary_data_output must be of type bool"),
            ({"id": 3}, "id must be a text, found 3"),
            ({"inputs": [{**IMAGE, "content": "x"}]}, "input 'image': key 'content' is not known here"),
            ({"inputs": [{**IMAGE, "parameters": {"task": "birds"}}]}, "input 'image': parameter 'task' is not known"),
            ({"inputs": [{**IMAGE, "shape": [1, 1]}]}, "BYTES must have shape [rows], found entries of shape [1]"),
            ({"outputs": [{"name": "label"}, {"name": "label"}]}, "output 'label' is listed twice"),
            (
                {"outputs": [{"name": "label", "parameters": {"classification": 2}}]},
                "parameter 'classification'",
            ),
            ({"outputs": [{"name": "label", "datatype": "FP32"}]}, "output 'label': key 'datatype' is not known"),
        ],
    )
    def test_what_a_request_says_is_heard_or_refused(
        self, client: TestClient, said: dict[str, Any], words: str
    ) -> None:
        refused(client.post("/v2/models/cars/infer", json={"inputs": [IMAGE], **said}), 400, words)

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            ([[[0.5] * 3] * 4] * 4, "nested as [4, 4, 3], and shape says [1, 3, 4, 4]"),
            (["0.5"] * 48, "they are of other types"),
            ([True] * 48, "they are of other types"),
            ([None] * 48, "they are of other types"),
            ([[0.5], 0.5] * 24, "data are no FP32"),
        ],
    )
    def test_numbers_are_numbers_in_the_order_that_the_shape_says(
        self, client: TestClient, data: list[Any], words: str
    ) -> None:
        one = {"name": "image", "shape": [1, 3, 4, 4], "datatype": "FP32", "data": data}
        refused(client.post("/v2/models/cars/infer", json={"inputs": [one]}), 400, words)

    def test_bytes_that_no_input_names_are_refused(self, client: TestClient) -> None:
        head = json.dumps({"inputs": [IMAGE]}).encode()
        for size, words in ((str(len(head)), "3 bytes behind the JSON belong to no input"), ("+5", "number of bytes")):
            headers = {"inference-header-content-length": size}
            refused(client.post("/v2/models/cars/infer", content=head + b"abc", headers=headers), 400, words)

    @pytest.mark.parametrize("outputs", [[{"name": "nope"}], ["nope"], "nope", [{}], {"name": "label"}])
    def test_an_output_that_is_none_is_refused(self, client: TestClient, outputs: object) -> None:
        response = client.post("/v2/models/cars/infer", json={"inputs": [IMAGE], "outputs": outputs})
        refused(response, 400, "outputs must be a list of {")

    def test_an_input_that_is_given_twice_is_refused(self, client: TestClient) -> None:
        refused(client.post("/v2/models/cars/infer", json={"inputs": [IMAGE, IMAGE]}), 400, "'image' is given twice")
