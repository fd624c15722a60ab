"""Tensors of the Open Inference Protocol, in JSON or as bytes after it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import InputError
from ._predict import parsed

DTYPES: Mapping[str, Any] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
AXES = 8
LENGTH = "inference-header-content-length"


def read(body: bytes, header: str | None) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """A request and its inputs by name; `BYTES` inputs hold bytes."""
    if header is not None and not (header.isascii() and header.isdecimal() and len(header) < 20):
        raise InputError(f"{LENGTH} must be a number of bytes, found {header!r:.40}")
    if (size := len(body) if header is None else int(header)) > len(body):
        raise InputError(f"{LENGTH} must be at most the {len(body)} bytes of the body, found {size}")
    said, rest = parsed(body[:size]), memoryview(body)[size:]
    _check_keys(said, "the request", ("id", "parameters", "inputs", "outputs"))
    if not isinstance(said.get("id", ""), str):
        raise InputError(f"id must be a text, found {said['id']!r:.60}")
    inputs = said.get("inputs")
    if not isinstance(inputs, list) or not inputs or not all(isinstance(one, dict) for one in inputs):
        raise InputError("inputs must be a list of tensors, at least one")
    found: dict[str, NDArray[Any]] = {}
    for one in inputs:
        name, shape = str(one.get("name")), _shape(one)
        if name in found:
            raise InputError(f"input {name!r:.60} is given twice; put its rows into one tensor")
        _check_keys(one, f"input {name!r:.60}", ("name", "shape", "datatype", "data", "parameters"))
        behind = parameters(one, f"input {name!r:.60}", binary_data_size=int).get("binary_data_size")
        if behind is None:
            found[name] = _listed(one, name, shape)
            continue
        if "data" in one or not 0 <= behind <= len(rest):
            raise InputError(f"input {name!r:.60}: binary_data_size {behind!r:.40} is not what the body holds")
        found[name], rest = _raw(one, name, shape, bytes(rest[:behind])), rest[behind:]
    if rest:
        raise InputError(f"{len(rest)} bytes behind the JSON belong to no input; say whose by binary_data_size")
    return said, found


def written(
    document: dict[str, Any], outputs: Mapping[str, NDArray[Any]], binary: set[str]
) -> tuple[bytes, int | None]:
    """A response, and the length of its JSON in bytes; None: all of it."""
    listed, parts = [], []
    for name, array in outputs.items():
        text = array.dtype == object
        kind = "BYTES" if text else next(key for key, value in DTYPES.items() if array.dtype == value)
        one: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": kind}
        if name in binary:
            parts.append(_lengths(array.tolist()) if text else np.ascontiguousarray(array).tobytes())
            one["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            one["data"] = array.reshape(-1).tolist()
        listed.append(one)
    head = json.dumps({**document, "outputs": listed}, ensure_ascii=False).encode()
    return head + b"".join(parts), len(head) if parts else None


def wanted(said: Mapping[str, Any], made: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The outputs that a client wants, in its order; all if it names none."""
    listed = said.get("outputs")
    if listed in (None, []):
        return dict(made)
    found: dict[str, NDArray[Any]] = {}
    for one in listed if isinstance(listed, list) else [[listed]]:
        if not isinstance(one, dict) or (name := one.get("name")) not in [*made]:
            raise InputError(f'outputs must be a list of {{"name": one of {", ".join(made)}}}, found {one!r:.60}')
        if name in found:
            raise InputError(f"output {name!r} is listed twice; list it once")
        _check_keys(one, f"output {name!r}", ("name", "parameters"))
        found[name] = made[name]
    return found


def wanted_binary(said: Mapping[str, Any], names: Sequence[str]) -> set[str]:
    """The names of the outputs that a client wants as bytes."""
    whole = of_request(said).get("binary_data_output", False)
    asked = {
        one["name"]: parameters(one, f"output {one['name']!r}", binary_data=bool) for one in said.get("outputs") or ()
    }
    return {name for name in names if asked.get(name, {}).get("binary_data", whole)}


