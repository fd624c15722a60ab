"""The configuration of `taskfold train`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, InstanceOf

from ..backbones import LoadedBackbone
from ..methods import Method
from ._backbones import AnyBackbone, BackboneConfig
from ._document import checked, document_of
from ._errors import ConfigError, custom
from ._kinds import defaulted
from ._merge import as_method, merged
from ._method import try_method
from ._parts import Plan, TaskPart
from ._together import Together, together_problems
from .transfer import TransferConfig, load_transfer

__all__ = ["BackboneConfig", "Config", "TaskConfig", "Together", "load_any", "load_config"]


def _method(value: Any) -> Any:
    settings = as_method(value)
    if not isinstance(settings, dict) or not isinstance(settings["name"], str):
        raise ValueError(f"must be a method's name, or a mapping with a name and its settings, found {value!r}")
    made = try_method(settings["name"], {key: value for key, value in settings.items() if key != "name"})
    if isinstance(made, list):
        raise custom(made, "method", value)
    return made


class TaskConfig(TaskPart):
    """One task: its data, method, training and preprocessing."""

    method: Annotated[InstanceOf[Method], BeforeValidator(_method)]


class Config(Plan):
    """The configuration of a run. `load_config` writes common sections out in every task.

    Attributes:
        backbone: the frozen network.
        tasks: the tasks, in the order of training.
        together: settings to train all tasks at once; None: one after another.
    """

    backbone: AnyBackbone
    together: Together | None = None
    tasks: tuple[TaskConfig, ...] = Field(min_length=1)

    method: Any = Field(None, exclude=True)

    @property
    def parts(self) -> Sequence[TaskPart]:
        return self.tasks

    @property
    def inventory_file(self) -> Path:
        """The file of what tasks share."""
        return self.output / "inventory.safetensors"

    def load_backbone(self) -> LoadedBackbone:
        """The network with its weights."""
        return self.backbone.load(self.path.parent)


def load_config(path: str | Path) -> Config:
    """Read a configuration; relative paths in it start from its folder.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: settings are wrong; the message lists all: key, value found, allowed values.
    """
    path = Path(path)
    document = document_of(path, "backbone, tasks and output")
    if "from" in document and "backbone" not in document:
        raise ConfigError(f"{path}: stands on another run ('from'): use it with taskfold transfer {path}")
    if "compare" in document:
        raise ConfigError(f"{path}: compares methods ('compare'): use it with taskfold compare {path}")
    whole = defaulted(merged(document))
    return checked(path, document, whole, Config, together_problems(document, whole))


def load_any(path: str | Path) -> Config | TransferConfig:
    """Read a configuration of `taskfold train` or, if it has `from`, of `taskfold transfer`.

    Raises:
        FileNotFoundError, ConfigError: as for `load_config` and `load_transfer`.
    """
    return load_transfer(path) if "from" in document_of(Path(path), "tasks and output") else load_config(path)
