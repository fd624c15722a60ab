"""What `taskfold train` is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    PositiveInt,
    PrivateAttr,
    ValidationError,
)

from ..backbones import LoadedBackbone, load
from ..data import AnySource, Preprocessing
from ..methods import Method
from ..tasks import check_name
from ..train import Settings
from ._errors import ConfigError, custom, listing, problems, sentence
from ._merge import as_method, attributed, merged
from ._method import try_method
from ._names import repeated
from ._paths import rooted
from ._yaml import parse


def _method(value: Any) -> Any:
    settings = as_method(value)
    if not isinstance(settings, dict) or not isinstance(settings["name"], str):
        raise ValueError(f"must be a method's name, or a mapping with a name and its settings, found {value!r}")
    made = try_method(settings["name"], {key: value for key, value in settings.items() if key != "name"})
    if isinstance(made, list):
        raise custom(made, "method", value)
    return made


def _backbone(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BackboneConfig(_Part):
    """The frozen network. See `taskfold.backbones.load`."""

    model: str
    weights: Path | None = None
    pretrained: bool = True


class TaskConfig(_Part):
    """One task: its data, and how it is adapted, trained and preprocessed."""

    name: Annotated[str, AfterValidator(check_name)]
    source: AnySource
    method: Annotated[InstanceOf[Method], BeforeValidator(_method)]
    train: Settings
    preprocessing: Preprocessing

    def preprocess(self, backbone: LoadedBackbone) -> Preprocessing:
        """What the backbone expects, then what is usual for the data, then what the configuration says."""
        base = Preprocessing.from_config(backbone.preprocessing or {})
        return self.source.preprocessing(base).changed(**self.preprocessing.model_dump(exclude_unset=True))


class Config(_Part):
    """A whole run. `load_config` writes what holds for all tasks out in every one of them.

    Attributes:
        backbone: the frozen network.
        tasks: in the order of training.
        output: folder for all that is written.
        corrupt: unreadable images: `error`; `skip` leaves them out; `trust` does not look.
        split_seed: of the splits that are made where a source has none; training has its own seed.
    """

    backbone: Annotated[BackboneConfig, BeforeValidator(_backbone)]
    output: Path
    corrupt: Literal["error", "skip", "trust"] = "error"
    split_seed: int = Field(0, ge=0)
    tasks: tuple[TaskConfig, ...] = Field(min_length=1)
    _path: Path = PrivateAttr(Path())

    method: Any = Field(None, exclude=True)
    train: Any = Field(None, exclude=True)
    preprocessing: Any = Field(None, exclude=True)
    image_size: PositiveInt | None = Field(None, exclude=True)

    @property
    def path(self) -> Path:
        """The file that it came from."""
        return self._path

    def load_backbone(self) -> LoadedBackbone:
        """The network with its weights."""
        chosen = self.backbone
        return load(chosen.model, weights=chosen.weights, pretrained=chosen.pretrained, base=self.path.parent)

    def task_file(self, task: TaskConfig) -> Path:
        """Where a trained task is saved."""
        return self.output / "tasks" / f"{task.name}.safetensors"

    def run_folder(self, task: TaskConfig) -> Path:
        """Where a task's training keeps its checkpoint and log."""
        return self.output / "train" / task.name


def load_config(path: str | Path) -> Config:
    """Read a configuration; relative paths in it count from its folder.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: lists everything that is wrong: key, value found, values allowed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no configuration file {str(path)!r}")
    try:
        document = parse(path.read_text(encoding="utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must be a mapping with backbone, tasks and output, found {type(document).__name__}")
    whole = merged(document)
    found, config = repeated(document), None
    try:
        config = Config.model_validate(whole)
    except ValidationError as error:
        found += attributed(problems(error, whole, Config), document)
    if config is None or found:
        raise listing(str(path), list(dict.fromkeys(sentence(place, text) for place, text in found)))
    config._path = path
    return rooted(config, path.parent)