def of_request(said: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a request."""
    return parameters(said, "the request", task=str, binary_data_output=bool)


def parameters(one: Mapping[str, Any], what: str, **known: type) -> dict[str, Any]:
    """The parameters of a request or tensor, of these types; any others are refused."""
    found = one.get("parameters", {})
    if not isinstance(found, dict):
        raise InputError(f"{what}: parameters must be an object, found {found!r:.60}")
    for key, value in found.items():
        if key not in known:
            raise InputError(f"{what}: parameter {key!r:.60} is not known here; known: {', '.join(known)}")
        if type(value) is not known[key]:
            raise InputError(f"{what}: parameter {key} must be of type {known[key].__name__}, found {value!r:.60}")
    return found


def _check_keys(one: Mapping[str, Any], what: str, known: Sequence[str]) -> None:
    if odd := [key for key in one if key not in known]:
        raise InputError(f"{what}: key {odd[0]!r:.60} is not known here; keys: {', '.join(known)}")


def _shape(one: Mapping[str, Any]) -> tuple[int, ...]:
    shape = one.get("shape")
    whole = isinstance(shape, list) and all(type(size) is int and 0 < size < 1 << 31 for size in shape)
    if not isinstance(shape, list) or not whole or not 0 < len(shape) <= AXES:
        raise InputError(f"input {one.get('name')!r:.60}: shape must list 1 to {AXES} sizes ≥ 1, found {shape!r:.60}")
    return tuple(shape)


def _kind(one: Mapping[str, Any], name: str) -> str:
    kind = one.get("datatype")
    if kind != "BYTES" and kind not in DTYPES:
        raise InputError(f"input {name!r}: datatype must be BYTES or one of {', '.join(DTYPES)}, found {kind!r:.40}")
    return str(kind)


def _listed(one: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    kind, data = _kind(one, name), one.get("data")
    if not isinstance(data, list):
        raise InputError(f"input {name!r}: data must be a list, found {type(data).__name__}")
    try:
        if kind == "BYTES":
            if not all(isinstance(text, str) for text in data):
                raise ValueError("BYTES in JSON are texts")
            found = np.empty(len(data), object)
            found[:] = [text.encode() for text in data]
        else:
            plain = np.asarray(data)
            if plain.dtype.kind not in ("b" if kind == "BOOL" else "iuf"):
                raise ValueError("they are of other types")
            if plain.ndim > 1 and plain.shape != shape:
                raise ValueError(f"they are nested as {list(plain.shape)}, and shape says {list(shape)}")
            with np.errstate(over="ignore"):  # infinities are refused where they come from bytes, too
                found = plain.astype(DTYPES[kind])
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"input {name!r}: data are no {kind}: {error}") from None
    return _shaped(found, name, shape)


def _raw(one: Mapping[str, Any], name: str, shape: tuple[int, ...], data: bytes) -> NDArray[Any]:
    kind = _kind(one, name)
    if kind != "BYTES":
        if len(data) != math.prod(shape) * np.dtype(DTYPES[kind]).itemsize:
            raise InputError(f"input {name!r}: {len(data)} bytes are not {list(shape)} of {kind}")
        return _shaped(np.frombuffer(data, DTYPES[kind]), name, shape)
    texts: list[bytes] = []
    while data:
        size = int.from_bytes(data[:4], "little")
        if len(data) < 4 + size:
            raise InputError(f"input {name!r}: element {len(texts)} has fewer bytes than the {size} that it says")
        texts.append(data[4 : 4 + size])
        data = data[4 + size :]
    found = np.empty(len(texts), object)
    found[:] = texts
    return _shaped(found, name, shape)


def _shaped(found: NDArray[Any], name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    if found.size != math.prod(shape):
        raise InputError(f"input {name!r}: shape {list(shape)} has {math.prod(shape)} numbers, found {found.size}")
    return found.reshape(shape)


def _lengths(texts: Sequence[str]) -> bytes:
    coded = [text.encode() for text in texts]
    return b"".join(len(one).to_bytes(4, "little") + one for one in coded)
