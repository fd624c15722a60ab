"""One ONNX graph for all tasks of a backbone and a method, and onnxruntime's adapter for each task, some kilobytes."""

from __future__ import annotations

import json
import warnings
import zlib
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..files import check_inside, check_no_folder, draft_of
from ..model import MultiTask
from ..tasks import Task, fingerprint
from ._export import OUTPUTS, check_packages, difference, write_onnx

SUFFIX = ".onnx_adapter"
FORM = "taskfold"
"""The key of the graph's metadata that identifies its tasks' form."""


def export_adapter(
    model: MultiTask,
    name: str,
    inputs: Sequence[Tensor],
    graph: str | Path,
    path: str | Path,
    *,
    names: Sequence[str] = (),
) -> float:
    """Write a task as an adapter of a graph, and the graph if it does not exist.

    The graph holds the backbone's numbers; the task's tensors are its inputs. Without an adapter they are NaN, and
    so is every output. Heads of tasks may differ in the number of outputs; method and settings must be the same.

    Args:
        model: holds the task; it runs in evaluation mode.
        name: the task's name.
        inputs: example inputs, batch first, with at least two rows.
        graph: `….onnx`; an existing one must come from this function, for a task of the same form.
        path: `….onnx_adapter`. Both are written atomically, and only if their outputs equal the model's.
        names: the inputs' names; default: image.

    Returns:
        The largest difference found between onnxruntime's outputs and the model's, on three batches.

    Raises:
        ValueError: a suffix is wrong, the task is unknown, or the graph is for tasks of another backbone, method,
            or sizes.
        FileNotFoundError, IsADirectoryError: a folder is missing, or a path is a folder.
        ImportError: this needs the `export` extra.
        RuntimeError: the written files' outputs differ, or the network hides the task's tensors from an exporter.
    """
    graph, path, examples = Path(graph), Path(path), list(inputs)
    for what, one, suffix in (("graph", graph, ".onnx"), ("path", path, SUFFIX)):
        if one.suffix != suffix:
            raise ValueError(f"{what} must end in {suffix}, found {one.name!r}")
        check_inside(one)
        check_no_folder(one)
    check_packages()
    module = _OfTask(model, name)
    tensors = _tensors(module)
    form = _form(model, model[name], tensors, list(names) or ["image"])
    was = model.training
    model.eval()
    try:
        with draft_of(path, folder=True) as folder, torch.no_grad():
            drafted = graph
            if graph.exists():
                _check(form, _form_of(graph), graph, name)
            else:
                drafted = folder / graph.name
                _write_graph(module, examples, drafted, form, tensors)
            draft = folder / path.name
            _write_adapter(tensors, draft, _version(drafted))
            found = difference(module, lambda batch: run_adapter(drafted, draft, batch), examples, f"task {name!r}")
            if drafted is not graph:
                drafted.replace(graph)
            draft.replace(path)
    finally:
        model.train(was)
    return found


def run_adapter(graph: str | Path, adapter: str | Path, inputs: Sequence[Tensor]) -> Tensor:
    """The outputs of a task from onnxruntime.

    Args:
        graph, adapter: files of `export_adapter`.
        inputs: the graph's inputs, in order.

    Raises:
        ValueError: the adapter was written for another graph.
        ImportError: this needs the `export` extra.
    """
    check_packages()
    runtime = import_module("onnxruntime")
    if runtime.AdapterFormat.read_adapter(str(adapter)).get_model_version() != _version(Path(graph)):
        raise ValueError(
            f"adapter {Path(adapter).name} was written for another graph than {Path(graph).name}; give its own"
        )
    settings = runtime.SessionOptions()
    settings.log_severity_level = 3  # onnxruntime warns of inputs with defaults
    session = runtime.InferenceSession(str(graph), settings, providers=["CPUExecutionProvider"])
    loaded, options = runtime.LoraAdapter(), runtime.RunOptions()
    loaded.Load(str(adapter))
    options.add_active_adapter(loaded)
    given = {one.name: held.cpu().numpy() for one, held in zip(session.get_inputs(), inputs, strict=True)}
    return torch.from_numpy(session.run(None, given, options)[0])


class _OfTask(nn.Module):
    def __init__(self, model: MultiTask, name: str) -> None:
        super().__init__()
        self.model, self.name, self.task = model, name, model[name]

    def forward(self, *args: Tensor) -> Any:
        return self.model(*args, task=self.name)


