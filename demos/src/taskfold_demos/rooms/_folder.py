"""Which folder rooms lie in, and whether it may be written to."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from taskfold.data import DataError

from ._classes import CLASSES, IGNORE
from ._part import PARTS
from ._render import FAR, FIELD_OF_VIEW, NEAR, focal_length

VERSION = 1
DONE, BEGUN = "rooms.json", "rooms.begun.json"


def describe(counts: dict[str, int], size: tuple[int, int], seed: int) -> dict[str, Any]:
    """What `rooms.json` says."""
    height, width = size
    return {
        "version": VERSION,
        "seed": seed,
        "size": [height, width],
        "rooms": counts,
        "classes": list(CLASSES),
        "ignore": IGNORE,
        "camera": {
            "field_of_view": FIELD_OF_VIEW,
            "focal_length": round(float(focal_length(height)), 6),
            "principal_point": [(height - 1) / 2, (width - 1) / 2],
            "near": NEAR,
            "far": FAR,
        },
    }


def default_folder(counts: dict[str, int], size: tuple[int, int], seed: int) -> Path:
    """One folder for each choice of the settings."""
    if chosen := os.environ.get("TASKFOLD_DATA"):
        base = Path(chosen)
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taskfold"
    numbers = "-".join(str(counts[part]) for part in PARTS)
    return base / "rooms" / f"v{VERSION}-{size[0]}x{size[1]}-{numbers}-seed{seed}"


def check_folder(place: Path, settings: dict[str, Any]) -> None:
    """Only rooms of the same settings, or nothing at all."""
    for name in (DONE, BEGUN):
        if (place / name).is_file():
            try:
                found = json.loads((place / name).read_text(encoding="utf-8"))
            except ValueError as error:
                raise DataError(f"{place / name} is damaged ({error}); delete the folder or choose another") from None
            if found != settings:
                keys = [key for key in settings if not isinstance(found, dict) or found.get(key) != settings[key]]
                raise DataError(
                    f"folder {str(place)!r} holds rooms of another {' and '.join(keys) or 'kind'}; "
                    "ask for the same as before, delete it, or choose another folder"
                )
            return
    if place.is_dir() and any(not path.name.startswith(".") for path in place.iterdir()):
        raise DataError(
            f"folder {str(place)!r} holds something that is not rendered rooms; choose another, or an empty one"
        )
