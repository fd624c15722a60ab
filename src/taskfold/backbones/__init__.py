"""Loads the frozen network: from a library, a hub, a package, a folder or the user's own code.

A new kind of specification is one file with a `Scheme`, and one line in `SCHEMES`.
"""

from ._hugging_face import hugging_face
from ._load import SCHEMES, load
from ._loaded import BackboneError, LoadedBackbone, Request, Scheme, extra
from ._pooling import first_token, from_pooler
from ._weights import fill, read_state

__all__ = [
    "SCHEMES",
    "BackboneError",
    "LoadedBackbone",
    "Request",
    "Scheme",
    "extra",
    "fill",
    "first_token",
    "from_pooler",
    "hugging_face",
    "load",
    "read_state",
]
