"""Whether a network's modules have been changed since: switches, functions, hooks."""

from __future__ import annotations

from typing import Any

from torch import nn

_OWN_BUSINESS = frozenset(nn.Module().__dict__)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_SWITCHES = ("gradient_checkpointing", "grad_checkpointing")  # Hugging Face's, and timm's


def recomputes(network: nn.Module) -> bool:
    """Whether a switch of its modules says that layers are computed again in the backward pass."""
    return any(getattr(module, switch, False) is True for module in network.modules() for switch in _SWITCHES)


class Watch:
    """What stands in the modules of a network now, tensors and modes left out: compared in microseconds per module."""

    def __init__(self, network: nn.Module) -> None:
        self.seen: list[tuple[dict[str, Any], int, list[tuple[str, Any]], list[tuple[dict[Any, Any], int]]]] = []
        for module in network.modules():
            table = module.__dict__
            plain = [(name, value) for name, value in table.items() if name not in _OWN_BUSINESS]
            self.seen.append((table, len(table), plain, [(table[hooks], len(table[hooks])) for hooks in _HOOKS]))

    def changed(self) -> bool:
        """Whether an attribute or a hook has come, gone or been replaced."""
        for table, size, plain, hooks in self.seen:
            if len(table) != size:
                return True
            for name, value in plain:
                if table.get(name) is not value:
                    return True
            for registered, count in hooks:
                if len(registered) != count:
                    return True
        return False
