"""The `taskfold` command: one module per command, imported when the command is called."""

try:
    from ._app import app
except ModuleNotFoundError as error:
    if error.name not in {"typer", "rich", "yaml", "pydantic"}:
        raise
    raise ImportError(f'the taskfold command needs {error.name}: pip install "taskfold[cli]"') from error

__all__ = ["app"]
