"""The skeleton, which runs in the network's place: proxies of the user's modules, and sites for adapted layers."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..kinds import FourBit, is_norm, kind_of, replaced
from ..refusals import UnfitError
from ._hooks import libraries, listen, of_libraries
from ._inside import inside
from ._merging import Merging
from ._padded import Padded, pads
from ._proxy import FRESH, KEPT, OF, PATH, SETTLING, SHARED, TWIN, proxy_of
from ._reading import Read
from ._rebound import Rebinding, hidden
from ._sites import Site
from ._watch import copied

_CACHES = re.compile("cache|memo")
_COPIED = (bool, int, float, str, tuple)


def skeleton(
    network: nn.Module,
    paths: Collection[str],
    training: bool = False,
    *,
    held: Mapping[str, Mapping[str, Any]] | None = None,
    quiet: bool = False,
    heard: bool = False,
    hooked: bool = False,
) -> nn.Module:
    """Builds a skeleton: a proxy for each module of the network, with children and a mode of its own.

    Args:
        network: the user's; it stays unchanged.
        paths: of the modules that become sites.
        training: the mode.
        held: attributes that proxies get and the network's modules lack, by path.
        quiet: leave no trace: only hooks of the network's own library run, and attributes that modules set on
            themselves stay in the skeleton.
        heard: detect user hooks that change their arguments (`HookChangesError`).
        hooked: with `quiet`, run the user's hooks all the same.

    Raises:
        TypeError: an adapted layer has a patched forward, a patched forward calls adapted layers by a global variable,
            or another module computes with the layer's tensors in its `train()`.
    """
    modules = dict(network.named_modules())
    _check_patched(modules, paths)
    proxies = _proxies(modules, paths, held or {})
    if quiet and not hooked:
        packages = libraries(network)
        for table in (proxy.__dict__ for proxy in proxies.values()):
            table |= {
                name: _of_libraries(table[name], packages) for name in SHARED if "hooks" in name and name in table
            }
    if heard:
        packages = libraries(network)
        for proxy in proxies.values():
            listen(proxy, packages)
    made = proxies[id(network)]
    with Merging({path: proxies[id(module)] for path, module in modules.items()}, paths):
        set_mode(made, training)
    for path, module in modules.items():
        if path in paths:
            _make_site(path, module, proxies[id(module)], quiet)
    if quiet:
        for proxy in proxies.values():
            proxy.__dict__[SETTLING] = hooked
    return made


def _of_libraries(hooks: Any, packages: Collection[str]) -> Any:
    """The hooks that the network's own library has registered: the network depends on them."""
    if not isinstance(hooks, dict):
        return type(hooks)()

    # A bool is an option of the hook with the same key in another table.
    kept = [(key, hook) for key, hook in hooks.items() if isinstance(hook, bool) or of_libraries(hook, packages)]
    return type(hooks)(kept)


def in_mode(module: nn.Module, training: bool) -> nn.Module:
    """A proxy of a module in the given mode, over the same tensors."""
    return _proxies(dict(module.named_modules()), (), {})[id(module)].train(training)


def _proxies(
    modules: Mapping[str, nn.Module], paths: Collection[str], held: Mapping[str, Mapping[str, Any]]
) -> dict[int, nn.Module]:
    """The proxies by `id` of the user's module, with children in place."""
    shared: dict[int, Any] = {
        id(t): t for m in modules.values() for t in (*m._parameters.values(), *m._buffers.values())
    }
    proxies: dict[int, nn.Module] = {}
    for path, module in modules.items():
        if isinstance(module, torch.jit.ScriptModule):
            proxies[id(module)] = copy.deepcopy(module, shared)
        else:
            proxies[id(module)] = proxy_of(module, path, *([Read] if path in paths else []))
    rebinding = Rebinding(proxies)
    for path, module in modules.items():
        table = proxies[id(module)].__dict__
        if OF in table:
            for name, child in module._modules.items():
                table["_modules"][name] = None if child is None else proxies.get(id(child), child)
            table.update(_own(module, rebinding), **held.get(path, {}))
            table[FRESH] = caches(module, empty=True)
            if pads(module):
                table.setdefault("forward", Padded(proxies[id(module)], module))
            elif replaced(module):
                table.setdefault("forward", kind_of(module).at(proxies[id(module)]).plain)
    return proxies


def _make_site(path: str, module: nn.Module, outer: nn.Module, quiet: bool) -> None:
    """Makes a layer's proxy a site over a second proxy, the plain layer. `quiet`: both get what either sets."""
    if "forward" in module.__dict__:
        raise UnfitError(
            f"layer {path!r} has a forward patched onto the instance (hooks of a device map, say), which an "
            "adapter cannot see; load the backbone without it"
        )
    inner = proxy_of(module, path)
    inner.__dict__.update(outer.__dict__)
    if quiet:
        inner.__dict__.update({SETTLING: False, TWIN: outer.__dict__})
        outer.__dict__[TWIN] = inner.__dict__
    outer.__dict__["forward"] = Site(path, inner, kind_of(module).at(inner))


