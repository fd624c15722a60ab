"""Exports a folded task, or a bank with the index of tasks as an input, to a file that runs without taskfold."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path

import torch
from torch import Tensor, nn

from ..files import check_inside, check_no_folder, draft_of
from ..model import Bank, MultiTask

Run = Callable[[Sequence[Tensor]], Tensor]
TOLERANCE = 1e-3
OUTPUTS = "outputs"
"""The graph's outputs."""
MOST = 4096
"""The most rows of a batch; an exporter needs a limit."""


def export(module: nn.Module, inputs: Sequence[Tensor], path: str | Path, *, names: Sequence[str] = ()) -> float:
    """Write a module for batches of any size, and compare the file's outputs with the module's.

    Args:
        module: `model.fold(name)`, a `Bank`, or another that takes tensors and returns one; it runs in evaluation mode.
        inputs: example inputs, batch first, with at least two rows; for a bank the last one is `bank.index(…)`.
        path: `….onnx`, for onnxruntime, or `….pt2`, a program of torch.export. It is written atomically, and only if
            its outputs are equal.
        names: the inputs' names in ONNX; default: image and index.

    Returns:
        The largest difference found between the file's outputs and the module's, on two batches of other sizes too.

    Raises:
        TypeError: the module is a whole `MultiTask`, or the inputs are not a list of tensors.
        ValueError: the suffix is wrong, the inputs have fewer than two rows or different numbers of rows, a bank's
            do not end with an index, or the numbers of names and inputs differ.
        FileNotFoundError: the path's folder does not exist.
        IsADirectoryError: the path is a folder.
        ImportError: ONNX needs the `export` extra.
        RuntimeError: torch can't write the module, or the written file's outputs differ.

    Example:
        >>> import tempfile, taskfold as tfold
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> model = tfold.MultiTask(net, tfold.FTN(rank=1, norm=False), num_features=4).eval()
        >>> _ = model.add_task("cars", head=5)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export(model.fold("cars"), [torch.randn(2, 3, 8, 8)], f"{folder}/cars.pt2") < 1e-5
        True
    """
    path, examples = Path(path), _checked(module, inputs, names)
    if path.suffix not in WRITERS:
        raise ValueError(f"path must end in {' or '.join(WRITERS)}, found {path.name!r}")
    rows = {len(one) for one in examples}
    if len(rows) != 1 or min(rows) < 2:
        raise ValueError(f"inputs must have the same number of rows, at least 2, found {sorted(rows)}")
    check_inside(path)
    check_no_folder(path)
    write, read = WRITERS[path.suffix]
    was = module.training
    try:
        if was:
            module.eval()
        with draft_of(path, folder=True) as folder, torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # exporters print and warn
            module(*examples)  # a bank checks which rows its layers get
            draft = folder / path.name
            write(module, examples, draft, list(names) or ["image", "index"][: len(examples)])
            found = difference(module, read(draft), examples, f"the {type(module).__name__}")
            draft.replace(path)
    finally:
        if was:
            module.train()
    return found


@contextmanager
def _said(module: nn.Module, suffix: str) -> Iterator[None]:
    """Run a block in which torch writes a module; its errors then say so in one sentence.

    Raises:
        RuntimeError: torch can't write it.
    """
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError):
        raise
    except Exception as error:
        origin: BaseException = error
        while origin.__cause__ is not None:
            origin = origin.__cause__
        lines = [line.strip(" -") for line in str(origin).splitlines() if line.strip(" -")]
        remedy = "a '.pt2' file may hold it" if suffix == ".onnx" else "fold the task, or let taskfold serve it"
        raise RuntimeError(
            f"torch can't write the {type(module).__name__} as {suffix!r} ({type(origin).__name__}: "
            f"{' '.join(lines)[:200]}); {remedy}; nothing was written"
        ) from error


