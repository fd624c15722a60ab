"""The skeletons that stand for a backbone, kept in step with what people do to it."""

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
    """A backbone, and a skeleton of it for each mode."""

    backbone: nn.Module
    adapted: Mapping[str, Form]
    """The layers that tasks adapt, by path: what they were when the first of these came."""
    training: bool
    lock: threading.Lock

    @abstractmethod
    def _clear(self) -> None:
        """Forget what was found out about the skeletons there were."""

    @abstractmethod
    def _forget_rows(self) -> None:
        """Forget where rows were found: a setting of the backbone is another."""

    def _begin(self) -> None:
        self.skeletons: Mapping[bool, nn.Module] = {}
        """One that trains, and one that evaluates."""
        self.sites: list[Site] = []
        self.watch: Watch | None = None
        self.hooks = Registered(self.backbone)
        self.unwritten = Unwritten(self.backbone)
        self.modes: dict[str, bool] = {}
        """Modes that somebody has set on modules of the backbone since the model's own was set."""
        self.frozen: set[str] = set()
        """Modules put into evaluation, and not with the whole network: nobody sees it if that is said again."""
        self.told: frozenset[str] = frozenset()
        """Those of which somebody has been told."""
        self.unlike: dict[str, str] = {}
        """Adapted layers that are no longer what they were, and what has become of them."""
        self.held: dict[str, dict[str, Any]] = {}
        """Attributes that modules have in the skeletons alone, by path."""
        self.several: frozenset[str] = frozenset()
        """Adapted layers that stand in several places now."""
        self.still = False
        """Layers evaluate in passes that train."""

    def adapt(self, forms: Mapping[str, Form]) -> None:
        """From now on these modules ask which task they run for.

        Args:
            forms: what they are, by path.

        Raises:
            TypeError: one of them can't be adapted.
        """
        with self.lock:
            if not self.adapted.keys() >= forms.keys():
                both = {**forms, **self.adapted}
                self._install(both)  # passes under way go on with the skeletons there are
                self.adapted = both  # last: if this call is interrupted, the next one builds them again

    def renew(self) -> None:
        """Build the skeletons anew: the backbone has changed. Now, so that a compiler finds them ready."""
        if self.adapted or self.skeletons:
            with self.lock:
                self._install(self.adapted)

    def network(self, training: bool | None = None) -> nn.Module:
        """The skeleton of a mode; default: the model's."""
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
        """Layers of these paths are what they were when tasks came to adapt them.

        Raises:
            ValueError: one is not.
        """
        for path, words in self.unlike.items():
            if path in paths:
                raise ValueError(words)

    def moving(self, training: bool) -> bool:
        """The mode of the layers in a pass."""
        return training and not self.still

    def train(self, mode: bool) -> None:
        """The mode of all but those modules that somebody has put into evaluation and left there."""
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
        """What somebody has done to the backbone since the last pass takes effect."""
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
        """Run a block in which these modules have other attributes; the backbone's own are left alone."""
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
