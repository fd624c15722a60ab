"""The Open Inference Protocol, version 2, as KServe and Triton speak it, with the task as a request parameter."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import torch
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray
from torch import Tensor

from ... import __version__
from .._answers import outputs_of, ready_of
from .._decoding import picture, text
from .._engine import Stacked
from .._errors import InputError, UnknownTaskError
from .._reading import Asked, Ready
from .._server import TaskServer
from .._version import Version
from . import _tensors
from ._gone import unless_gone
from ._predict import base64_of

MODEL = "taskfold"
"""The model whose requests name a task; a task's own name is a model too."""
Row = tuple[Version, Ready]


def router(server: TaskServer) -> APIRouter:
    """The routes."""
    found = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

    @found.get("")
    async def about() -> dict[str, Any]:
        """The server."""
        return {"name": "taskfold", "version": __version__, "extensions": ["binary_tensor_data"]}

    @found.get("/health/live")
    async def live() -> dict[str, bool]:
        """The process answers."""
        return {"live": True}

    @found.get("/health/ready")
    async def ready(response: Response) -> dict[str, bool]:
        """Batches run, and tasks are loaded."""
        response.status_code = 200 if server.ready else 503
        return {"ready": server.ready}

    @found.get("/models/{model}/ready")
    async def model_ready(model: str) -> dict[str, Any]:
        """A task, or the model of all."""
        if model != MODEL:
            await server.find(model)
        return {"name": model, "ready": server.batcher.running}

    @found.get("/models/{model}")
    async def metadata(model: str) -> dict[str, Any]:
        """Inputs and outputs of a task."""
        if model == MODEL:
            return {"name": MODEL, "versions": [], "platform": "taskfold", "inputs": [], "outputs": []}
        version = await server.find(model)
        form, shape = version.reading.takes, version.reading.shape
        kinds = [("FP32", [-1, *(-1 if size is None else size for size in shape)])] if shape else []
        inputs = [{"name": form, "datatype": kind, "shape": sizes} for kind, sizes in [*kinds, ("BYTES", [-1])]]
        labels = len(version.info.labels) or -1
        outputs = [{"name": "outputs", "datatype": "FP32", "shape": [-1, labels]}]
        outputs += [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in ("label", "task", "digest")]
        return {
            "name": model,
            "versions": [version.digest],
            "platform": "taskfold",
            "inputs": inputs,
            "outputs": [*outputs, {"name": "generation", "datatype": "INT64", "shape": [-1]}],
        }

    @found.post("/models/{model}/infer")
    async def infer(model: str, request: Request) -> Response:
        """Runs rows of one task (parameter `task`, or the model's name), or of a task for each row (input `task`).

        Inputs: `image` as floats `[B, …]` prepared by the client, or as BYTES `[B]`, image files (base64 in JSON); or
        `text`, BYTES `[B]`. Outputs: the network's outputs, and each row's label, task, digest and generation.
        """
        said, inputs = _tensors.read(await request.body(), request.headers.get(_tensors.LENGTH))
        names = _names(model, said, inputs)
        server.limits.check("rows", len(names), "rows")
        document: dict[str, Any] = {"model_name": model}
        if "id" in said:
            document["id"] = said["id"]
        made = await unless_gone(request, _infer(server, names, inputs))
        made = _tensors.wanted(said, made)
        body, size = _tensors.written(document, made, _tensors.wanted_binary(said, list(made)))
        if size is None:
            return Response(body, media_type="application/json")
        headers = {_tensors.LENGTH: str(size)}
        return Response(body, media_type="application/octet-stream", headers=headers)

    return found


