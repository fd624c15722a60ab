"""Images with labels: their sources, checks of them, and their preprocessing to tensors."""

try:
    from ._check import Problem, check, check_names, sound, unreadable, without_unreadable
    from ._contents import digest_of, remembering
    from ._errors import DataError, MissingDataError, MissingExtraError, UnreadableImageError, first_few, require
    from ._images import ArrayImages, FileImages, Reader, image_suffixes, open_image, to_rgb
    from ._preprocessing import Preprocessing, Transform
    from ._repeated import repeated
    from ._sets import ImageSet, TaskData
    from ._split import thin_out
    from ._tensors import ImageTensors
    from .sources import Source, existing_folder, parse_source
except ModuleNotFoundError as error:
    if error.name not in {"PIL", "pydantic"}:
        raise
    raise ImportError(f'taskfold.data needs {error.name}: pip install "taskfold[vision]"') from error

__all__ = [
    "ArrayImages",
    "DataError",
    "FileImages",
    "ImageSet",
    "ImageTensors",
    "MissingDataError",
    "MissingExtraError",
    "Preprocessing",
    "Problem",
    "Reader",
    "Source",
    "TaskData",
    "Transform",
    "UnreadableImageError",
    "check",
    "check_names",
    "digest_of",
    "existing_folder",
    "first_few",
    "image_suffixes",
    "open_image",
    "parse_source",
    "remembering",
    "repeated",
    "require",
    "sound",
    "thin_out",
    "to_rgb",
    "unreadable",
    "without_unreadable",
]
