"""All methods on one network of the zoo."""

from __future__ import annotations

import copy
import re
import time
import traceback
import warnings
from typing import Any

import torch

from taskfold.methods import Method

from .entry import Entry
from .laws import tried
from .subject import METHODS, Zoo, awakened

REFUSED = re.compile(r"^(?:UnfitError|TypeError|ValueError): layer '([^']+)' ")
ABSENT = ("has no ", "leave none", "selects none", "nothing to adapt")


def tried_on(entry: Entry, methods: tuple[str, ...] = tuple(METHODS)) -> dict[str, Any]:
    """`{"network", "family", "kind", "seconds", "methods": {method: {law: how}}}`."""
    begun, found = time.monotonic(), {}
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    try:
        network = awakened(entry.build(), entry)
        args, kwargs = entry.batch(1)
        with torch.no_grad():
            network(*args, **kwargs)
    except Exception as error:
        return {"network": entry.name, "family": entry.family, "broken": f"{type(error).__name__}: {error}"}
    for name in methods:
        found[name] = _of_method(entry, METHODS[name], network)
    return {
        "network": entry.name,
        "family": entry.family,
        "kind": type(network).__name__,
        "parameters": sum(p.numel() for p in network.parameters()),
        "seconds": round(time.monotonic() - begun, 1),
        "methods": found,
    }


def _of_method(entry: Entry, method: Method, network: torch.nn.Module) -> dict[str, str]:
    """What was found, law by law; a layer that can't be adapted, and is refused by name, is left out."""
    without: list[str] = []
    while True:
        try:
            found = _judged(entry, method, network)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            if isinstance(error, ValueError) and any(words in said for words in ABSENT):
                return {"all": f"absent: {error}"}
            layer = REFUSED.search(said)
            if layer is None or layer[1] in without or not hasattr(method, "targets"):
                kind = "fault" if layer is None else "refused"
                return {"all": f"{kind}: {said}", "trace": traceback.format_exc(limit=-8)}
            without.append(layer[1])
            method = method.with_settings(targets=("*", *(f"!{path}" for path in without)))
        else:
            return found | ({"without": ", ".join(without)} if without else {})


def _judged(entry: Entry, method: Method, network: torch.nn.Module) -> dict[str, str]:
    """In single precision; what fails there, or shows nothing, in double precision too, where rounding is no excuse."""
    torch.manual_seed(0)
    found = tried(Zoo(entry, method, network, torch.float32))
    unsure = [law for law, how in found.items() if "tolerances" in how]
    if unsure:
        try:
            again = tried(Zoo(entry, method, copy.deepcopy(network).double(), torch.float64))
        except Exception:
            return found
        for law in unsure:
            if not again[law].startswith("not shown"):
                found[law] = again[law]
    return found
