"""Files of tasks and inventories, and their names; without torch, so that opening one is fast."""

from ._backbone import PUBLISHED, source_words
from ._drafts import (
    check_inside,
    check_no_folder,
    draft_of,
    only_one,
    remove_abandoned,
    remove_drafts,
    write_atomically,
)
from ._file import (
    BESIDE,
    FORMAT_VERSION,
    KEY,
    LOGITS,
    LONGEST,
    Raw,
    RawContents,
    TaskFileError,
    bits_beside,
    canonical,
    digest_of,
    metadata_of,
    needs_inventory,
    read_header,
    read_raw,
)
from ._names import as_file, check_free, check_name
from ._text import read_json, read_table, read_text

__all__ = [
    "BESIDE",
    "FORMAT_VERSION",
    "KEY",
    "LOGITS",
    "LONGEST",
    "PUBLISHED",
    "Raw",
    "RawContents",
    "TaskFileError",
    "as_file",
    "bits_beside",
    "canonical",
    "check_free",
    "check_inside",
    "check_name",
    "check_no_folder",
    "digest_of",
    "draft_of",
    "metadata_of",
    "needs_inventory",
    "only_one",
    "read_header",
    "read_json",
    "read_raw",
    "read_table",
    "read_text",
    "remove_abandoned",
    "remove_drafts",
    "source_words",
    "write_atomically",
]
