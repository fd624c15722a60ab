"""The base of all parts of a results document."""

from __future__ import annotations

import base64
import binascii
import struct
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _printable(text: str) -> str:
    # Control characters break SVG and can steer a terminal.
    return "".join(" " if unicodedata.category(char) == "Cc" else char for char in text)


def _png(image: str) -> str:
    try:
        data = base64.b64decode(image, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"image must be a base64 PNG: {error}") from None
    if not data.startswith(PNG_SIGNATURE) or len(data) < 24:
        raise ValueError("image must be a base64 PNG: the PNG signature is missing")
    return image


def png_size(image: str) -> tuple[int, int]:
    """Width and height in pixels, read from the header of a base64 PNG."""
    header = base64.b64decode(image[:32])
    width, height = struct.unpack(">II", header[16:24])
    return width, height


Text = Annotated[str, AfterValidator(_printable)]
Name = Annotated[Text, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Png = Annotated[str, AfterValidator(_png)]


class Part(BaseModel):
    """Base of every part of the document: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
