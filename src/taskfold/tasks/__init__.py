"""What belongs to one task: its state at every layer, its head, its labels and metrics; its file on disk."""

from ._features import Features, feature_width, pooled
from ._file import FORMAT_VERSION, Contents, TaskFileError, read, read_header, write, write_atomically
from ._fingerprint import digest, fingerprint
from ._head import build_head
from ._named import Named
from ._task import Info, Task, check_name, default_rate

__all__ = [
    "FORMAT_VERSION",
    "Contents",
    "Features",
    "Info",
    "Named",
    "Task",
    "TaskFileError",
    "build_head",
    "check_name",
    "default_rate",
    "digest",
    "feature_width",
    "fingerprint",
    "pooled",
    "read",
    "read_header",
    "write",
    "write_atomically",
]
