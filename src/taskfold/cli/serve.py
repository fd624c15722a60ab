from __future__ import annotations

import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer

from ..backbones import LoadedBackbone
from ..model import MultiTask
from ..serve import Engine, Limits, TaskServer
from ..tasks import Store, TaskFileError, read_header
from ..threads import Choice, parsed
from ._output import UserError, say
from ._tasks import SUFFIX, BackboneOption, InventoryOption, WeightsOption, add_stored, best_device, ground, reading_of
from ._threads import ThreadsOption

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ..serve.web import Access

TOKEN = "TASKFOLD_TOKEN"
LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|STORE|TASKFILES…", help="The output folder of a run, a folder of task files, or task files."
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen at; the default admits this machine only.")] = LOCAL[0],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at.")] = 8000,
    backbone: BackboneOption = None,
    weights: WeightsOption = None,
    inventory: InventoryOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Most rows of a forward pass.")] = 32,
    delay: Annotated[float, typer.Option(min=0, max=1000, help="Most milliseconds that a row waits for others.")] = 2.0,
    waiting: Annotated[int, typer.Option(min=1, help="Rows that may wait; requests above that get 503.")] = 4096,
    bank: Annotated[
        bool | None,
        typer.Option("--bank/--no-bank", help="Hold tasks in a bank; default: unless it can't hold their heads."),
    ] = None,
    resident: Annotated[
        int | None, typer.Option(min=1, help="Most tasks in memory; others stay on the disk. Default: all.")
    ] = None,
    pins: Annotated[list[str] | None, typer.Option("--pin", help="Task that stays in memory; may be repeated.")] = None,
    manage: Annotated[bool, typer.Option("--manage/--no-manage", help="Whether requests may change tasks.")] = True,
    token_file: Annotated[Path | None, typer.Option(help=f"File of the token for changes; default: ${TOKEN}.")] = None,
    hosts: Annotated[
        list[str] | None, typer.Option("--hostname", help="Name by which clients call the server; may be repeated.")
    ] = None,
    max_body: Annotated[int, typer.Option(min=1, help="Most bytes of a request.")] = Limits.body,
    max_pixels: Annotated[int, typer.Option(min=1, help="Most pixels of an image.")] = Limits.pixels,
    max_rows: Annotated[int, typer.Option(min=1, help="Most inputs times tasks of a request.")] = Limits.rows,
    max_rank: Annotated[int, typer.Option(min=1, help="Largest rank or width of a task file.")] = Limits.rank,
    max_outputs: Annotated[int, typer.Option(min=1, help="Most outputs of a task file.")] = Limits.outputs,
    max_tasks: Annotated[int, typer.Option(min=1, help="Most tasks that are served.")] = Limits.tasks,
    max_seconds: Annotated[
        float, typer.Option(min=0.001, help="Most seconds for a body, and for an answer.")
    ] = Limits.seconds,
    threads: ThreadsOption = None,
    warm: Annotated[
        bool, typer.Option("--warm/--no-warm", help="Run batches of all sizes before the server answers.")
    ] = True,
    ray: Annotated[
        str | None,
        typer.Option(metavar="N|MIN-MAX", help="Serve with Ray: the number of replicas, or the least and the most."),
    ] = None,
    gpus: Annotated[float | None, typer.Option(min=0, help="GPUs of each of Ray's replicas. Default: none.")] = None,
) -> None:
    """Answer requests over HTTP for every task of a run: any mixture in one forward pass.

    taskfold serve runs

    curl -F image=@photo.jpg -F task=flowers -F task=cars localhost:8000/predict

    Each answer names its task, the digest of the task's file, and its generation. The server's page is at /.
    """
    try:
        import uvicorn  # noqa: PLC0415  an extra

        from ..serve.web import Access, Patient, application  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ImportError(f'taskfold serve needs {error.name}: pip install "taskfold[serve]"') from None
    if pins and resident is None:
        raise UserError("--pin says what stays in memory, and everything does without --resident; leave it out")
    if gpus is not None and ray is None:
        raise UserError("--gpus is for the replicas of --ray; without it a GPU is used if there is one; leave it out")
    if threads == "auto":
        raise UserError("--threads auto measures trainings, and a server has none; give a number")
    limits = Limits(
        body=max_body,
        pixels=max_pixels,
        rows=max_rows,
        rank=max_rank,
        outputs=max_outputs,
        tasks=max_tasks,
        seconds=max_seconds,
    )
    store, files = _found(paths)
    here = [str(read_header(file)["task"]) for file in files]
    if absent := [pin for pin in pins or () if pin not in here]:
        raise UserError(f"--pin {absent[0]}: there is no such task; there are {', '.join(here) or 'none'}")
    count, replicas = parsed(threads), None if ray is None else _replicas(ray, store)
    server = partial(
        _server,
        [path.absolute() for path in paths],
        partial(ground, backbone, weights, inventory=inventory),
        all(map(_holds, files)) if bank is None else bank,
        count,
        limits=limits,
        size=batch_size,
        delay=delay / 1000,
        waiting=waiting,
        resident=resident,
        pinned=pins or (),
        warm=warm,
    )

    def tell(port: int) -> None:
        place = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        if store is not None and not os.access(store.folder, os.W_OK):
            say(f"Note: {store.folder} can only be read: its tasks are served, and requests can change none", "yellow")
        say(f"{len(files)} task files; serving at {place}, with a page at /. /readyz lists what cannot be served.")

    def access() -> Access:
        token = _token(token_file) if manage else None
        return Access(token, hosts or ((*LOCAL, "[::1]") if host in LOCAL else ("*",)))

    if replicas is not None:
        from ..serve.replicas import deployed, run  # noqa: PLC0415  an extra

        build, cpus = partial(_application, server, access()), count if isinstance(count, int) else 1
        settings = {"ongoing": 4 * batch_size, "waiting": waiting, "cpus": cpus, "gpus": gpus or 0}
        run(deployed(build, replicas=replicas, **settings), host, port, lambda: tell(port))
        return
    with _bound(host, port) as sockets:
        made = application(server(), access())
        tell(sockets[0].getsockname()[1])
        config = uvicorn.Config(
            made, http=Patient, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=15
        )
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # not under nohup
            signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))  # answers what has come, too
        with suppress(KeyboardInterrupt):  # after the server has ended
            uvicorn.Server(config).run(sockets)