def _tensors(module: _OfTask) -> dict[str, tuple[str, Tensor]]:
    """A task's tensors by name in adapters: their names in the program, and values."""
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    places: dict[int, list[str]] = {}
    for place, tensor in named:
        places.setdefault(id(tensor), []).append(place)
    task = module.task
    mine = [*task.named_parameters(), *task.named_buffers()]
    return {place: (min(places[id(held)], key=len), held.detach().cpu()) for place, held in mine}


def _form(
    model: MultiTask, task: Task, tensors: Mapping[str, tuple[str, Tensor]], inputs: Sequence[str]
) -> dict[str, Any]:
    """The form that tasks of one graph share, as JSON."""
    sizes = {place: [str(held.dtype)[6:], *held.shape] for place, (_, held) in tensors.items()}
    if isinstance(task.head, nn.Linear):
        for place in sizes.keys() & {"head.weight", "head.bias"}:
            sizes[place][1] = OUTPUTS
    said = {"backbone": fingerprint(model.backbone), "method": task.method, "tensors": sizes, "inputs": list(inputs)}
    return json.loads(json.dumps(said, default=str))


def _check(mine: Mapping[str, Any], graph: Mapping[str, Any], path: Path, name: str) -> None:
    for part in ("backbone", "method", "inputs", "tensors"):
        if mine[part] != graph[part]:
            there, here = graph[part], mine[part]
            if part == "tensors":
                odd = next(key for key in [*there, *here] if there.get(key) != here.get(key))
                there, here = f"{odd} {there.get(odd, 'not')}", f"{odd} {here.get(odd, 'not')}"
            raise ValueError(
                f"graph {path.name} is for tasks of another {part}: it has {there}, and task {name!r} has {here}; "
                "write a graph of its own"
            )


def _form_of(graph: Path) -> dict[str, Any]:
    proto = import_module("onnx").load(str(graph), load_external_data=False)
    found = next((one.value for one in proto.metadata_props if one.key == FORM), None)
    if found is None:
        raise ValueError(
            f"graph {graph.name} takes no adapters: it was not written by export_adapter; give another path"
        )
    return json.loads(found)


def _write_graph(
    module: _OfTask,
    examples: list[Tensor],
    path: Path,
    form: Mapping[str, Any],
    tensors: Mapping[str, tuple[str, Tensor]],
) -> None:
    """Writes the graph with a task's tensors as inputs, whose defaults are NaN."""
    onnx = import_module("onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # exporters print and warn
        module(*examples)
        write_onnx(module, examples, path, form["inputs"], optimize=False)
    proto = onnx.load(str(path))
    graph = proto.graph
    held = {one.name: one for one in graph.initializer}
    used = {given for node in graph.node for given in node.input}
    renamed = {there: name for name, (there, _) in tensors.items()}
    if unseen := [name for name, (there, _) in tensors.items() if there not in held or there not in used]:
        raise RuntimeError(
            f"task {module.name!r}: the exported graph does not read its {', '.join(unseen[:5])}, with which its "
            "method computes beforehand; export the folded task"
        )
    for name, (there, tensor) in tensors.items():
        one = held[there]
        sizes = [size if isinstance(size, str) else int(size) for size in form["tensors"][name][1:]]
        graph.input.append(onnx.helper.make_tensor_value_info(name, one.data_type, sizes))
        one.CopyFrom(onnx.numpy_helper.from_array(_nothing(tensor), name))
    for node in graph.node:
        node.input[:] = [renamed.get(given, given) for given in node.input]
    del graph.value_info[:]  # they describe the head of this task
    for output in graph.output:
        if any(OUTPUTS in sizes for sizes in form["tensors"].values()):
            output.type.tensor_type.shape.dim[-1].dim_param = OUTPUTS
    proto.metadata_props.add(key=FORM, value=json.dumps(form))
    onnx.checker.check_model(proto)
    onnx.save(proto, str(path))


def _nothing(like: Tensor) -> NDArray[Any]:
    made = like.numpy().copy()
    made[...] = np.nan if like.is_floating_point() else 0
    return made


def _version(graph: Path) -> int:
    """A number that identifies a graph: by backbone, shared factors, settings."""
    return zlib.crc32(graph.read_bytes()) & 0x7FFFFFFF


def _write_adapter(tensors: Mapping[str, tuple[str, Tensor]], path: Path, version: int) -> None:
    runtime = import_module("onnxruntime")
    values = {
        name: runtime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(held.numpy()))
        for name, (_, held) in tensors.items()
    }
    made = runtime.AdapterFormat()
    made.set_adapter_version(1)
    made.set_model_version(version)
    made.set_parameters(values)
    made.export_adapter(str(path))