def _check_patched(modules: Mapping[str, nn.Module], paths: Collection[str]) -> None:
    """Checks that forwards patched onto instances reach adapted modules by their closures, not by global variables.

    Raises:
        TypeError: one uses a global variable, where a proxy can't be put in.
    """
    for path, module in modules.items():
        if "forward" not in module.__dict__:
            continue
        adapted = {id(one) for outer, one in modules.items() if any(f".{p}.".startswith(f".{outer}.") for p in paths)}
        adapted |= {id(modules[""])} if paths else set()
        if name := hidden(module.__dict__["forward"], adapted):
            where = f"module {path!r}" if path else "the network"
            raise UnfitError(
                f"{where} ({type(module).__name__}) has a forward patched onto the instance, which calls the "
                f"backbone by the global variable {name!r}: no task would change what it says; use a forward hook, "
                "wrap the module in an nn.Module, or bind what it calls to the function with functools.partial"
            )


def _own(module: nn.Module, rebinding: Rebinding) -> dict[str, Any]:
    """A proxy's own attributes: rebound references to modules, patched methods, and settings of fused paths."""
    found = {name: new for name, value in kept_of(module) if (new := rebinding(value)) is not value}
    kind = type(module)
    found |= {
        name: value for name, value in kept_of(module) if name not in found and callable(getattr(kind, name, None))
    }
    if copied(module):
        found = {name: value for name, value in kept_of(module) if isinstance(value, _COPIED)} | found
    return found | _fixed(module)


def _fixed(module: nn.Module) -> dict[str, Any]:
    """Settings that switch off fused paths, which read children's weights and call no child, and packing of weights."""
    if isinstance(module, nn.TransformerEncoderLayer):
        return {"activation_relu_or_gelu": 0}
    if isinstance(module, nn.TransformerEncoder):
        return {"enable_nested_tensor": False, "use_nested_tensor": False}
    return {FourBit.PACKS: False} if FourBit.PACKS in module.__dict__ else {}


def rebind(network: nn.Module, twin_of_all: nn.Module) -> None:
    """Points functions and weak references that a deep copy of a network keeps to the copy's modules.

    Raises:
        TypeError: a patched forward calls the network by a global variable.
    """
    modules = dict(network.named_modules())
    _check_patched(modules, modules)
    twins = [*twin_of_all.modules()]
    rebinding = Rebinding({id(module): twin for module, twin in zip(modules.values(), twins, strict=True)})
    for twin in twins:
        twin.__dict__.update({name: new for name, one in [*kept_of(twin)] if (new := rebinding(one)) is not one})


def kept_of(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The attributes of a module that `nn.Module` does not have."""
    return ((name, value) for name, value in module.__dict__.items() if name not in SHARED and name not in KEPT)


def caches(module: nn.Module, empty: bool = False) -> dict[str, Any]:
    """The user's module's attributes that may cache its tensors, with their empty values (`None`, `{}`).

    Args:
        module: the user's.
        empty: include attributes that are empty now.
    """
    found: dict[str, Any] = {}
    owns = bool(module._parameters or module._buffers)
    for name, value in kept_of(module):
        if (empty and value is None) or (owns and isinstance(value, Tensor) and _CACHES.search(name)):
            found[name] = None
        elif (
            type(value) is dict
            and (owns if value else empty)
            and all(isinstance(one, Tensor) for one in value.values())
        ):
            found[name] = {}
    return found


def begun(made: nn.Module) -> dict[str, dict[str, Any]]:
    """The attributes that were empty when the skeleton was made and hold tensors now, by path."""
    found: dict[str, dict[str, Any]] = {}
    for module in made.modules():
        table = module.__dict__
        if OF in table:
            kept = table[OF].__dict__
            now = {name: [*inside(kept.get(name))] for name in table[FRESH]}
            empty = {name: copy.copy(first) for name, first in table[FRESH].items() if now[name]}
            found |= {table[PATH]: empty} if empty else {}
    return found


def sites_of(made: nn.Module) -> list[Site]:
    """The sites of a skeleton, in the network's order."""
    return [site for module in made.modules() if isinstance(site := module.__dict__.get("forward"), Site)]


def set_mode(made: nn.Module, training: bool) -> None:
    """Sets the mode; modules that may write the backbone's buffers (BatchNorm) always evaluate."""
    modules = list(made.modules())
    for module in modules:
        module.__dict__[SETTLING] = False
    made.train(training)
    for module in modules:
        module.__dict__.pop(SETTLING, None)
        if evaluates(module):
            module.training = False


def follow(made: nn.Module, path: str, training: bool) -> None:
    """Gives a proxy the mode that the user has set on its module."""
    module = made.get_submodule(path)
    mode = training and not evaluates(module)
    for one in _twins(module):
        one.__dict__["training"] = mode
    if isinstance(site := module.__dict__.get("forward"), Site):
        site.still = not training and site.kind.normalises


def copy_again(made: nn.Module, path: str, names: Collection[str]) -> None:
    """Gives a skeleton's proxy at `path` the settings `names` that the user has changed on its module."""
    for one in _twins(made.get_submodule(path)):
        table = one.__dict__
        theirs, fixed = table[OF].__dict__, _fixed(table[OF])
        for name in names:
            if name not in fixed:
                table.pop(name, None)
                if isinstance(theirs.get(name), _COPIED):
                    table[name] = theirs[name]


def _twins(module: nn.Module) -> tuple[nn.Module, ...]:
    """A proxy, and the plain layer that it runs if it is a site."""
    site = module.__dict__.get("forward")
    return (module, site.module) if isinstance(site, Site) else (module,)


def evaluates(module: nn.Module) -> bool:
    """Whether a proxy stays in evaluation mode, since training could write its buffers."""
    return bool(module._buffers) and (is_norm(module) or not module._modules)
