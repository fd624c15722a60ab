"""Caches outputs of a backbone's frozen part by the content of the input, so that the part runs once for it."""

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
"""Most forms of inputs with a cache; inputs of later forms run without one."""


class FeaturesError(ValueError):
    """The outputs of a network's frozen part can't be cached, although the user requires it."""


class Features:
    """A cache of outputs of a backbone's frozen part, for the passes of one training.

    Args:
        runner: the model's runner.
        changed: paths of the layers that the trained tasks change.
        store: holds the rows.
        network: identifies the network: its fingerprint, say.
        required: a pass without a cache is an error.

    Attributes:
        off: modes without a cache, and the reasons.
        refused: forms of inputs without a cache, and the reasons.
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
        """Runs a pass, without the frozen part for cached rows.

        Args:
            call: runs a skeleton.
            selection: the pass.
            training: the mode of its layers.
            args, kwargs: the backbone's inputs.

        Raises:
            FeaturesError: there is no cache for these inputs, and it is required.
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
        """Whether the recorded calls fit the cut; then their rows are stored, if there is room."""
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
        if form in self.refused or inputs.batch < 2:  # a single row does not show whether rows depend on others
            return None
        if len(self.cuts) == FORMS:
            raise PrefixError(f"inputs come in more than {FORMS} forms (sizes, types)")
        try:
            with torch.no_grad(), generators():
                trial = Trial(self.runner._made(training), self.changed, inputs, selection)
                self.cuts[form] = trial.cut(plain, self.store, self.network)
        except Exception as error:  # the plain pass raises if the input is at fault
            raise PrefixError(str(error)) from error
        finally:
            torch.clear_autocast_cache()  # it holds weights cast without gradients
        return self.cuts[form]

    def parts(self, training: bool) -> bool:
        """Whether tasks of a broadcast must run one by one, since the frozen part is or may be cached."""
        return training not in self.off and (bool(self.cuts) or not self.refused)

    @property
    def why(self) -> str:
        """Why some passes are not cached; empty: all are."""
        return "; ".join(dict.fromkeys([*self.off.values(), *self.refused.values()]))

    @property
    def kept(self) -> tuple[int, int]:
        """The number of stored rows, and their bytes."""
        sizes = [(len(table), table.width) for table in self.store.tables.values()]
        return sum(count for count, _ in sizes), sum(count * width for count, width in sizes)


class _Keeping(threading.local):
    features: Features | None = None


_keeping = _Keeping()


@contextmanager
def keeping(features: Features | None) -> Iterator[None]:
    """Run a block in which passes of this thread use a cache of the frozen part; None: no cache."""
    before, _keeping.features = _keeping.features, features
    try:
        yield
    finally:
        _keeping.features = before


def kept_features(runner: Looking) -> Features | None:
    """This thread's cache, if it belongs to the runner."""
    found = _keeping.features
    return found if found is not None and found.runner is runner else None
