"""What task files stand on: noted in the folder of a run, so that they can be used without being told again."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..backbones import LoadedBackbone, load
from ..config.run import Config
from ..tasks import write_atomically
from ._output import UserError

NAME = "run.json"
INVENTORY = "inventory.safetensors"


@dataclass(frozen=True)
class Origin:
    """A backbone, and perhaps an inventory.

    Attributes:
        model, weights, pretrained: as a configuration says them.
        base: folder that a relative path in `model` counts from.
        inventory: file of what tasks share; None: they share nothing.
    """

    model: str
    weights: Path | None
    pretrained: bool
    base: Path
    inventory: Path | None

    @classmethod
    def of(cls, config: Config, inventory: bool) -> Self:
        """Of a run that is described so."""
        chosen = config.backbone
        file = config.inventory_file if inventory else None
        return cls(chosen.model, chosen.weights, chosen.pretrained, config.path.parent, file)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """As noted in a folder; None: nothing is.

        Raises:
            UserError: the note is damaged.
        """
        try:
            said = json.loads((folder / NAME).read_text(encoding="utf-8"))
            weights, inventory = (said[key] and folder / said[key] for key in ("weights", "inventory"))
            return cls(said["model"], weights, said["pretrained"], folder / said["base"], inventory)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{folder / NAME} is damaged; run the training's command again, which writes it") from None

    def write(self, folder: Path) -> None:
        """Note it in a folder, with paths that count from there: the whole may move."""

        def inside(path: Path | None) -> str | None:
            return path and Path(os.path.relpath(path, folder)).as_posix()

        said: dict[str, Any] = {"model": self.model, "weights": inside(self.weights), "pretrained": self.pretrained}
        said |= {"base": inside(self.base), "inventory": inside(self.inventory)}
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / NAME, json.dumps(said, ensure_ascii=False, indent=1).encode())

    def load_backbone(self) -> LoadedBackbone:
        """The network with its weights."""
        weights = self.weights and self.weights.absolute()
        return load(self.model, weights=weights, pretrained=self.pretrained, base=self.base)


def origin_of(file: Path) -> Origin | None:
    """What the run of a task file noted, in its folder or in that above."""
    folder = file.absolute().parent
    return Origin.read(folder) or Origin.read(folder.parent)


def inventory_for(file: Path) -> Path:
    """The inventory that a task file stands on.

    Raises:
        UserError: there is none where it is looked for.
    """
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
