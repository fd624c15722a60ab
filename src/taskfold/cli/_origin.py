"""The backbone and the inventory of a run, noted in its folder for later commands."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..backbones import LoadedBackbone
from ..config import BackboneConfig, NetworkConfig, parse_backbone
from ..config.run import Config
from ..tasks import write_atomically
from ._output import UserError

NAME = "run.json"
INVENTORY = "inventory.safetensors"


@dataclass(frozen=True)
class Origin:
    """A backbone, and perhaps an inventory.

    Attributes:
        backbone: as in a configuration.
        base: the folder that relative paths start from.
        inventory: the file of the shared factors; None: tasks share nothing.
    """

    backbone: BackboneConfig | NetworkConfig
    base: Path
    inventory: Path | None

    @classmethod
    def of(cls, config: Config, inventory: bool) -> Self:
        """The origin of a configuration's run."""
        return cls(config.backbone, config.path.parent, config.inventory_file if inventory else None)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The note in a folder; None: there is none."""
        try:
            said = json.loads((folder / NAME).read_text(encoding="utf-8"))
            base, inventory = folder / said.pop("base"), said.pop("inventory")
            return cls(_noted(said, folder), base, inventory and folder / inventory)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{folder / NAME} is damaged; run the training's command again, which writes it") from None

    def write(self, folder: Path) -> None:
        """Write the note, with paths relative to the folder: the whole may move."""

        def inside(path: Path | None) -> str | None:
            return path and Path(os.path.relpath(path, folder)).as_posix()

        chosen = self.backbone
        said: dict[str, Any] = chosen.as_json()
        if isinstance(chosen, BackboneConfig):
            said["weights"] = inside(chosen.weights)
        said |= {"base": inside(self.base), "inventory": inside(self.inventory)}
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / NAME, json.dumps(said, ensure_ascii=False, indent=1).encode())

    def load_backbone(self) -> LoadedBackbone:
        """The backbone with its weights."""
        return self.backbone.load(self.base)


def _noted(said: dict[str, Any], folder: Path) -> BackboneConfig | NetworkConfig:
    if "network" not in said:
        said["weights"] = said["weights"] and folder / said["weights"]
    return parse_backbone(said, str(folder / NAME))


def origin_of(file: Path) -> Origin | None:
    """The note for a task file, in its folder or above: a version lies one folder deeper."""
    folder = file.absolute().parent
    return next((found for place in (folder, *folder.parents[:2]) if (found := Origin.read(place))), None)


def inventory_for(file: Path) -> Path:
    """The inventory that a task file uses."""
    folder = file.absolute().parent
    noted = origin_of(file)
    places = [folder / INVENTORY, folder.parent / INVENTORY, *([noted.inventory] if noted and noted.inventory else [])]
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(str(place) for place in dict.fromkeys(places))
    raise UserError(
        f"{file} stands on an inventory that it shares with other tasks, and there is none at {looked}; name it with "
        "--inventory FILE"
    )
