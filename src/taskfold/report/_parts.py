"""What every part of a results document is made of."""

from __future__ import annotations

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _printable(text: str) -> str:
    # Control characters break SVG and can steer a terminal.
    return "".join(" " if unicodedata.category(char) == "Cc" else char for char in text)


Text = Annotated[str, AfterValidator(_printable)]
Name = Annotated[Text, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """Base of every part of the document: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