def _names(model: str, said: dict[str, Any], inputs: dict[str, NDArray[Any]]) -> list[str]:
    asked = _tensors.of_request(said).get("task")
    if (each := inputs.pop("task", None)) is not None:
        if each.dtype != object or each.ndim > 1:
            raise InputError("input task must be BYTES of shape [rows], a name for each row")
        names = [one.decode(errors="replace") for one in each]
        if asked is not None or model != MODEL:
            raise InputError(f"input task names the task of each row; leave the parameter out, and ask model {MODEL!r}")
    elif model != MODEL and asked not in (None, model):
        raise InputError(f"model {model!r} is a task, and parameter task says {asked!r:.60}; give one of them")
    elif (one := asked if model == MODEL else model) is None:
        raise UnknownTaskError('no task is named: give parameters {"task": NAME}, or ask the model of that name')
    else:
        names = [one] * len(next(iter(inputs.values()), ()))
    if len(inputs) != 1 or next(iter(inputs)) not in ("image", "text"):
        raise InputError(f"inputs must be image or text, and perhaps task, found {', '.join(inputs) or 'none'}")
    if len(next(iter(inputs.values()))) != len(names):
        raise InputError(f"input task names {len(names)} tasks for {len(next(iter(inputs.values())))} rows")
    return names


async def _infer(server: TaskServer, names: Sequence[str], inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    [(form, values)] = inputs.items()
    async with AsyncExitStack() as leases:
        leased = {name: await leases.enter_async_context(server.lease(name)) for name in dict.fromkeys(names)}
        for version in leased.values():
            if version.reading.takes != form:
                raise InputError(f"task {version.name!r} takes {version.reading.takes}s, and this is a {form}")
        server.batcher.check_room(len(names))

        def made() -> list[Row]:
            return [
                (leased[name], _ready(server, leased[name], value, f"{form} {n}"))
                for n, (name, value) in enumerate(zip(names, values, strict=True))
            ]

        rows = await server.decoding(made)
        outputs = await outputs_of(server, rows)
        return await server.wording(lambda: _said(rows, outputs))


def _ready(server: TaskServer, version: Version, value: Any, where: str) -> Ready:
    reading = version.reading
    if isinstance(value, bytes):
        if reading.takes == "text":
            given = text(value, server.limits, where)
        else:
            data = value if not value.isascii() else base64_of(value.decode(), where)
            given = picture(data, server.limits, where)
        return ready_of(version, given.content, Asked())
    if value.dtype == object:
        raise InputError(f"{where}: BYTES must have shape [rows], found entries of shape {list(value.shape)}")
    if reading.takes == "text" or not np.issubdtype(value.dtype, np.floating):
        raise InputError(f"{where}: task {version.name!r} takes {reading.takes}s as BYTES, or images as floats")
    if reading.shape is not None and not _fits(value.shape, reading.shape):
        sizes = ", ".join("any" if size is None else str(size) for size in reading.shape)
        raise InputError(f"{where}: task {version.name!r} takes [{sizes}], found {list(value.shape)}")
    tensor = torch.from_numpy(np.array(value)).float()
    if not bool(tensor.isfinite().all()):
        raise InputError(f"{where}: must be numbers that single precision has, found NaN or infinity")
    return Ready(Stacked(tuple(tensor.shape), tensor.dtype), tensor)


def _fits(found: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(found) == len(wanted) and all(
        there > 0 and size in (None, there) for there, size in zip(found, wanted, strict=True)
    )


def _said(rows: Sequence[Row], outputs: Sequence[Any]) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    if all(isinstance(one, Tensor) for one in outputs):
        if len(shapes := {tuple(one.shape) for one in outputs}) > 1:
            raise InputError(f"rows have outputs of several sizes, {sorted(shapes)}; ask for them in several requests")
        found["outputs"] = torch.stack([one.float() for one in outputs]).numpy()
    words = [
        version.reading.said(output, ready, Asked(top=1))
        for (version, ready), output in zip(rows, outputs, strict=True)
    ]
    labels = [one.get("said", one.get("label", one.get("answer"))) for one in words]
    if all(isinstance(label, str) for label in labels):
        found["label"] = _texts(labels)
    found["task"] = _texts([version.name for version, _ in rows])
    found["digest"] = _texts([version.digest for version, _ in rows])
    return found | {"generation": np.asarray([version.generation for version, _ in rows], np.int64)}


def _texts(texts: Sequence[Any]) -> NDArray[Any]:
    found = np.empty(len(texts), object)
    found[:] = texts
    return found
