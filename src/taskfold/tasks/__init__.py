"""A task: its state at every layer, its head, its labels and metrics; its file."""

from ..files import (
    FORMAT_VERSION,
    TaskFileError,
    as_file,
    check_free,
    check_name,
    check_no_folder,
    read_header,
    write_atomically,
)
from ._classifier import Classifier, classifier_of, head_width
from ._features import Features, feature_width, pooled
from ._file import Contents, contents_of, read, write
from ._fingerprint import digest, fingerprint, identity, is_same, types_of
from ._head import build_head
from ._leaves import Inventory, Leaves, at_most, check_inventory, check_room, kept_in, make, slashed, within_memory
from ._named import Named
from ._origin import Origin
from ._quantised import quantised
from ._source import note_source, source_of
from ._store import Store, Version
from ._task import Info, Task

__all__ = [
    "FORMAT_VERSION",
    "Classifier",
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
    "at_most",
    "build_head",
    "check_free",
    "check_inventory",
    "check_name",
    "check_no_folder",
    "check_room",
    "classifier_of",
    "contents_of",
    "digest",
    "feature_width",
    "fingerprint",
    "head_width",
    "identity",
    "is_same",
    "kept_in",
    "make",
    "note_source",
    "pooled",
    "quantised",
    "read",
    "read_header",
    "slashed",
    "source_of",
    "types_of",
    "within_memory",
    "write",
    "write_atomically",
]