def _checked(module: nn.Module, inputs: Sequence[Tensor], names: Sequence[str]) -> list[Tensor]:
    if isinstance(module, MultiTask):
        raise TypeError(
            "module is a MultiTask, which takes names; export model.fold(name), or model.bank() for a mixture"
        )
    odd = [inputs] if isinstance(inputs, Tensor) else [one for one in inputs if not isinstance(one, Tensor)]
    if odd:
        raise TypeError(f"inputs must be a list of tensors, such as [images], found a {type(odd[0]).__name__}")
    if isinstance(module, Bank):
        last = inputs[-1] if inputs else None
        if last is None or last.dim() != 1 or last.is_floating_point():
            given = "nothing" if last is None else f"a tensor {tuple(last.shape)} of {last.dtype}"
            raise ValueError(f"inputs of a bank must end with bank.index(names), found {given}")
    if names and (isinstance(names, str) or len(names) != len(inputs)):
        raise ValueError(f"names must be a list with one for each of the {len(inputs)} inputs, found {names!r}")
    return list(inputs)


def difference(module: nn.Module, run: Run, examples: list[Tensor], what: str) -> float:
    """The largest difference between the export's outputs and the module's, on three batches.

    Raises:
        RuntimeError: it is too large.
    """
    largest, rows = 0.0, len(examples[0])
    for count in (rows, rows + 1, 2 * rows + 1):
        batch = [torch.cat([one] * 3)[:count] for one in examples]
        wanted, said = module(*batch), run(batch)
        if said.shape != wanted.shape or not torch.allclose(said, wanted, TOLERANCE, TOLERANCE):
            raise RuntimeError(
                f"what was exported says something else than {what} for a batch of {count} rows; nothing was written"
            )
        finite = wanted.isfinite()
        largest = max(largest, float((said - wanted)[finite].abs().max()))
    return largest


def program_of(module: nn.Module, examples: list[Tensor]) -> torch.export.ExportedProgram:
    """A torch.export program for batches of any size."""
    batch = torch.export.Dim("batch", min=1, max=MOST)
    shapes = tuple({0: batch} for _ in examples)
    collects = any(one.kind is one.VAR_POSITIONAL for one in signature(module.forward).parameters.values())
    dynamic = {"args": shapes} if collects else shapes
    return torch.export.export(module, tuple(examples), dynamic_shapes=dynamic, strict=False)


def _write_program(module: nn.Module, examples: list[Tensor], path: Path, names: list[str]) -> None:
    del names
    with _said(module, ".pt2"):
        torch.export.save(program_of(module, examples), path)


def _read_program(path: Path) -> Run:
    module = torch.export.load(path).module()
    return lambda batch: module(*batch)


def check_packages() -> None:
    """Checks that the packages for ONNX are installed.

    Raises:
        ImportError: one is not.
    """
    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]:
        raise ImportError(f'ONNX needs {", ".join(missing)}: pip install "taskfold[export]"')


def write_onnx(
    module: nn.Module, examples: list[Tensor], path: Path, names: list[str], *, optimize: bool = True
) -> None:
    """Writes a graph for batches of any size in one file; unoptimised, its tensors keep their names."""
    check_packages()
    with _said(module, ".onnx"):
        torch.onnx.export(
            program_of(module, examples),
            (),
            path,
            dynamo=True,
            optimize=optimize,
            input_names=names,
            output_names=[OUTPUTS],
            external_data=False,
            verbose=False,
        )


def run_of(path: Path) -> Run:
    """A function that runs a graph in onnxruntime."""
    session = import_module("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(batch: Sequence[Tensor]) -> Tensor:
        given = {name: one.cpu().numpy() for name, one in zip(names, batch, strict=True)}
        return torch.from_numpy(session.run(None, given)[0]).to(batch[0].device)

    return run


WRITERS: dict[str, tuple[Callable[[nn.Module, list[Tensor], Path, list[str]], None], Callable[[Path], Run]]] = {
    ".onnx": (write_onnx, run_of),
    ".pt2": (_write_program, _read_program),
}
