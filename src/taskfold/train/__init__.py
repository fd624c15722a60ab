"""Training one task at a time, on Accelerate: incremental, resumable, the same on one device or several."""

try:
    from ._checkpoint import CheckpointError
    from ._state import DivergedError, Result
    from ._train import train_task
    from .settings import OptimizerSettings, Settings
except ModuleNotFoundError as error:
    if error.name not in {"accelerate", "pydantic", "rich"}:
        raise
    raise ImportError(f'taskfold.train needs {error.name}: pip install "taskfold[train]"') from error

__all__ = ["CheckpointError", "DivergedError", "OptimizerSettings", "Result", "Settings", "train_task"]
