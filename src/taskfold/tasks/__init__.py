"""What belongs to one task: its state at every layer, its head, its labels and metrics; its file on disk."""

from ._features import Features, feature_width, pooled
from ._file import (
    FORMAT_VERSION,
    Contents,
    TaskFileError,
    check_no_folder,
    contents_of,
    read,
    read_header,
    write,
    write_atomically,
)
from ._fingerprint import digest, fingerprint, identity, is_same, types_of
from ._head import build_head
from ._leaves import Inventory, Leaves, check_inventory, kept_in, make, slashed
from ._named import Named
from ._origin import Origin
from ._store import Store, Version
from ._task import Info, Task
from ._task_name import as_file, check_free, check_name

__all__ = [
    "FORMAT_VERSION",
    "Contents",
    "Features",
    "Info",
    "Inventory",
    "Leaves",
    "Named",
    "Origin",
    "Store",
    "Task",
    "TaskFileError",
    "Version",
    "as_file",
    "build_head",
    "check_free",
    "check_inventory",
    "check_name",
    "check_no_folder",
    "contents_of",
    "digest",
    "feature_width",
    "fingerprint",
    "identity",
    "is_same",
    "kept_in",
    "make",
    "pooled",
    "read",
    "read_header",
    "slashed",
    "types_of",
    "write",
    "write_atomically",
]
