"""Saves tasks to files and loads them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..factors import Storage
from ..files import needs_inventory
from ..layers import (
    FILED,
    Standing,
    as_stored,
    check_alike,
    forms_of,
    own_groups,
    owned_in,
    silent_of,
    stood_on,
    stored_of,
)
from ..methods import Method, build, method_of
from ..tasks import Contents, Info, Leaves, Named, Task, TaskFileError, digest, identity, read, write
from ._file_checks import check_backbone, check_types, not_finite, same, taken_at_its_word
from ._transfer import begun, remember, set_mode

_SHARED = "inventory:"


def save(task: Task, backbone: nn.Module, path: Path, standalone: bool, others: Iterable[Task] = ()) -> Path:
    """Writes a task: its own tensors, and its inventory's fingerprint or, `standalone`, the inventory.

    Raises:
        ValueError: an adapted layer no longer fits its form, numbers are not finite, or a standalone file would need
            entries of other tasks.
    """
    check_alike(backbone, forms_of(task))
    if (kept := as_stored(task)) is not task:
        kept.method = method_of(task).stored().as_json()
        task = kept
    shared, own, packed = stood_on(task), _own(task), _packed(task)
    if wrong := not_finite(own):
        raise ValueError(
            f"cannot save task {task.name!r}: {wrong}; check the inputs that it was trained on, and train it again"
        )
    shares = owned_in(task)
    stands = Standing.of(shares, next(iter(shares.values())).number, others) if shares else None
    if standalone and stands is not None and stands.tasks:
        raise ValueError(
            f"task {task.name!r} stands on entries that {', '.join(map(repr, stands.tasks))} own; save these beside it "
            "and leave out standalone=True, or fold the task"
        )
    header = {
        "task": task.name,
        "method": task.method,
        "head": _head_spec(task.head),
        "info": task.info.as_json(),
        "transfer": task.transfer,
        "begun": begun(task),
        "inventory": {"fingerprint": digest(dict(shared)), "standalone": standalone} if shared else None,
        "groups": {name: group.name for name, group in sorted(own_groups(task).items())},
        "stored": _descriptions(own, packed),
        "silent": sorted(silent := silent_of(task)),
        "stands": stands and asdict(stands),
        "backbone": identity(backbone),
    }
    tensors = _filed(own, packed, silent)
    for name, share in shares.items():
        if not share.is_open:
            tensors |= {f"{FILED}{name}.{key}": tensor for key, tensor in share.filed().items()}
    if standalone:
        tensors |= {f"{_SHARED}{key}": leaf.detach() for key, leaf in shared.items()}
    write(path, header, tensors)
    return path


def _filed(own: Mapping[str, Tensor], packed: Mapping[str, Storage], silent: Collection[str]) -> dict[str, Tensor]:
    """A task's own tensors as files keep them."""
    return {
        name: packed[name].pack(tensor) if name in packed else tensor
        for name, tensor in own.items()
        if name not in silent
    }


def file_bytes(task: Task) -> int:
    """Bytes of a task's own tensors in its file, head included: masks as bits, sparse values with their places."""
    task = as_stored(task)
    return sum(tensor.nbytes for tensor in _filed(_own(task), _packed(task), silent_of(task)).values())


