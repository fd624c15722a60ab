from __future__ import annotations

import builtins
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taskfold.data import DataError
from taskfold.data._unpickle import load_arrays


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        np.asfortranarray(np.eye(3)[:2]),
        np.array([1, 2], dtype=">i8"),
        np.array(True),
    ],
)
def test_arrays_come_back_as_they_were(array: np.ndarray, protocol: int) -> None:
    found = load_arrays(pickle.dumps({"data": array, "names": ["a", b"b"]}, protocol=protocol), "here")
    assert found["names"] == ["a", b"b"]
    assert found["data"].dtype == array.dtype
    np.testing.assert_array_equal(found["data"], array)


class Payload:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    "function",
    [os.system, builtins.eval, builtins.exec, builtins.getattr, os.remove, np.load, np.fromfile, Path],
    ids=lambda function: function.__name__,
)
def test_nothing_is_called(function: Any, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("here")
    payload = pickle.dumps({"data": np.zeros(2), "then": Payload(function, f"rm {victim}")})
    with pytest.raises(DataError, match=r"bait.* is refused: it asks for .*, which is no array"):
        load_arrays(payload, "bait.pkl")
    assert victim.exists()


def test_arrays_of_objects_are_refused() -> None:
    with pytest.raises(DataError, match="not numbers"):
        load_arrays(pickle.dumps(np.array([{}, []], dtype=object)), "objects.pkl")


def test_no_codec_but_latin1_runs() -> None:
    import _codecs

    with pytest.raises(DataError, match="encoding 'rot13'"):
        load_arrays(pickle.dumps(Payload(_codecs.encode, "text", "rot13"), protocol=2), "codec.pkl")


@pytest.mark.parametrize("damage", [slice(0, 40), slice(5, None), slice(0, 0)])
def test_a_damaged_pickle_is_refused(damage: slice) -> None:
    with pytest.raises(DataError, match=r"half\.pkl is refused"):
        load_arrays(pickle.dumps(np.arange(9))[damage], "half.pkl")
