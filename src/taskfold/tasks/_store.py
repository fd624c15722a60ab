"""A folder of task files that keeps every version, and switches between versions atomically."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..files import (
    TaskFileError,
    check_free,
    check_name,
    draft_of,
    needs_inventory,
    read_header,
    remove_abandoned,
    write_atomically,
)
from ._alone import alone
from ._file import read, write
from ._history import append, entry_of

SUFFIX = ".safetensors"
_SHORT = 16
"""Digits of a digest that name a version."""
_HISTORY = "history.jsonl"
_RENAMED = ".renamed"
"""A file in a folder of versions, with the task's old digest and name until nothing has the old name."""


@dataclass(frozen=True)
class Version:
    """A version of a task.

    Attributes:
        task: the task's name.
        digest: 16 hexadecimal digits of the digest over header and tensors: equal for equal contents.
        published: when it was last published, as ISO 8601 in UTC; empty: unknown.
        path: its file, which never changes.
        current: it is the task's current version.
    """

    task: str
    digest: str
    published: str
    path: Path
    current: bool


class Store:
    """Task files by name, with all versions of each.

    `<folder>/<name>.safetensors` is the current version of a task, complete at any moment: `publish` and `rollback`
    replace it in one step, and a killed process leaves the old version or the new one. All versions are
    `<folder>/<name>/<digest>.safetensors`, each with a record beside it (`<digest>.json`), and `history.jsonl` there
    says when each became current. A task that shares an inventory keeps only its current version, as the inventory of
    an earlier one is gone. Several processes may change a store: one change waits for the other.

    Args:
        folder: made with the first version.

    Example:
        >>> import tempfile, torch, taskfold as tfold
        >>> folder = Path(tempfile.mkdtemp())
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 4))
        >>> model = tfold.MultiTask(net, tfold.LoRA(rank=2), num_features=4).eval()
        >>> _ = model.add_task("cars", head=2)
        >>> store = Store(folder / "tasks")
        >>> first = store.publish(model.save_task("cars", folder / "made"), {"note": "untrained"})
        >>> model["cars"].info.metrics["accuracy"] = 0.9
        >>> second = store.publish(model.save_task("cars", folder / "made"))
        >>> [version.current for version in store.versions("cars")]
        [False, True]
        >>> store.rollback("cars").digest == first.digest, store.record("cars")
        (True, {'note': 'untrained'})
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def names(self) -> list[str]:
        """The tasks' names, sorted."""
        return sorted(file.name.removesuffix(SUFFIX) for file in self.folder.glob(f"[!.]*{SUFFIX}") if file.is_file())

    def path(self, name: str) -> Path:
        """The path of a task's current version, which need not exist."""
        return self.folder / f"{check_name(name)}{SUFFIX}"

    def digest(self, name: str) -> str | None:
        """The digest of a task's current version, from its header alone; None: there is no such task.

        Raises:
            TaskFileError: its file is damaged.
        """
        try:
            return _short(self.path(name))
        except FileNotFoundError:
            return None

    def current(self, name: str) -> Version:
        """The current version of a task.

        Raises:
            ValueError: there is no such task.
            TaskFileError: its file is damaged.
        """
        if (digest := self.digest(name)) is None:
            raise ValueError(f"there is no task {name!r} in {self.folder}; there {_are(self.names())}")
        return next(version for version in self.versions(name) if version.digest == digest)

    def versions(self, name: str) -> list[Version]:
        """All versions of a task in the order of publication; also of a removed task.

        Raises:
            TaskFileError: its current file is damaged.
        """
        times: dict[str, str] = {}
        for entry in self.history(name):
            if entry["event"] == "published":
                times.pop(entry["digest"], None)  # a version that is published again moves to the end
                times[entry["digest"]] = entry["time"]
        if (now := self.digest(name)) is not None:
            times.setdefault(now, "")  # put there by hand, or by a process killed before it wrote the history
        found = {digest: self._version(name, digest) for digest in times}
        return [
            Version(name, digest, times[digest], file if file.is_file() else self.path(name), digest == now)
            for digest, file in found.items()
            if file.is_file() or digest == now
        ]

    def history(self, name: str) -> list[dict[str, str]]:
        """The history of a task, oldest first: `time`, `digest` and `event`.

        The events are `published`, `rolled back`, `removed` and `renamed`.
        """
        try:
            lines = (self._place(name) / _HISTORY).read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [entry for line in lines if (entry := entry_of(line))]  # the last line may be incomplete

    def record(self, name: str, digest: str | None = None) -> dict[str, Any] | None:
        """The record that was published with a version; None: there is none.

        Args:
            name: the task's name.
            digest: the version's; None: the current version.
        """
        digest = digest or self.digest(name)
        try:
            found = json.loads((self._place(name) / f"{digest}.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    @alone
    def publish(self, file: str | Path, record: Mapping[str, Any] | None = None) -> Version:
        """Make a task file the current version of its task; the version before it stays in the folder.

        Args:
            file: from `MultiTask.save_task`; it is copied, under the task's name.
            record: JSON to keep with the version.

        Raises:
            FileNotFoundError: there is no such file.
            TaskFileError: the file is not a task file, or damaged; nothing has changed then.
            ValueError: the name is not allowed, or differs only in case from another task's.
        """
        header = read(Path(file)).header
        name, digest = str(header["task"]), str(header["digest"])[:_SHORT]
        check_free(name, [other for other in self.names() if other != name], "choose another name")
        self._tidy(name)
        self._keep_current(name)
        place = self._place(name)
        place.mkdir(parents=True, exist_ok=True)
        version = self._version(name, digest)
        write_atomically(version, Path(file).read_bytes())
        if record is not None:
            write_atomically(place / f"{digest}.json", json.dumps(record, ensure_ascii=False).encode())
        self._switch(name, version, "published")
        if needs_inventory(header):
            self._prune(name, digest)
        return self.current(name)

    @alone
    def rollback(self, name: str, to: str | None = None) -> Version:
        """Make an earlier version of a task the current one; also of a removed task.

        Args:
            name: the task's name.
            to: first digits of its digest; None: the one published before the current one, or the removed one.

        Raises:
            ValueError: there is no such version, or several.
            TaskFileError: its file is damaged; nothing has changed then.
        """
        versions = self.versions(name)
        if not versions:
            raise ValueError(f"there is no task {name!r} in {self.folder}; there {_are(self.names())}")
        if to is None:
            now = next((n for n, version in enumerate(versions) if version.current), None)
            last = [entry["digest"] for entry in self.history(name)][-1:]
            found = [one for one in versions if [one.digest] == last] if now is None else versions[:now][-1:]
            rule = "has no version before its current one"
        else:
            found = [version for version in versions if to and version.digest.startswith(to)]
            rule = f"has {len(found) or 'no'} versions that begin with {to!r}"
        if len(found) != 1:
            known = ", ".join(version.digest for version in versions)
            raise ValueError(f"task {name!r} {rule}; its versions: {known}")
        [chosen] = found
        read(chosen.path)
        self._tidy(name)
        if not chosen.current:
            self._keep_current(name)
            self._switch(name, chosen.path, "rolled back")
        return self.current(name)

    @alone
    def remove(self, name: str, *, purge: bool = False) -> None:
        """Remove a task's current file; its versions stay, and `rollback` restores it.

        Args:
            name: the task's name.
            purge: delete its versions too.

        Raises:
            ValueError: there is no such task.
        """
        place = self._place(name)
        if not self.path(name).is_file() and not (purge and place.is_dir()):
            raise ValueError(f"there is no task {name!r} in {self.folder}; there {_are(self.names())}")
        self._tidy(name)
        if not purge:
            self._keep_current(name)
            self._note(name, "removed", _short(self.path(name)))
        self.path(name).unlink(missing_ok=True)
        if purge:
            shutil.rmtree(place, ignore_errors=True)

    @alone
    def rename(self, old: str, new: str) -> Version:
        """Rename a task with its versions and records; the name is in the files, whose digests change.

        A killed process leaves the old name, or both; renaming again completes it.

        Raises:
            ValueError: there is no such task, or the new name is taken or not allowed.
            TaskFileError: a version is damaged; nothing has changed then.
        """
        place = self._place(new)
        self._tidy(new)
        unfinished = self._half_renamed(old, new)
        if not (unfinished and self.path(new).is_file()):
            current = self.current(old)
            if new == old:
                raise ValueError(f"task {old!r} has that name already; choose another name")
            check_free(new, [name for name in self.names() if name != old], "choose another name")
            if unfinished:
                shutil.rmtree(place)
            elif place.is_dir():
                raise ValueError(f"{place} holds versions of a task {new!r}; choose another name")
            with draft_of(place, folder=True) as draft:
                digests = {version.digest: self._renamed(version, new, draft) for version in self.versions(old)}
                (draft / _RENAMED).write_text(f"{current.digest} {old}", encoding="utf-8")
                draft.rename(place)
            self._switch(new, self._version(new, digests[current.digest]), "renamed")
        self.path(old).unlink(missing_ok=True)
        shutil.rmtree(self._place(old), ignore_errors=True)
        (place / _RENAMED).unlink()
        return self.current(new)

    def _half_renamed(self, old: str, new: str) -> bool:
        """Whether a process was killed while it renamed `old` to `new`, and `old` has not changed since."""
        try:
            digest, _, name = (self._place(new) / _RENAMED).read_text(encoding="utf-8").partition(" ")
        except (FileNotFoundError, NotADirectoryError):
            return False
        return name == old and self.digest(old) in (digest, None)

    def _renamed(self, version: Version, new: str, draft: Path) -> str:
        """Writes a version under another name into a hidden folder; returns its new digest."""
        contents, file = read(version.path), draft / f"draft{SUFFIX}"
        write(file, {**contents.header, "task": new}, contents.tensors)
        digest = _short(file)
        file.rename(draft / f"{digest}{SUFFIX}")
        if (record := self.record(version.task, version.digest)) is not None:
            write_atomically(draft / f"{digest}.json", json.dumps(record, ensure_ascii=False).encode())
        append(draft / _HISTORY, {"time": version.published, "event": "published", "digest": digest})
        return digest

    def _place(self, name: str) -> Path:
        return self.folder / check_name(name)

    def _version(self, name: str, digest: str) -> Path:
        return self._place(name) / f"{digest}{SUFFIX}"

    def _tidy(self, name: str) -> None:
        """Removes unfinished files of killed processes."""
        for place in (self.folder, self._place(name)):
            for left in place.glob(".*"):
                remove_abandoned(left)

    def _keep_current(self, name: str) -> None:
        """Makes a current file that was put there by hand a version, before another replaces it."""
        try:
            kept = self._version(name, _short(self.path(name)))
        except (FileNotFoundError, TaskFileError):
            return
        digest = kept.name.removesuffix(SUFFIX)
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            write_atomically(kept, self.path(name).read_bytes())
        if all(entry["digest"] != digest for entry in self.history(name)):
            self._note(name, "published", digest)

    def _switch(self, name: str, version: Path, event: str) -> None:
        """Replaces the current file by one rename, after the history has the entry."""
        self._note(name, event, version.name.removesuffix(SUFFIX))
        with draft_of(self.path(name), folder=True) as place:
            draft = place / version.name
            try:
                os.link(version, draft)
            except OSError:  # a file system without hard links
                write_atomically(draft, version.read_bytes())
            os.replace(draft, self.path(name))

    def _note(self, name: str, event: str, digest: str) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        append(self._place(name) / _HISTORY, {"time": now, "event": event, "digest": digest})

    def _prune(self, name: str, digest: str) -> None:
        for file in self._place(name).glob("[!.]*"):
            if file.name != _HISTORY and not file.name.startswith(f"{digest}."):
                file.unlink()


def _short(path: Path) -> str:
    return str(read_header(path)["digest"])[:_SHORT]


def _are(names: list[str]) -> str:
    if not names:
        return "is none"
    return f"{'are' if names[1:] else 'is'} {', '.join(names[:8])}{' …' if names[8:] else ''}"
