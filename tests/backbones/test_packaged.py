"""Backbones that install as packages."""

from __future__ import annotations

import pytest

from taskfold.backbones import BackboneError, load
from taskfold.backbones._packaged import PACKAGED


@pytest.mark.parametrize(
    ("name", "message"),
    [("minilmm", "did you mean packaged:minilm"), ("x", "there is packaged:efficientnet-lite0, ")],
)
def test_an_unknown_name_is_told_what_there_is(name: str, message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        load(f"packaged:{name}")


def test_every_name_is_in_the_message() -> None:
    with pytest.raises(BackboneError) as error:
        load("packaged:x")
    assert all(f"packaged:{name}" in str(error.value) for name in PACKAGED)
