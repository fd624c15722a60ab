"""Numbers, and tensors outside of modules, that passes leave and later passes read."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor, nn

from ..kinds import Quantised
from ._inside import NAMED, containers, inside, is_array, is_same
from ._left import COUNTING
from ._proxy import OF
from ._skeleton import kept_of
from ._switches import Switches, foreign


class Outlasting:
    """What passes of a plain network leave; `network`: of proxies that keep what passes set on them."""

    def __init__(self, network: nn.Module) -> None:
        self.network, proxies = network, [module for module in network.modules() if OF in module.__dict__]
        self.modules = [module.__dict__[OF] for module in proxies]
        self.tables = [(module.__dict__, {*module.__dict__}) for module in proxies]
        noted = [module for module in self.modules if not Quantised.fits(module)]
        held = [one for module in noted for _, value in kept_of(module) for one in containers(value)]
        self.before = [(one, copy.copy(one)) for one in held if not (isinstance(one, set) or is_array(one))]

    def exchange(self) -> bool:
        """Puts other numbers in the place of those that passes have left; whether there are any."""
        filled = [one for one, parts in self.before if not is_same(one, parts)]
        entries = [(one, [*one] if isinstance(one, NAMED) else range(len(one))) for one in filled]
        entries += [(table, [*table.keys() - names]) for table, names in self.tables]
        found = [(held, key) for held, keys in entries for key in keys if type(held[key]) in (int, float)]
        for held, key in found:
            held[key] = 2 * held[key] + 1
        return bool(found)

    def matter(self) -> None:
        """Notes that answers depend on numbers that passes leave, which are states then."""
        COUNTING.update(self.modules)

    def outside(self, again: Callable[[], object]) -> bool:
        """Whether another pass changes tensors that only global variables, closures and classes hold."""
        reads = [one.now for one in Switches(self.network.__dict__[OF]).held]
        kinds = {kind for module in self.network.modules() for kind in type(module).__mro__}
        reads += [vars(kind).values for kind in kinds if not foreign(kind.__module__)]

        def tensors() -> list[tuple[Tensor, int]]:
            mine = {id(one) for module in self.modules for _, value in kept_of(module) for one in inside(value)}
            found = [one for read in reads for one in read() if isinstance(one, Tensor) and id(one) not in mine]
            return [(one, one._version) for one in found]

        before, _, now = tensors(), again(), tensors()
        return [(id(one), version) for one, version in before] != [(id(one), version) for one, version in now]