@dataclass(frozen=True)
class Stored:
    """A task file that was read and checked against the backbone."""

    path: Path
    contents: Contents

    @classmethod
    def read(cls, path: Path, backbone: nn.Module) -> Stored:
        contents = read(path)
        check_backbone(path, contents, backbone)
        return cls(path, contents)

    @property
    def name(self) -> str:
        return self.contents.header["task"]

    def method(self) -> Method:
        made = self.contents.header["method"]
        with taken_at_its_word(self.path):
            return build(made["name"], made["settings"])

    @property
    def most(self) -> int:
        """The most numbers that a part of the task may have, if each takes one bit of the file."""
        return 8 * sum(tensor.nbytes for tensor in self.contents.tensors.values())

    def head(self, given: nn.Module | None) -> int | nn.Module | None:
        spec = self.contents.header["head"]
        if spec is None:
            return None
        if spec["kind"] == "linear":
            weight = self.contents.tensors.get("head.weight")
            if weight is None or weight.dim() != 2 or len(weight) != spec["outputs"]:
                found = "none" if weight is None else f"one of shape {list(weight.shape)}"
                raise TaskFileError(
                    f"{self.path} says that its head has {spec['outputs']} outputs, and its weight is {found}; save "
                    "the task again"
                )
            return int(spec["outputs"])
        if given is None:
            raise ValueError(
                f"{self.path} has a head of the user's own; give the module to load it into: load_task(…, head=…)"
            )
        return given

    def unfit(self, error: Exception, held: Named[Leaves]) -> TaskFileError:
        """The error for a model that can't add a task of the stored method."""
        header = self.contents.header
        stated = (header.get("inventory") or {}).get("fingerprint")
        if not any(key.startswith(f"{header['method']['name']}.") for key in held):
            if needs_inventory(header):
                return self._missing()
            return TaskFileError(f"{self.path} does not fit this model: {error}")
        stands = f"stands on another inventory (fingerprint {stated[:12]}…)" if stated else "has factors of other sizes"
        sizes = str(error).partition(": tasks that share")[0]
        return TaskFileError(f"{self.path} {stands} than this model's ({sizes}); load it into a model with its own")

    def fill(self, task: Task, known: set[str]) -> None:
        """Copies the stored numbers into a task of the same method, in their stored types.

        Raises:
            TaskFileError: they do not fit, or the model's shared factors in `known` differ.
        """
        with taken_at_its_word(self.path):
            self._fill(task, known)

    def _fill(self, task: Task, known: set[str]) -> None:
        header = self.contents.header
        entries, tensors = self._shares(task)
        if header.get("transfer"):
            set_mode(task, header["transfer"])
            remember(task, header.get("begun"))
        shared: dict[str, Tensor] = {**stood_on(task)}
        wanted, packed = _own(task), _packed(task)
        self._check_stored(wanted, packed)
        silent = {key: wanted.pop(key) for key in header["silent"] if key in wanted}
        if any(key.startswith(_SHARED) for key in tensors):
            wanted |= {f"{_SHARED}{key}": leaf for key, leaf in shared.items()}
        elif shared:
            self._check_inventory(shared, known)
        for key in sorted(wanted.keys() ^ tensors.keys()):
            where = "lacks" if key in wanted else "has an unknown"
            raise TaskFileError(f"{self.path} {where} tensor {key!r}; it does not fit its own method or the given head")
        tensors = {key: self._unpacked(key, packed, wanted[key], tensor) for key, tensor in tensors.items()}
        for key, tensor in tensors.items():
            if tensor.shape != wanted[key].shape:
                raise TaskFileError(
                    f"{self.path}: {key!r} has shape {list(tensor.shape)}, "
                    f"this backbone and head need {list(wanted[key].shape)}"
                )
            standing = key.startswith(_SHARED) and _bank(key.removeprefix(_SHARED)) in known
            if standing and not same(wanted[key], tensor):
                raise TaskFileError(
                    f"{self.path} stands on other shared factors than this model's ({key!r} differs); "
                    "load it into a model of its own"
                )
        free = {key: tensor for key, tensor in tensors.items() if not (key in packed and packed[key].exact)}
        check_types(self.path, free, wanted)
        if wrong := not_finite(tensors):
            raise TaskFileError(f"{self.path}: {wrong}; train the task again")
        for key, tensor in tensors.items():
            live = wanted[key]
            if live.dtype != tensor.dtype and not (key in packed and packed[key].exact):
                live.data = torch.empty_like(live, dtype=tensor.dtype)
            live.data.copy_(tensor)
        for live in silent.values():
            live.data.zero_()
        if (found := sorted(silent_of(task))) != header["silent"]:
            odd = sorted({*found} ^ {*header["silent"]})[0]
            raise TaskFileError(f"{self.path} leaves out other tensors than its method does ({odd!r}); save it again")
        for name, share in owned_in(task).items():
            if entries:
                share.take(entries[f"{name}.index"], entries[f"{name}.value"])
        info = header["info"]
        task.info = Info(tuple(info["labels"]), info["preprocessing"], info["metrics"], info.get("problem") or {})

    def _shares(self, task: Task) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The task's entries of common weights, and the other tensors; checks the entries that the task depends on."""
        tensors, shares = self.contents.tensors, owned_in(task)
        entries = {key.removeprefix(FILED): one for key, one in tensors.items() if key.startswith(FILED)}
        stands = self.contents.header.get("stands")
        if not shares or not stands:
            return entries, tensors
        here = next(iter(shares.values())).number
        missing = Standing.of(shares, stands["number"], ()).digest != stands["digest"]
        if missing or here < stands["number"] or (entries and here > stands["number"]):
            before = ", ".join(map(repr, stands["tasks"])) or "none"
            raise TaskFileError(
                f"{self.path} is task {stands['number']} on its common weight and stands on the entries of {before}; "
                f"the next one of this model would be task {here}{', and others own entries there' * missing}: load it "
                "into a model to which just these tasks have come, in that order"
            )
        for name, share in shares.items():
            if entries:
                self._check_entries(name, share.held[0], entries)
                share.shut()
        return entries, {key: tensor for key, tensor in tensors.items() if not key.startswith(FILED)}

    def _check_entries(self, name: str, weight: Tensor, entries: dict[str, Tensor]) -> None:
        index, value = (entries.get(f"{name}.{key}") for key in ("index", "value"))
        if index is None or value is None or index.shape != value.shape or index.dim() != 1:
            raise TaskFileError(f"{self.path} lacks entries of {name!r}; save the task again")
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < weight.numel():
            raise TaskFileError(f"{self.path} has entries of {name!r} outside of its {weight.numel()} numbers")

    def _check_stored(self, tensors: dict[str, Tensor], packed: dict[str, Storage]) -> None:
        stated: dict[str, Any] = self.contents.header["stored"]
        wanted = _descriptions(tensors, packed)
        for key in sorted(stated.keys() | wanted.keys()):
            said, mine = stated.get(key), wanted.get(key)
            if mine is None or not packed[key].agrees(said, tensors[key]):
                raise TaskFileError(
                    f"{self.path} keeps {key!r} as {_words(said)}, and its method on this backbone as "
                    f"{_words(mine)}; load the backbone that the task was made for, in its precision"
                )

    def _unpacked(self, key: str, packed: dict[str, Storage], live: Tensor, tensor: Tensor) -> Tensor:
        if key not in packed:
            return tensor
        try:
            return packed[key].unpack(tensor, tuple(live.shape))
        except ValueError as error:
            raise TaskFileError(f"{self.path}: {key!r} {error}; save the task again") from None

    def _missing(self) -> TaskFileError:
        stated = self.contents.header["inventory"]["fingerprint"]
        return TaskFileError(
            f"{self.path} stands on an inventory (fingerprint {stated[:12]}…) that this model does not hold; "
            "load its file first: model.load_inventory(…)"
        )

    def _check_inventory(self, shared: dict[str, Tensor], known: set[str]) -> None:
        stated = (self.contents.header.get("inventory") or {}).get("fingerprint", "")
        if {_bank(key) for key in shared} - known:
            raise self._missing()
        if (mine := digest(shared)) != stated:
            raise TaskFileError(
                f"{self.path} stands on another inventory (fingerprint {stated[:12]}…) than this model's "
                f"({mine[:12]}…); load it into a model with its own"
            )


