"""Collections of task files on the Hugging Face Hub, or in a folder of the same layout.

A collection is a repository for one backbone: a task file for each task, `taskfold.json`, which names the backbone
and the tasks, and a card, `README.md`. It never holds the backbone.
"""

from __future__ import annotations

import json
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from .model import MultiTask, count_task
from .tasks import Task, TaskFileError, check_name, identity, is_same, read_header, write_atomically

INDEX, CARD, SUFFIX = "taskfold.json", "README.md", ".safetensors"
FORMAT = 1


def push_task(
    model: MultiTask,
    name: str,
    repo: str | Path,
    *,
    base_model: str | None = None,
    replace: bool = False,
    private: bool | None = None,
    api: Any = None,
) -> str:
    """Add a task to a collection: its file, the index and the card in one commit. A missing collection is created.

    Args:
        model: holds the task.
        name: the task; its file includes shared factors (`standalone`).
        repo: `owner/name` on the Hub; or a `Path`, a folder.
        base_model: the backbone's name for the card; default: transformers' or timm's.
        replace: replace a task of that name.
        private: make a new repository private; None: the owner's default.
        api: an `HfApi`, with an endpoint or a token of its own; default: `HfApi()`.

    Returns:
        The repository's address, or the folder.

    Raises:
        ValueError: there is no such task, or the collection has one of that name.
        TaskFileError: the collection is for another backbone, or its index is damaged.
        ImportError: huggingface_hub is not installed.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> from taskfold.hub import pull_task, push_task
        >>> net = nn.Sequential(nn.Linear(8, 4))
        >>> model = tfold.MultiTask(net, tfold.LoRA(rank=2))
        >>> _ = model.add_task("flowers")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = push_task(model, "flowers", Path(folder))
        ...     pull_task(tfold.MultiTask(net), Path(folder), "flowers").counts()["factors"]
        24
    """
    task, place = model[name], _place(repo, None, api)
    index = _index(place) or {"format": FORMAT, "backbone": identity(model.backbone), "base_model": None, "tasks": {}}
    _check(index, place, model.backbone)
    if name in index["tasks"] and not replace:
        raise ValueError(f"{place} has a task {name!r} already; give replace=True, or rename this one")
    index["base_model"] = base_model or index["base_model"] or _name_of(model.backbone)
    index["tasks"] = dict(sorted((index["tasks"] | {name: _said(task)}).items()))
    with tempfile.TemporaryDirectory() as folder:
        data = model.save_task(name, Path(folder) / f"{name}{SUFFIX}", standalone=True).read_bytes()
    text = json.dumps(index, indent=1, ensure_ascii=False) + "\n"
    return place.write({f"{name}{SUFFIX}": data, INDEX: text.encode(), CARD: _card(index).encode()}, name, private)


def pull_task(
    model: MultiTask,
    repo: str | Path,
    name: str | None = None,
    *,
    rename: str | None = None,
    head: nn.Module | None = None,
    revision: str | None = None,
    api: Any = None,
) -> Task:
    """Add a task from a collection. The backbone is compared with the index before the task's file is downloaded.

    Args:
        model: the model that gets the task.
        repo, api: as for `push_task`.
        name: the task; None: the only one.
        rename: another name for the task in the model.
        head: as for `MultiTask.load_task`.
        revision: a branch, tag or commit of the repository.

    Raises:
        ValueError: the collection has no such task, or several and none is named; as for `MultiTask.load_task`.
        TaskFileError: there is no collection, it is for another backbone, or a file in it is damaged.
        ImportError: huggingface_hub is not installed.
    """
    place = _place(repo, revision, api)
    index = _index(place)
    if index is None:
        raise TaskFileError(f"{place} is no collection of tasks: it has no {INDEX}; push a task there first")
    _check(index, place, model.backbone)
    names = list(index["tasks"])
    if name is None and len(names) != 1:
        raise ValueError(f"{place} has {len(names)} tasks; say which: {', '.join(names)}")
    chosen = check_name(names[0] if name is None else name)
    if chosen not in names:
        raise ValueError(f"{place} has no task {chosen!r}; its tasks: {', '.join(names) or 'none'}")
    path = place.read(f"{chosen}{SUFFIX}")
    if path is None:
        raise TaskFileError(f"{place} lacks the file of task {chosen!r} that its index names; push the task again")
    if (said := read_header(path)["task"]) != chosen:
        raise TaskFileError(f"{place}: the file of task {chosen!r} holds task {said!r}; push {chosen!r} again")
    return model.load_task(path, name=rename, head=head)


class _Place(ABC):
    """A place of a collection."""

    @abstractmethod
    def read(self, file: str) -> Path | None:
        """A local copy of a file of the collection; None: there is none."""

    @abstractmethod
    def write(self, files: Mapping[str, bytes], task: str, private: bool | None) -> str:
        """Write files to the collection; returns its address."""


