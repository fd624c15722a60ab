from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import MultiTask
from ..backbones import LoadedBackbone
from ..config import TaskPart
from ..config.transfer import TransferConfig, load_transfer
from ..files import needs_inventory
from ..methods import Method, build
from ..model import file_bytes
from ..report import record
from ..tasks import TaskFileError, fingerprint, read_header
from ..threads import Threads
from ._held import held
from ._optimisers import check_groups
from ._origin import Origin
from ._output import UserError, say
from ._prepare import Opened, gather, grounded, new_model, seeded
from ._ready import PlacedError, Ready, say_doubts
from ._story import Story, say_notes
from ._tasks import add_stored
from ._threads import ThreadsOption, threaded
from ._told import Told
from ._trainings import how, is_main_process, test, train_alone
from ._versions import publish, retire, store_of, trained_on


def transfer(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file: from, mode, shots, tasks, output.")],
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over; delete the trainings in the output.")] = False,
    threads: ThreadsOption = None,
) -> None:
    """Teach new tasks from a few examples, on the inventory of a joint training (`from`), which does not change.

    Each task is trained by itself, selected on validation data and tested once. Run the same command again to resume.
    Writes <output>/tasks/<name>.safetensors, which refer to the inventory,
    <output>/results.json and <output>/report.html.
    """
    plan = threaded(load_transfer(config), threads)
    try:
        with held(plan.output), Threads(None):  # a task's test has as many threads as its training ended with
            _run(plan, fresh)
    except KeyboardInterrupt:
        say(f"Interrupted. To go on from the last checkpoint: taskfold transfer {config}", "yellow")
        raise typer.Exit(130) from None


def _run(plan: TransferConfig, fresh: bool) -> None:
    main = is_main_process()
    if main:
        say(f"Checking {plan.origin} and the data of {', '.join(task.name for task in plan.tasks)} …", "dim")
    origin = _origin(plan)
    found: list[Method] = []

    def opening() -> Opened:
        loaded = grounded(plan, origin.load_backbone())
        model, method, known = _grown(plan, origin, loaded)
        found.append(method)
        return Opened(model, loaded, known)

    def check(opened: Opened, task: TaskPart, ready: Ready) -> None:
        _add(plan, opened.model, found[0], task, ready)
        check_groups(opened.model, task)
        opened.model.remove_task(task.name)

    opened, tasks = gather(plan, "from", opening, check)
    tasks = _few(plan, tasks)
    model, story = opened.model, Story(plan, "transfer", opened.loaded)
    story.note = f"Learned from {plan.shots or 'all'} examples each, on the inventory of {plan.origin}."
    label = f"{record.labels_of({'': found[0]})['']} · {plan.mode}"
    backbone = fingerprint(model.backbone)
    if main:
        say_notes([task.record for task in tasks])
    for number, (task, settings) in enumerate(zip(tasks, plan.tasks, strict=True), 1):
        _add(plan, model, found[0], settings, task)
        trained = sum(p.numel() for p in set(model[task.name].parameters()) if p.requires_grad)
        said = trained_on(model, backbone, task, settings)
        result = train_alone(plan, model, task, settings, said, f"{task.name} ({number}/{len(tasks)})", fresh)
        tested = test(model, task)
        if main:
            origin.write(plan.output)
            held_bytes = file_bytes(model[task.name])
            cells = {"mode": plan.mode, "numbers": trained, "bytes": held_bytes, "seconds": result.seconds}
            told = Told.in_row(task, tested, cells, task.show(model), result.curve)
            publish(plan, model, task, {"told": told.as_json()})
            story.tell(told)
            story.save(model)
            say(f"{task.name}: {label}, {trained:,} numbers {how(result)}, {tested}")
            say_doubts({task.name: tested})
        model.remove_task(task.name)  # the next task starts from the tasks of the joint training alone
    if main:
        retire(plan)
        story.finish()


def _origin(plan: TransferConfig) -> Origin:
    if plan.output.resolve() == plan.origin.resolve():
        raise UserError(f"{plan.path}: output: is the folder of the joint training, {plan.origin}; choose another")
    noted = Origin.read(plan.origin)
    if noted is None:
        raise UserError(
            f"{plan.path}: from: must be the output folder of taskfold train, and there is no run.json in "
            f"{plan.origin}; train tasks together first"
        )
    if noted.inventory is None or not noted.inventory.is_file():
        raise UserError(
            f"{plan.path}: from: the tasks in {plan.origin} share no inventory; train some together first, with a "
            "routed method such as poly or tensorpoly-i"
        )
    return noted


def _grown(plan: TransferConfig, origin: Origin, loaded: LoadedBackbone) -> tuple[MultiTask, Method, dict[str, object]]:
    """The model with its inventory and the tasks trained on it; their method; their preprocessing."""
    store = store_of(plan.origin)
    files = [store.path(name) for name in store.names()]
    headers = {file: header for file in files if needs_inventory(header := read_header(file))}
    if not headers:
        raise UserError(f"there are no task files in {plan.origin / 'tasks'}; run the joint training again")
    methods = {str(header["method"]): header["method"] for header in headers.values()}
    if len(methods) > 1:
        names = ", ".join(str(method["name"]) for method in methods.values())
        raise UserError(f"the tasks in {plan.origin} have {len(methods)} methods ({names}); transfer needs one")
    assert origin.inventory is not None
    model = new_model(loaded)
    model.load_inventory(origin.inventory)
    for file, header in headers.items():
        try:
            add_stored(model, file, loaded)
        except TaskFileError as error:
            raise UserError(
                f"{plan.path}: from: {str(error).partition(';')[0]}; train the tasks together again, or take this one "
                f"away: taskfold tasks remove {plan.origin} {header['task']}"
            ) from None
    [method] = methods.values()
    trained = build(method["name"], method["settings"])
    try:
        made = trained.with_settings(**plan.method)
    except ValueError as error:
        raise PlacedError("method", str(error)) from None
    return model, made, model[next(iter(model.tasks))].info.preprocessing


def _add(plan: TransferConfig, model: MultiTask, method: Method, task: TaskPart, ready: Ready) -> None:
    with seeded(task.train.seed):
        model.transfer_task(task.name, ready.head, mode=plan.mode, begin=plan.begin, method=method, **ready.belonging)


def _few(plan: TransferConfig, tasks: list[Ready]) -> list[Ready]:
    if plan.shots is None:
        return tasks
    found, problems = list[Ready](), list[str]()
    for index, task in enumerate(tasks):
        try:
            found.append(task.few(plan.shots, plan.seed))
        except ValueError as error:
            problems.append(f"{plan.path}: shots: tasks[{index}] ({task.name}): {error}")
    if problems:
        raise UserError("\n".join(problems))
    return found