@contextmanager
def _bound(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Sockets at an address, before anything is loaded: a port that is taken is said at once. Port 0: any free one."""
    with ExitStack() as closing:
        found: list[socket.socket] = []
        try:
            for family, kind, protocol, _, place in socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                found.append(closing.enter_context(socket.socket(family, kind, protocol)))
                if os.name == "posix":
                    found[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    found[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                found[-1].bind(place if len(found) == 1 else (place[0], found[0].getsockname()[1], *place[2:]))
        except OSError as error:
            raise UserError(
                f"cannot listen at {host}, port {port}: {error.strerror}; give another --host or --port"
            ) from None
        yield found


def _application(server: Callable[[], TaskServer], access: Access) -> FastAPI:
    """The application over a server that is made in the serving process."""
    from ..serve.web import application  # noqa: PLC0415  an extra

    return application(server(), access)


def _server(
    paths: list[Path],
    standing: Callable[..., tuple[MultiTask, LoadedBackbone]],
    banked: bool,
    threads: Choice,
    **settings: Any,
) -> TaskServer:
    """The server, made in the serving process."""
    store, files = _found(paths)
    model, loaded = standing(files, folder=store and store.folder)
    if isinstance(threads, int):
        torch.set_num_threads(threads)
    engine = Engine(
        model.to(best_device()), lambda model, file, name: add_stored(model, file, loaded, name), banked=banked
    )
    server = TaskServer(engine, lambda task: reading_of(task, loaded), store=store, **settings)
    for file in files if store is None else ():
        server.load(str(read_header(file)["task"]), file)
    return server


def _replicas(said: str, store: Store | None) -> tuple[int, int]:
    """The least and the most replicas."""
    if store is None:
        raise UserError("--ray: replicas share the folder of a run or of task files, and not files; give the folder")
    try:
        few, _, most = said.partition("-")
        return int(few), int(most or few)
    except ValueError:
        raise UserError(f"--ray must be a number of replicas, or two such as 1-8, found {said!r}") from None


def _found(paths: list[Path]) -> tuple[Store | None, list[Path]]:
    """The store of a folder, and its files; or single files."""
    folders = [path for path in paths if path.is_dir()]
    if not folders:
        if odd := [path for path in paths if path.suffix != SUFFIX or not path.is_file()]:
            raise UserError(f"{odd[0]} is no folder and no task file (*{SUFFIX}); give the output folder of a run")
        return None, paths
    if len(paths) > 1:
        raise UserError(f"give one folder, or task files, found {', '.join(map(str, paths))}")
    [folder] = folders
    store = Store(folder / "tasks" if (folder / "tasks").is_dir() else folder)
    files = []
    for name in store.names():
        try:
            read_header(file := store.path(name))
        except (TaskFileError, ValueError):
            continue  # the server reports such a file, and serves the others
        files.append(file)
    return store, files


def _holds(file: Path) -> bool:
    """Whether a bank can hold a task's head."""
    head = read_header(file)["head"]
    return head is None or head["kind"] == "linear"


def _token(file: Path | None) -> str:
    """The token for changes: from a file, from the environment, or a new one, which is printed."""
    if file is not None:
        found = file.read_text(encoding="utf-8").strip()
        where = f"--token-file {file}"
    else:
        found, where = os.environ.get(TOKEN, ""), TOKEN
    if found:
        if len(found) < 16 or not found.isascii() or not found.isprintable():
            raise UserError(f"{where} must hold a token of at least 16 printable ASCII characters")
        return found
    if file is not None:
        raise UserError(f"{where} is empty; write a token of at least 16 characters into it")
    made = secrets.token_urlsafe(24)
    say(f"Token for changes: {made} (set {TOKEN} to choose it)")
    return made