@dataclass
class _Folder(_Place):
    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def read(self, file: str) -> Path | None:
        return path if (path := self.path / file).is_file() else None

    def write(self, files: Mapping[str, bytes], task: str, private: bool | None) -> str:
        self.path.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_atomically(self.path / name, data)
        return str(self.path)


class _Hub(_Place):
    def __init__(self, repo: str, revision: str | None, api: Any) -> None:
        try:
            from huggingface_hub import CommitOperationAdd, HfApi, errors  # noqa: PLC0415
        except ImportError as error:
            raise ImportError(
                f"repo={repo!r} is on the Hugging Face Hub, which needs huggingface_hub: pip install taskfold[hub]; a "
                "folder is given as a Path"
            ) from error
        self.repo, self.revision, self.add = repo, revision, CommitOperationAdd
        self.absent = (errors.EntryNotFoundError, errors.RepositoryNotFoundError)
        self.api = HfApi() if api is None else api
        self.commit: str | None = None

    def __str__(self) -> str:
        return self.repo

    def read(self, file: str) -> Path | None:
        try:
            if self.commit is None:  # further reads use the same commit
                self.commit = self.api.repo_info(self.repo, revision=self.revision).sha
            return Path(self.api.hf_hub_download(self.repo, file, revision=self.commit))
        except self.absent:
            return None

    def write(self, files: Mapping[str, bytes], task: str, private: bool | None) -> str:
        self.api.create_repo(self.repo, private=private, exist_ok=True)
        adds = [self.add(name, data) for name, data in files.items()]
        # The Hub refuses this if another commit came after the index was read.
        made = self.api.create_commit(
            self.repo, adds, commit_message=f"Task {task} by Taskfold", parent_commit=self.commit
        )
        return str(made.repo_url)


def _place(repo: str | Path, revision: str | None, api: Any) -> _Place:
    if isinstance(repo, Path):
        if revision is not None or api is not None:
            raise ValueError(f"repo={str(repo)!r} is a folder, which has no revision and no api; leave them out")
        return _Folder(repo)
    if not isinstance(repo, str):
        raise TypeError(f"repo must be 'owner/name' on the Hub, or a Path to a folder, found {repo!r}")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise ValueError(f"repo={repo!r} is not 'owner/name' on the Hub; a folder is given as Path({repo!r})")
    return _Hub(repo, revision, api)


def _index(place: _Place) -> dict[str, Any] | None:
    path = place.read(INDEX)
    if path is None:
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        version, backbone, tasks = found["format"], found["backbone"], found["tasks"]
        good = {"class", "fingerprint", "types", "rounded"} <= backbone.keys() and all(
            {"method", "counts", "labels", "metrics"} <= one.keys() for one in tasks.values()
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise TaskFileError(f"{place}: {INDEX} is damaged ({error}); push a task again") from None
    if version != FORMAT:
        raise TaskFileError(
            f"{place}: {INDEX} has format {version!r}, and this version reads {FORMAT}; upgrade taskfold"
        )
    if not good:
        raise TaskFileError(f"{place}: {INDEX} does not say what its backbone and tasks are; push a task again")
    return {"base_model": None, **found}


def _check(index: Mapping[str, Any], place: _Place, backbone: nn.Module) -> None:
    said = index["backbone"]
    if not is_same(backbone, said):
        raise TaskFileError(
            f"{place} holds tasks of another backbone ({said['class']}, {index['base_model'] or 'of no name'}, "
            f"fingerprint {str(said['fingerprint'])[:12]}…); load that one, or use a repository of its own"
        )


def _name_of(network: nn.Module) -> str | None:
    """The network's name in its library."""
    found = getattr(getattr(network, "config", None), "_name_or_path", None)
    return found or (getattr(network, "pretrained_cfg", None) or {}).get("hf_hub_id") or None


def _said(task: Task) -> dict[str, Any]:
    return {"method": task.method["name"], "counts": count_task(task), **task.info.as_json()}


def _card(index: Mapping[str, Any]) -> str:
    base, backbone = index["base_model"], index["backbone"]
    front = ["library_name: taskfold", *([f"base_model: {json.dumps(base)}"] if base else []), "tags: [taskfold]"]
    rows = [
        f"| {name} | {one['method']} | {sum(one['counts'].values()):,} | {len(one['labels']) or ''} | "
        + ", ".join(f"{key} {value:.4g}" for key, value in one["metrics"].items() if isinstance(value, float | int))
        + " |"
        for name, one in index["tasks"].items()
    ]
    return "\n".join(
        [
            *("---", *front, "---", "", f"# Tasks on {base or backbone['class']}", ""),
            f"Backbone: {backbone['class']}, fingerprint `{backbone['fingerprint']}`. It is not in this repository.",
            *("", "| task | method | numbers | labels | metrics |", "|---|---|---|---|---|", *rows, ""),
            *("```python", "from taskfold.hub import pull_task", "", 'pull_task(model, "<this repository>", "<task>")'),
            *("```", ""),
        ]
    )
