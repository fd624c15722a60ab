"""Training one task at a time, or several together, on Accelerate: resumable, the same on one device or several."""

try:
    from ._affinities import Affinity, Gains
    from ._affinity import affinity
    from ._affinity_settings import AffinitySettings
    from ._checkpoint import CheckpointError
    from ._classification import Labelled, label_collate
    from ._collapse import CollapseWarning
    from ._grouping import best_groups, predicted_gain
    from ._joint_settings import JointSettings
    from ._penalties import BudgetWarning
    from ._rates import group_rates
    from ._seams import Collate, LossPerSample, LossPerTask, Measure, MeasurePerTask, TaskSet
    from ._shaping import check_classes
    from ._state import LESS_IS_BETTER, DivergedError, JointResult, Result
    from ._statistics import idle_settings
    from ._together import train_together
    from ._train import train_task
    from ._train_pack import PackError, PackTask, PackWarning, train_pack
    from .settings import OptimizerSettings, Settings
except ModuleNotFoundError as error:
    if error.name not in {"accelerate", "pydantic", "rich"}:
        raise
    raise ImportError(f'taskfold.train needs {error.name}: pip install "taskfold[train]"') from error

__all__ = [
    "LESS_IS_BETTER",
    "Affinity",
    "AffinitySettings",
    "BudgetWarning",
    "CheckpointError",
    "CollapseWarning",
    "Collate",
    "DivergedError",
    "Gains",
    "JointResult",
    "JointSettings",
    "Labelled",
    "LossPerSample",
    "LossPerTask",
    "Measure",
    "MeasurePerTask",
    "OptimizerSettings",
    "PackError",
    "PackTask",
    "PackWarning",
    "Result",
    "Settings",
    "TaskSet",
    "affinity",
    "best_groups",
    "check_classes",
    "group_rates",
    "idle_settings",
    "label_collate",
    "predicted_gain",
    "train_pack",
    "train_task",
    "train_together",
]
