"""What a run is told: YAML, checked to the last key before anything begins."""

try:
    from ._errors import ConfigError
    from ._method import build_method
    from ._yaml import parse, parse_settings
except ModuleNotFoundError as error:
    if error.name not in {"pydantic", "yaml", "PIL"}:
        raise
    raise ImportError(f'taskfold.config needs {error.name}: pip install "taskfold[cli]"') from error

__all__ = ["ConfigError", "build_method", "parse", "parse_settings"]
