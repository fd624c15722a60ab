"""The frozen part of a backbone runs once for an input: what it puts out is kept by the input's content."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..layers import Made, PrefixError, Recorded, Selection, recomputes
from ._inputs import Inputs
from ._kept import generators
from ._looking import Looking
from ._store import Store
from ._trial import Cut, Trial, part_of

Call = Callable[[nn.Module], Any]
FORMS = 8
"""Forms of inputs whose frozen part is kept; those that come later run as ever."""


class FeaturesError(ValueError):
    """What the frozen part of a network puts out can't be kept, and must be."""


class Features:
    """What the frozen part of a backbone puts out, kept for the passes of one training.

    Args:
        runner: of the model whose passes these are.
        changed: the layers that tasks of the training change.
        store: where rows are kept.
        network: what says which network this is: its fingerprint, say.
        required: a pass of which nothing can be kept is an error.

    Attributes:
        off: modes in which nothing is kept, and why.
        refused: inputs of which nothing can be kept, by form, and why.
    """

    def __init__(
        self, runner: Looking, changed: Collection[str], store: Store, network: str, required: bool = False
    ) -> None:
        self.runner, self.changed, self.store = runner, changed, store
        self.network, self.required = network, required
        self.off: dict[bool, str] = {}
        self.refused: dict[str, str] = {}
        self.cuts: dict[str, Cut] = {}

    def run(
        self, call: Call, selection: Selection, training: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """A pass: without the frozen part for rows that this has seen.

        Args:
            call: runs a skeleton.
            selection: the pass.
            training: the mode of its layers.
            args, kwargs: the backbone's inputs.

        Raises:
            FeaturesError: nothing can be kept, and it is required.
        """
        plain = self.runner.network(training)
        found = None if training in self.off else self._found(plain, selection, training, args, kwargs)
        if found is None:
            return call(plain)
        cut, inputs = found
        keys = inputs.keys()
        missing = [n for n, key in enumerate(keys) if key not in cut.table]
        if len(missing) == len(keys):
            if cut.table.full:
                return call(plain)
            with cut.prefix.recording(inputs.batch, needed=cut.needed) as recorded:
                output = call(cut.prefix.network)
            self._keep(cut, keys, recorded)
            return output
        rows = torch.empty(len(keys), cut.table.width, dtype=torch.uint8)
        if missing:
            new = part_of(cut.prefix, inputs, torch.tensor(missing), selection, len(cut.calls), cut.needed)
            if not self._keep(cut, [keys[n] for n in missing], new):
                return call(plain)
            rows[missing] = cut.packed(new)
        there = sorted({*range(len(keys))} - {*missing})
        rows[there] = cut.table.get([keys[n] for n in there])
        with cut.prefix.replaying(cut.unpacked(rows, inputs.device)):
            return call(cut.prefix.network)

    @staticmethod
    def _keep(cut: Cut, keys: Sequence[bytes], recorded: Recorded) -> bool:
        """Whether it is what such a pass puts out; then it is kept as far as there is room."""
        alike = len(recorded.calls) == len(cut.calls) and all(map(Made.same, cut.calls, recorded.calls))
        if alike:
            cut.table.add(keys, cut.packed(recorded))
        return alike

    def _found(
        self, plain: nn.Module, selection: Selection, training: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Cut, Inputs] | None:
        form = f"training={training}"
        try:
            self._check()
            inputs = Inputs.of(args, kwargs, training, sorted(self.runner.modes.items()))
            form = inputs.form
            cut = self._cut(inputs, plain, selection, training)
            if cut is not None:
                return cut, inputs
        except PrefixError as error:
            self.refused[form] = str(error)
        if self.required and form in self.refused:
            raise FeaturesError(
                f"features of the frozen part can't be kept: {self.refused[form]}; choose cache_features='auto', which "
                "trains without, or 'never'"
            )
        return None

    def _check(self) -> None:
        if any(self.runner.hooks.now()):
            raise PrefixError("forward hooks stand on the network")
        if torch.is_grad_enabled() and recomputes(self.runner.backbone):
            raise PrefixError("the network computes layers again in the backward pass")

    def _cut(self, inputs: Inputs, plain: nn.Module, selection: Selection, training: bool) -> Cut | None:
        cut, form = self.cuts.get(inputs.form), inputs.form
        if cut is not None:
            if cut.standing is not plain:
                cut.prefix, cut.standing = cut.prefix.again(self.runner._made(training)), plain
            return cut
        if form in self.refused or inputs.batch < 2:  # a single row does not say whether rows depend on others
            return None
        if len(self.cuts) == FORMS:
            raise PrefixError(f"inputs come in more than {FORMS} forms (sizes, types)")
        try:
            with torch.no_grad(), generators():
                trial = Trial(self.runner._made(training), self.changed, inputs, selection)
                self.cuts[form] = trial.cut(plain, self.store, self.network)
        except Exception as error:  # a fault of the input is the plain pass's to say
            raise PrefixError(str(error)) from error
        finally:
            torch.clear_autocast_cache()  # weights that were cast without gradients
        return self.cuts[form]

    def parts(self, training: bool) -> bool:
        """Whether several tasks on one batch are to pass one by one: the frozen part is kept, or may be."""
        return training not in self.off and (bool(self.cuts) or not self.refused)

    @property
    def why(self) -> str:
        """Why something is not kept; empty: all is."""
        return "; ".join(dict.fromkeys([*self.off.values(), *self.refused.values()]))

    @property
    def kept(self) -> tuple[int, int]:
        """Rows that are kept, and their bytes."""
        sizes = [(len(table), table.width) for table in self.store.tables.values()]
        return sum(count for count, _ in sizes), sum(count * width for count, width in sizes)


class _Keeping(threading.local):
    features: Features | None = None


_keeping = _Keeping()


@contextmanager
def keeping(features: Features | None) -> Iterator[None]:
    """Run a block in which passes of this thread keep what the frozen part puts out."""
    before, _keeping.features = _keeping.features, features
    try:
        yield
    finally:
        _keeping.features = before


def kept_features(runner: Looking) -> Features | None:
    """Where passes of this thread keep what the frozen part of a model puts out."""
    found = _keeping.features
    return found if found is not None and found.runner is runner else None
