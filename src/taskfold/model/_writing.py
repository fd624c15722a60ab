"""Writes the texts of a mixed batch in one pass for each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..layers import PLAIN, Guard, OfTasks, OnPath, Selection, Unmoved, selecting, unseen
from ._again import Undo
from ._known import Known, elsewhere
from ._looking import Looking
from ._noted import noted
from ._prompts import PLACED, prompts
from ._rows import Batch
from ._steps import Steps, UnseenStepError, kind_of, stepped

AGAIN = 4
"""How often texts are begun, after a look at another step each time."""


class StepsUnknownError(Exception):
    """A step of a text after the first can't serve several tasks; the message says why."""


class Writing(Looking):
    """Looks at the steps of texts."""

    def check_prompts(self, batch: Batch, known: Known, training: bool) -> None:
        """Checks that prompts decide as those did by which rows were located.

        Raises:
            OtherPathError: they decide otherwise, or one of them would by itself.
        """
        with self._plainly(training) as network, OnPath([(known.decisions, known.each)], batch.rows):
            noted(network, prompts(self.backbone, batch).unwrapped())

    def written(
        self, run: Callable[[], Any], args: tuple[Any, ...], kwargs: dict[str, Any], known: Known, selection: Selection
    ) -> Any:
        """The texts of all rows. A step that is not known, or that decides otherwise than those before, is looked at.

        Args:
            run: runs the network's `generate`.
            args, kwargs: its arguments.
            known: the findings about the prompts.
            selection: the tasks, and the rows of the prompts.

        Raises:
            StepsUnknownError: a step does not see each row where the first step does.
            ValueError: the texts must be begun anew, and an argument may remember those that were begun.
        """

        def look(step: Batch, taken: tuple[Any, ...]) -> None:
            found = self.known(step, "__call__", training, taken, around=answers.around)
            why = found.trouble or found.unknown(answers.paths) or elsewhere(known, found, answers.paths)
            if why:
                raise StepsUnknownError(f"in a later step of a text {why}")
            kind = kind_of(step)
            for one in (kept, steps) if found.lasting else (steps,):
                one[kind] = (found, *one.get(kind, ()))[:AGAIN]

        assert selection.rows is not None
        if selection.answers.around:
            return run()  # a cache has rows before the text, which the plain network's lacks
        training, answers = self.moving(selection.training), selection.answers
        taken: tuple[Any, ...] = ()
        stop: int | None = None
        kept = self.steps.setdefault((training, answers.around), {})
        steps = {**kept}
        if not known.stepped:
            first = self._first_step(Batch.of(args, kwargs, selection.rows.size), training)
            if first is not None:
                look(first, ())
        known.stepped = True
        for _ in range(AGAIN):
            undo = Undo(selection)
            try:
                with Steps(steps, stop):
                    return run()
            except UnseenStepError as error:
                undo()
                self._check_again(args, kwargs, error)
                if error.batch is None:
                    stop, taken = error.number, error.taken
                else:
                    look(error.batch, taken)
                    stop, taken = None, ()
        raise StepsUnknownError(f"steps of its texts took another path {AGAIN} times")

    def _first_step(self, batch: Batch, training: bool) -> Batch | None:
        """The inputs of the plain network's first step after the prompts, with distinct rows; None: there is none."""
        args, kwargs = batch.copied().arguments()
        kwargs = {name: value for name, value in kwargs.items() if name not in PLACED}
        with self._plainly(training) as network, torch.random.fork_rng(), torch.no_grad():
            try:
                with Steps({}), selecting(Selection(OfTasks(()), None, False)):
                    generate: Any = stepped(network).generate
                    generate(*args, **kwargs)
            except UnseenStepError as error:
                return None if error.batch is None else _distinct(error.batch, batch)
            except Exception:
                return None  # the pass itself says what is wrong
        return None

    @contextmanager
    def _plainly(self, training: bool) -> Iterator[Any]:
        with self.looking, unseen(), Guard(self.backbone, training, quiet=True), ExitStack() as also:
            if training:
                also.enter_context(Unmoved())
            yield self._plain(training)

    def _check_again(self, args: tuple[Any, ...], kwargs: dict[str, Any], error: UnseenStepError) -> None:
        """Checks that no argument has kept something of the steps that ran.

        Raises:
            ValueError: one may have.
        """
        for name, value in (*enumerate(args), *kwargs.items()):
            config = type(value).__name__.endswith("Config")
            if not (config or all(isinstance(leaf, (Tensor, nn.Module, *PLAIN)) for leaf in tree_leaves(value))):
                raise ValueError(
                    f"{type(self.backbone).__name__} can't answer a mixed batch of these inputs: {error}, so that the "
                    f"texts must be begun anew, and {name!r} may remember those that were begun; run one task at a time"
                )


def _distinct(step: Batch, prompt: Batch) -> Batch:
    """A step whose rows have words of their own, from the prompts: rows with equal words hide where they go."""
    words = [leaf for leaf in prompt.tensors if not leaf.is_floating_point() and leaf.dim() == 2]
    if step.distinct()[1] or not words:
        return step
    every = words[0].unique()
    mine = every[torch.arange(step.rows, device=every.device) % len(every)][:, None]
    args, kwargs = step.arguments()
    for name in ("input_ids", "decoder_input_ids"):
        if isinstance(kwargs.get(name), Tensor) and kwargs[name].shape == mine.shape:
            kwargs[name] = mine
    return Batch.of(args, kwargs, step.rows)
