from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


class Named(nn.Module, Generic[M]):
    """Modules by the user's names: `layer1.0.conv`, `train`, `weight` are all allowed.

    `nn.ModuleDict` refuses dots and the names of its own attributes.
    """

    def __init__(self, modules: dict[str, M] | None = None) -> None:
        super().__init__()
        self._modules.update(modules or {})
        self.register_load_state_dict_post_hook(_forgive)

    def __getattr__(self, name: str) -> Any:
        """Export and functional calls look `layer1.0.conv` up part by part."""
        modules = self._modules
        inside: dict[str, Any] = {
            key.removeprefix(f"{name}."): modules[key] for key in modules if key.startswith(f"{name}.")
        }
        if not inside:
            return super().__getattr__(name)
        part = Named(inside)
        if (whole := modules.get(name)) is not None:
            part._modules |= whole._modules
            part._parameters, part._buffers = whole._parameters, whole._buffers
        return part

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any, **named: Any) -> None:
        self.__dict__["prefix"] = prefix
        super()._load_from_state_dict(state_dict, prefix, *rest, **named)

    def __getitem__(self, name: str) -> M:
        return self._modules[name]  # type: ignore[return-value]

    def __setitem__(self, name: str, module: M) -> None:
        self._modules[name] = module

    def __delitem__(self, name: str) -> None:
        del self._modules[name]

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def get(self, name: str) -> M | None:
        return self._modules.get(name)  # type: ignore[return-value]


def _forgive(named: Named[nn.Module], keys: Any) -> None:
    """Removes loaded keys from the unexpected ones: torch looks names up only to their first dot."""
    known = {named.__dict__["prefix"] + name for name in named.state_dict()}
    keys.unexpected_keys[:] = [key for key in keys.unexpected_keys if key not in known]
