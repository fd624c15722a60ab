"""Configurations in YAML, checked to the last key before a run begins."""

try:
    from ._backbones import BackboneConfig, LoadedNetwork, NetworkConfig, parse_backbone
    from ._dense import AugmentSettings, DenseSettings
    from ._errors import ConfigError, in_words
    from ._kinds import Kind, kind_named, kind_of, words_of
    from ._method import build_method
    from ._parts import Plan, TaskPart
    from ._sources import parse_source
    from ._yaml import parse, parse_settings
except ModuleNotFoundError as error:
    if error.name not in {"pydantic", "yaml", "PIL"}:
        raise
    raise ImportError(f'taskfold.config needs {error.name}: pip install "taskfold[cli]"') from error

__all__ = [
    "AugmentSettings",
    "BackboneConfig",
    "ConfigError",
    "DenseSettings",
    "Kind",
    "LoadedNetwork",
    "NetworkConfig",
    "Plan",
    "TaskPart",
    "build_method",
    "in_words",
    "kind_named",
    "kind_of",
    "parse",
    "parse_backbone",
    "parse_settings",
    "parse_source",
    "words_of",
]
