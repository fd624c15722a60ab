"""Files of tasks and inventories, and their names; without torch, so that looking at one takes no time."""

from ._file import (
    FORMAT_VERSION,
    KEY,
    LOGITS,
    LONGEST,
    Raw,
    RawContents,
    TaskFileError,
    canonical,
    check_no_folder,
    digest_of,
    metadata_of,
    needs_inventory,
    read_header,
    read_raw,
    write_atomically,
)
from ._names import as_file, check_free, check_name

__all__ = [
    "FORMAT_VERSION",
    "KEY",
    "LOGITS",
    "LONGEST",
    "Raw",
    "RawContents",
    "TaskFileError",
    "as_file",
    "canonical",
    "check_free",
    "check_name",
    "check_no_folder",
    "digest_of",
    "metadata_of",
    "needs_inventory",
    "read_header",
    "read_raw",
    "write_atomically",
]
