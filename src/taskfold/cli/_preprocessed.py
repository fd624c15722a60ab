from __future__ import annotations

from pydantic import ValidationError

from .. import Task
from ..backbones import LoadedBackbone
from ..data import Preprocessing
from ._output import UserError


def preprocessing_of(task: Task, loaded: LoadedBackbone) -> Preprocessing:
    """The preprocessing that the task's file names, else the backbone's."""
    if task.info.preprocessing:
        try:
            return Preprocessing.model_validate(task.info.preprocessing)
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(
                f"task {task.name!r}: its preprocessing cannot be used here: {'.'.join(map(str, first['loc']))}: "
                f"{first['msg']}; it was saved by another version of taskfold, or by hand"
            ) from None
    if loaded.preprocessing is None:
        raise UserError(f"task {task.name!r} does not say how its images are made ready, nor does {loaded.name}")
    return Preprocessing.from_config(loaded.preprocessing)
