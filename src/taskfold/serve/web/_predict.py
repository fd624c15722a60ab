"""`POST /predict`, for inputs in several forms."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile

from ...files import read_json
from .._answers import answer
from .._decoding import picture, text
from .._errors import InputError
from .._limits import Limits
from .._reading import Asked, Form, Given
from .._server import TaskServer
from ._gone import unless_gone

FIELDS = ("task", "image", "text", "top", "choices")
TOP = 5
"""Default number of listed classes."""
FILES = 256
"""The most parts of a multipart body."""


@dataclass
class Prediction:
    """A request before decoding."""

    tasks: list[str] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)
    texts: list[object] = field(default_factory=list)
    top: object = None
    choices: Sequence[object] = ()

    @property
    def form(self) -> Form:
        if self.images and self.texts:
            raise InputError("send images or texts, found both; ask in two requests")
        return "text" if self.texts else "image"

    def asked(self) -> Asked:
        if not all(isinstance(choice, str) and choice for choice in self.choices):
            raise InputError(f"choices must be texts, found {self.choices!r:.60}")
        try:
            return Asked(TOP if self.top is None else int(str(self.top)), tuple(map(str, self.choices)))
        except ValueError:
            raise InputError(f"top must be a whole number, at least 1, found {self.top!r:.60}") from None

    def say_top(self, top: object) -> None:
        """Set the number of classes to list."""
        if self.top is not None:
            raise InputError(f"top is given twice, {self.top!r:.40} and {top!r:.40}; give it once")
        self.top = top

    def decode(self, limits: Limits) -> list[Given]:
        """The decoded inputs."""
        if self.form == "image":
            return [picture(data, limits, f"image {n}") for n, data in enumerate(self.images)]
        return [text(one, limits, f"text {n}") for n, one in enumerate(self.texts)]


def router(server: TaskServer) -> APIRouter:
    found = APIRouter()

    @found.post("/predict", openapi_extra=BODY, tags=["predict"])
    async def predict(request: Request) -> dict[str, Any]:
        """Answers of one task, of several, or of all (`task=*`), for one input or a batch.

        The body is an image file's bytes; or multipart with `image` (once or several times) or `text`, and `task`; or
        JSON with `task`, and `text` or `image` (base64), one or a list. The URL may name tasks too: `?task=cars`.
        """
        sent = await _sent(request)

        def decode() -> list[Given]:
            return sent.decode(server.limits)

        count = len(sent.images) + len(sent.texts)
        working = answer(server, sent.tasks, sent.form, count, decode, sent.asked())
        return {"answers": await unless_gone(request, working)}

    return found


async def _sent(request: Request) -> Prediction:
    query = request.query_params
    found = Prediction(query.getlist("task"), choices=query.getlist("choices"))
    for top in query.getlist("top"):
        found.say_top(top)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        await _multipart(request, found)
    elif kind == "application/json":
        _json(await request.body(), found)
    elif data := await request.body():
        found.images.append(data)
    return found


async def _multipart(request: Request, found: Prediction) -> None:
    async with request.form(max_files=FILES, max_fields=FILES) as form:
        for name, value in form.multi_items():
            if name == "image" and isinstance(value, UploadFile):
                found.images.append(await value.read())
            elif isinstance(value, UploadFile) or name == "image":
                raise InputError(
                    f"image, and no other part, must be a file (curl -F image=@photo.jpg), found {name!r:.60}"
                )
            elif name not in FIELDS:
                raise InputError(f"part {name!r:.60} is not known here; parts: {', '.join(FIELDS)}")
            elif name == "task":
                found.tasks.append(value)
            elif name == "text":
                found.texts.append(value)
            elif name == "choices":
                found.choices = [*found.choices, value]
            else:
                found.say_top(value)


def _json(body: bytes, found: Prediction) -> None:
    said = parsed(body)
    if odd := [key for key in said if key not in FIELDS]:
        raise InputError(f"key {odd[0]!r} is not known here; keys: {', '.join(FIELDS)}")
    names = _listed(said.get("task", []))
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"task must be a name, a list of names, or *, found {said['task']!r:.60}")
    found.tasks += names
    found.texts += _listed(said.get("text", []))
    found.images += [base64_of(one, f"image {n}") for n, one in enumerate(_listed(said.get("image", [])))]
    found.choices = [*found.choices, *_listed(said.get("choices", []))]
    if "top" in said:
        found.say_top("null" if said["top"] is None else said["top"])


def parsed(body: bytes) -> dict[str, Any]:
    try:
        said = read_json(body)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the body is no JSON that can be read: {error}") from None
    if not isinstance(said, dict):
        raise InputError(f"the body must be a JSON object, found {type(said).__name__}")
    return said


def base64_of(one: object, where: str) -> bytes:
    """The bytes of a base64 text."""
    try:
        return base64.b64decode(one if isinstance(one, str) else "?", validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"{where} must be an image file in base64, found {one!r:.60}") from None


def _listed(one: object) -> list[Any]:
    return list(one) if isinstance(one, list) else [one]


def body(schemas: Mapping[str, object]) -> dict[str, Any]:
    """OpenAPI's description of a body, by media type."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": one} for kind, one in schemas.items()}}}


def fields(**schemas: object) -> dict[str, Any]:
    """OpenAPI's description of an object."""
    return {"type": "object", "properties": schemas}


TEXT, FILE = {"type": "string"}, {"type": "string", "format": "binary"}
TEXTS, IMAGES = {"type": "array", "items": TEXT}, {"type": "array", "items": FILE}
SOME = {"oneOf": [TEXT, TEXTS]}
PARTS = fields(image=IMAGES, text=TEXTS, task=TEXTS)
BODY = {
    "parameters": [
        {"name": "task", "in": "query", "schema": TEXTS},
        {"name": "top", "in": "query", "schema": {"type": "integer", "minimum": 1, "default": TOP}},
        {"name": "choices", "in": "query", "schema": TEXTS},
    ],
    **body(
        {"image/*": FILE, "multipart/form-data": PARTS, "application/json": fields(task=SOME, text=SOME, image=SOME)}
    ),
}