def _bank(key: str) -> str:
    return key.rpartition(":")[0]


def _own(task: Task) -> dict[str, Tensor]:
    """A task's own tensors by name; a tensor that several layers share (routing per block) has its first name."""
    named = task.state_dict(keep_vars=True)
    first = {id(tensor): name for name, tensor in reversed(named.items())}
    return {name: tensor for name, tensor in named.items() if first[id(tensor)] == name}


def _packed(task: Task) -> dict[str, Storage]:
    """The storage of own tensors that a file keeps otherwise than by value."""
    named, how = _own(task), stored_of(task)
    return {name: how[name] for name in named if name in how}


def _descriptions(tensors: dict[str, Tensor], packed: dict[str, Storage]) -> dict[str, Any]:
    return {name: how.as_json(tensors[name]) for name, how in sorted(packed.items())}


def _words(stored: dict[str, Any] | None) -> str:
    if stored is None:
        return "values"
    also = {
        "width": "{} per number",
        "below": "of {} places",
        "basis": "which stand on {}",
        "marks": "with the marks {}",
    }
    words = [text.format(stored[key]) for key, text in also.items() if key in stored]
    return ", ".join([f"{stored['as']} of {stored['shape']}", *words])


def _head_spec(head: nn.Module | None) -> dict[str, Any] | None:
    if head is None:
        return None
    if type(head) is nn.Linear and head.bias is not None:
        return {"kind": "linear", "outputs": head.out_features}
    return {"kind": "module"}
