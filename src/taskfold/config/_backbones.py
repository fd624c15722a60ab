"""The frozen network, as a configuration or a command line names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BaseModel, Field, PlainValidator, TypeAdapter, ValidationError
from torch import nn

from ..backbones import LoadedBackbone, load
from ..tasks import note_source
from ._errors import ConfigError, custom, listing, problems, sentence
from ._networks import build, network_names, try_network
from ._parts import Part
from ._yaml import parse

SEED = Field(default=0, ge=0, lt=2**63)


@dataclass(frozen=True)
class LoadedNetwork(LoadedBackbone):
    """A network for dense prediction.

    Attributes:
        heads: makes a new head from a number of channels: the network's output → `[B, channels, H, W]`.
    """

    heads: Callable[[int], nn.Module] = nn.Identity


class BackboneConfig(Part):
    """A network of a library, of a package or of the user's own code. See `taskfold.backbones.load`.

    Attributes:
        model: `timm:NAME`, `torchvision:NAME`, `hf:NAME` or `hf:FOLDER`, `packaged:NAME`, `module:function` or
            `file.py:function`.
        weights: a local file of weights; null: the published ones.
        pretrained: without a file of weights download the published ones; false: random ones.
    """

    model: str
    weights: Path | None = None
    pretrained: bool = True

    @property
    def label(self) -> str:
        """Its name in messages."""
        return self.model

    def as_json(self) -> dict[str, Any]:
        return {"model": self.model, "weights": self.weights and str(self.weights), "pretrained": self.pretrained}

    def load(self, base: Path = Path(), *, meta: bool = False) -> LoadedBackbone:
        """The network with its weights.

        Args:
            base: the folder that relative paths in `model` start from.
            meta: load the architecture only.
        """
        if ":" not in self.model and self.model in network_names():
            if self.weights:
                raise ValueError(f"{self.model} is said with its settings: {{network: {self.model}, weights: …}}")
            return NetworkConfig(network=self.model).load(base, meta=meta)
        weights = self.weights and self.weights.absolute()  # its path is already joined to the file's folder
        device = "meta" if meta else "cpu"
        return load(self.model, weights=weights, pretrained=self.pretrained, device=device, base=base)


class NetworkConfig(Part):
    """A network for dense prediction: `{network: segnet, width: 16}`. See `taskfold.dense.networks`.

    Attributes:
        network: the name of its architecture.
        seed: the seed of its random initialisation.
        settings: the architecture's settings; `weights`, if it has them, may be a path.
    """

    network: str
    seed: int = SEED
    settings: dict[str, Any] = Field(default={})

    @property
    def label(self) -> str:
        return ", ".join([self.network, *(f"{key} {value}" for key, value in self.settings.items())])

    def load(self, base: Path = Path(), *, meta: bool = False) -> LoadedBackbone:
        """The network; arguments as for `BackboneConfig.load`."""
        made = build(self.network, self.settings, self.seed, base, meta)
        normalisation = {"mean": made.mean, "std": made.std}
        if not meta:
            note_source(made.backbone, self.label, None, normalisation)
        return LoadedNetwork(
            made.backbone.eval(), self.label, preprocessing=normalisation, features=whole, heads=made.head
        )

    def as_json(self) -> dict[str, Any]:
        return {"network": self.network, "seed": self.seed, **self.settings}


def whole(output: Any) -> Any:
    """The features of a dense head: the backbone's whole output. A named function, so that models can be pickled."""
    return output


def _backbone(value: Any) -> BackboneConfig | NetworkConfig:
    if isinstance(value, str):
        return BackboneConfig(model=value)
    kind: type[BaseModel] = BackboneConfig
    if isinstance(value, dict) and "network" in value:
        if "model" in value:
            raise custom([(("model",), "stands beside network; keep one of them")], "backbone", value)
        kind = NetworkConfig
        known = {key: value[key] for key in ("network", "seed") if key in value}
        settings = {key: item for key, item in value.items() if key not in known}
        if found := try_network(known["network"], settings):
            raise custom(found, "backbone", value)
        value = {**known, "settings": settings}
    try:
        return kind.model_validate(value)  # type: ignore[return-value]
    except ValidationError as error:
        raise custom(problems(error, value, kind), "backbone", value) from None


if TYPE_CHECKING:
    AnyBackbone: TypeAlias = BackboneConfig | NetworkConfig
else:
    AnyBackbone = Annotated[BaseModel, PlainValidator(_backbone)]


def parse_backbone(said: Mapping[str, Any] | str, origin: str) -> BackboneConfig | NetworkConfig:
    """A backbone from a command line: a specification, or a mapping in braces as in a configuration.

    Args:
        said: the text.
        origin: its name in messages.

    Raises:
        ConfigError: lists what is wrong.

    Example:
        >>> parse_backbone("{network: segnet, width: 16}", "--model").label
        'segnet, width 16'
        >>> parse_backbone("timm:resnet18", "--model").label
        'timm:resnet18'
    """
    value = parse(said, origin) if isinstance(said, str) and said.lstrip().startswith("{") else said
    try:
        return TypeAdapter(AnyBackbone).validate_python(value)
    except ValidationError as error:
        found = [sentence(tuple(one["loc"]), one["msg"].removeprefix("Value error, ")) for one in error.errors()]
        raise listing(origin, found) from None


__all__ = ["AnyBackbone", "BackboneConfig", "ConfigError", "LoadedNetwork", "NetworkConfig", "parse_backbone"]
