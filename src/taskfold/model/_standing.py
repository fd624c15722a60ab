"""Keeps skeletons in step with the user's changes to the backbone."""

from __future__ import annotations

import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from ..layers import Form, Registered, Site, Unwritten, Watch, copy_again, follow, odds_in, several, sites_of, skeleton


class Standing(ABC):
    """A backbone with a skeleton for each mode."""

    backbone: nn.Module
    adapted: Mapping[str, Form]
    """The forms of the adapted layers when their first task was added, by path."""
    training: bool
    lock: threading.Lock

    @abstractmethod
    def _clear(self) -> None:
        """Forgets what is known of the previous skeletons."""

    @abstractmethod
    def _forget_rows(self) -> None:
        """Forgets layouts of rows, after a change of the backbone's settings."""

    def _begin(self) -> None:
        self.skeletons: Mapping[bool, nn.Module] = {}
        """By mode: True for training."""
        self.sites: list[Site] = []
        self.watch: Watch | None = None
        self.hooks = Registered(self.backbone)
        self.unwritten = Unwritten(self.backbone)
        self.modes: dict[str, bool] = {}
        """Modes that the user has set on modules of the backbone since the model's mode was set."""
        self.frozen: set[str] = set()
        """Modules that the user has put into evaluation, and not with the network; a repeated `eval()` is not seen."""
        self.told: frozenset[str] = frozenset()
        """Those of `frozen` that the user was warned of."""
        self.unlike: dict[str, str] = {}
        """The errors for adapted layers that no longer fit their forms, by path."""
        self.held: dict[str, dict[str, Any]] = {}
        """Attributes of modules in the skeletons alone, by path."""
        self.several: frozenset[str] = frozenset()
        """Paths of adapted layers that have several places now."""
        self.still = False
        """Layers evaluate in training passes."""

    def adapt(self, forms: Mapping[str, Form]) -> None:
        """Makes sites of these modules.

        Args:
            forms: the modules' forms, by path.

        Raises:
            TypeError: one of them can't be adapted.
        """
        with self.lock:
            if not self.adapted.keys() >= forms.keys():
                both = {**forms, **self.adapted}
                self._install(both)  # running passes keep the previous skeletons
                self.adapted = both  # last, so that the next call repeats an interrupted one

    def renew(self) -> None:
        """Builds new skeletons after a change of the backbone, at once, so that a compiler finds them ready."""
        if self.adapted or self.skeletons:
            with self.lock:
                self._install(self.adapted)

    def network(self, training: bool | None = None) -> nn.Module:
        """The skeleton of a mode; default: the model's mode."""
        made = self.skeletons
        if not made:
            with self.lock:
                if not self.skeletons:
                    self._install(self.adapted)
                made = self.skeletons
        return made[self.training if training is None else training]

    def _install(self, forms: Mapping[str, Form]) -> None:
        self.unlike = odds_in(self.backbone, forms)
        paths = forms.keys() - self.unlike.keys()
        made = {mode: skeleton(self.backbone, paths, mode, held=self.held) for mode in (True, False)}
        self._clear()
        self.sites, self.watch = sites_of(made[False]), Watch(self.backbone, paths)
        self.hooks = Registered(self.backbone)
        self.unwritten = Unwritten(self.backbone)
        self.several = frozenset(several(self.backbone, paths))
        modules = dict(self.backbone.named_modules())
        self.frozen = {path for path in self.frozen if path in modules and not modules[path].training}
        self.modes = {path: mode for path, mode in self.modes.items() if path in modules}
        self.skeletons = made
        self._follow(self.modes)

    def _check_alike(self, paths: Collection[str]) -> None:
        """Checks that the layers at these paths still fit their forms.

        Raises:
            ValueError: one does not.
        """
        for path, words in self.unlike.items():
            if path in paths:
                raise ValueError(words)

    def moving(self, training: bool) -> bool:
        return training and not self.still

    def train(self, mode: bool) -> None:
        """Sets the mode of all modules except those that the user has put into evaluation."""
        self.training = mode
        if self.watch is not None:
            self._notice()
            kept = dict.fromkeys(self.frozen, False)
            if self.modes != kept:
                self.modes = kept
                self.renew()
            if mode and self.frozen and not self.told.issuperset(self.frozen):
                self.told = frozenset(self.frozen)
                names = ", ".join(sorted(self.frozen)[:5])
                warnings.warn(
                    "modules of the backbone that have been put into evaluation stay there while the model trains: "
                    f"{names}; model.backbone.train() lets them train again",
                    stacklevel=4,
                )

    def _notice(self) -> None:
        """Applies the user's changes to the backbone since the last pass."""
        assert self.watch is not None
        changes = self.watch.changed()
        self._follow(changes.modes)
        if changes.anew:
            self.renew()
            return
        for path, names in changes.settings.items():
            mine = [name for name in names if name not in self.held.get(path, {})]
            for network in self.skeletons.values():
                copy_again(network, path, mine)
        if changes.numbers:
            self._forget_rows()

    def _follow(self, modes: Mapping[str, bool]) -> None:
        self.modes.update(modes)
        if modes.get("", True):
            self.frozen.update(path for path, mode in modes.items() if not mode)
            self.frozen.difference_update(path for path, mode in modes.items() if mode)
        for path, mode in modes.items():
            for network in self.skeletons.values():
                follow(network, path, mode)

    @contextmanager
    def holding(self, paths: Iterable[str], **attributes: Any) -> Iterator[None]:
        """Run a block in which these modules have other attributes in the skeletons; the backbone does not change."""
        before = self.held
        self.held = {**before, **{path: {**before.get(path, {}), **attributes} for path in paths}}
        if self.held == before:
            yield
            return
        self.renew()
        try:
            yield
        finally:
            self.held = before
            self.renew()
