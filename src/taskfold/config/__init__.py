"""What a run is told: YAML, checked to the last key before anything begins."""

from ._errors import ConfigError
from ._method import build_method
from ._yaml import parse, parse_settings

__all__ = ["ConfigError", "build_method", "parse", "parse_settings"]
