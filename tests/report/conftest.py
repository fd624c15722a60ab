from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .runs import document


@pytest.fixture(name="document")
def _document() -> Callable[..., dict[str, Any]]:
    return document
