"""Reads and checks a folder with an adapter of PEFT's: `adapter_config.json` and `adapter_model.safetensors`."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ..kinds import Convolution, Embedding, Linear, WeightKind, kind_of
from ..tasks import contents_of

CONFIG, MODEL = "adapter_config.json", "adapter_model.safetensors"
_SAYS_NOTHING = {
    *("auto_mapping", "base_model_name_or_path", "exclude_modules", "inference_mode", "layers_pattern"),
    *("layers_to_transform", "modules_to_save", "peft_type", "peft_version", "revision", "target_modules", "task_type"),
}
"""Fields of every adapter on its origin or its layers, which tensors' names have too."""


class AdapterError(ValueError):
    """A folder holds no adapter of PEFT's that Taskfold reproduces exactly: the message has the part and a remedy."""


@dataclass
class Adapter:
    """An adapter's settings, and its tensors, from which readers take theirs.

    Attributes:
        folder: its folder.
        config: its settings.
        tensors: the tensors that no reader has taken, by name in the backbone.
        network: the backbone.
        task_id: the index of the wanted task, if the adapter has several.
        state, modules: the backbone's tensors and modules, by name.
    """

    folder: Path
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    network: nn.Module
    task_id: int | None = None
    state: dict[str, Tensor] = field(init=False)
    modules: dict[str, nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        self.state, self.modules = self.network.state_dict(), dict(self.network.named_modules())

    @classmethod
    def read(cls, folder: Path, network: nn.Module, task_id: int | None = None) -> Adapter:
        """The adapter of a folder; nothing is unpickled.

        Raises:
            FileNotFoundError: there is no such folder, or no adapter in it.
            AdapterError: the adapter is damaged.
        """
        for name in (CONFIG, MODEL):
            if not (folder / name).is_file():
                pickled = name == MODEL and (folder / "adapter_model.bin").is_file()
                inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
                raise FileNotFoundError(
                    f"there is no {name} in {str(folder)!r}"
                    + "; adapter_model.bin is a pickle, which is not read: save it as safetensors" * pickled
                    + f"; its folders have adapters of their own, give one: {', '.join(inside[:5])}" * bool(inside)
                )
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise AdapterError(f"{folder / CONFIG} is no JSON ({error}); save the adapter again") from None
        if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
            raise AdapterError(f"{folder / CONFIG} names no peft_type; save the adapter again with PEFT")
        try:
            tensors = contents_of(folder / MODEL)[1]
        except (SafetensorError, OSError, UnicodeDecodeError) as error:
            raise AdapterError(f"{folder / MODEL} is truncated or no safetensors file ({error})") from None
        around = "base_model." if "num_virtual_tokens" in config else "base_model.model."
        bare = {_bare(name, around): tensor for name, tensor in tensors.items()}
        made_for, here = config.get("base_model_name_or_path"), getattr(network, "name_or_path", None)
        if isinstance(made_for, str) and isinstance(here, str) and len({_model(made_for), _model(here)} - {""}) > 1:
            warnings.warn(
                f"{folder}: the adapter was trained on {made_for!r}, and the backbone is {here!r}; its answers "
                "are right on weights equal to those alone",
                stacklevel=4,
            )
        return cls(folder, config, bare, network, task_id)

    def error(self, text: str) -> AdapterError:
        """An error with the folder's name."""
        return AdapterError(f"{self.folder}: {text}")

    def check_fields(self, read: frozenset[str], idle: frozenset[str]) -> None:
        """Checks that all settings are known, or off.

        Args:
            read: fields that the type reads.
            idle: fields without effect on a finished adapter.

        Raises:
            AdapterError: an unknown field is set.
        """
        for name, value in self.config.items():
            if name not in read | idle | _SAYS_NOTHING and value not in (None, False, "", [], {}):
                raise self.error(
                    f"{self.config['peft_type']} has {name}={value!r}, which Taskfold does not know and which may "
                    "change the answer; merge the adapter with PEFT (merge_and_unload) and take that as backbone"
                )

    def number(self, name: str, default: float, *, whole: bool = True, field: Mapping[str, Any] | None = None) -> Any:
        """A setting that is a number above 0."""
        value = (self.config if field is None else field).get(name, default)
        good = isinstance(value, int) if whole else isinstance(value, (int, float))
        if not good or isinstance(value, bool) or not 0 < value < float("inf"):
            what = "a whole number ≥ 1" if whole else "a finite number > 0"
            raise self.error(f"{name} must be {what}, found {value!r}")
        return value

    def at(self, patterns: str, path: str, name: str, default: float, *, whole: bool = True) -> Any:
        """A layer's number: that of the first pattern that matches the end of its name, as in PEFT, else the default.

        Raises:
            AdapterError: it is not a number, or a pattern not a regular expression.
        """
        each = self.config.get(patterns) or {}
        for pattern in each:
            try:
                found = re.match(rf"(.*\.)?({pattern})$", path)
            except re.error as error:
                raise self.error(f"{patterns} has {pattern!r}, which is no regular expression ({error})") from None
            if found:
                return self.number(pattern, default, whole=whole, field=each)
        return self.number(name, default, whole=whole)

    def layers(self, *roles: str) -> dict[str, dict[str, Tensor]]:
        """Take the layers' tensors with these roles, by layer, in the network's order."""
        found: dict[str, dict[str, Tensor]] = {}
        for name in list(self.tensors):
            for role in roles:
                if name.endswith(f".{role}"):
                    found.setdefault(name.removesuffix(f".{role}"), {})[role] = self.tensors.pop(name)
                    break
        order = {path: n for n, path in enumerate(self.modules)}
        return dict(sorted(found.items(), key=lambda item: order.get(item[0], -1)))

    def layer(self, path: str) -> WeightKind:
        """A layer of the backbone with an adapter.

        Raises:
            AdapterError: there is none, or PEFT runs it differently.
        """
        if path not in self.modules:
            raise self.error(f"the backbone has no layer {path!r}; load the network that the adapter was made for")
        module = self.modules[path]
        kind = kind_of(module)
        if not isinstance(kind, (Linear, Embedding)) and type(kind) is not Convolution:
            raise self.error(
                f"layer {path!r} is a {kind.words} ({type(module).__name__}), whose adapters Taskfold can't do"
            )
        assert isinstance(kind, WeightKind)
        if odd := oddities(kind):
            raise self.error(f"layer {path!r} has {odd}, and there an adapter of PEFT's does something else than here")
        return kind

    def shaped(self, tensor: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
        """A tensor in a shape; axes of length one may differ.

        Raises:
            AdapterError: it has another shape.
        """
        if [n for n in tensor.shape if n != 1] != [n for n in shape if n != 1]:
            raise self.error(f"{name} has shape {list(tensor.shape)}, and this backbone needs {list(shape)}")
        return tensor.reshape(shape).to(torch.promote_types(tensor.dtype, torch.float32))

    def saved(self) -> dict[str, Tensor]:
        """Take all remaining tensors, which replace the backbone's; equal ones are left out.

        Raises:
            AdapterError: one is not a tensor of the backbone, has another shape, or is an adapted layer's base weight.
        """
        found: dict[str, Tensor] = {}
        for name, tensor in self.tensors.items():
            key = name.replace(".base_layer.", ".").removeprefix("base_layer.")
            own = self.state.get(key)
            if own is None:
                raise self.error(f"tensor {name!r} belongs to nothing that this backbone has; load the adapter's own")
            if own.shape != tensor.shape:
                raise self.error(
                    f"tensor {name!r} has shape {list(tensor.shape)}, and the backbone's {list(own.shape)}; load a "
                    "backbone of these sizes (num_labels=…, a resized vocabulary)"
                )
            if torch.equal(own.detach().cpu(), tensor.to(own.dtype)):
                continue
            if key != name and not (key.endswith("bias") and self.config.get("bias", "none") != "none"):
                raise self.error(
                    f"the adapter was made on another {key!r} than this backbone has; load its own backbone"
                )
            found[key] = tensor
        self.tensors = {}
        return found


def oddities(kind: WeightKind) -> str:
    """Properties of a layer that PEFT's adapters ignore, in words: they run y = layer(x) + up(down(x)); empty: none.

    Their `down` has a convolution's stride and padding, but neither dilation nor padding with other than zeros.
    """
    module, odd = kind.module, dict[str, Any]()
    if isinstance(kind, Convolution):
        usual = {"groups": 1, "padding_mode": "zeros", "dilation": (1,) * len(module.kernel_size)}  # type: ignore[arg-type]
        odd = {name: getattr(module, name) for name, value in usual.items() if getattr(module, name) != value}
    if odd or kind.additive:
        return ", ".join(f"{name}={value!r}" for name, value in odd.items())
    return f"a forward of its own ({type(module).__name__})"


def _bare(name: str, around: str) -> str:
    """A tensor's name in the backbone, without PEFT's wrapper."""
    return name.removeprefix(around) if name.startswith(around) else name.removeprefix("base_model.")


def _model(name: str) -> str:
    """What a hub's name says of a model: its last part; a folder only says something in the hub's cache."""
    cached = re.search(r"models--([^/\\]+)", name)
    if not cached and Path(name).is_dir():
        return ""
    return re.split(r"--|/", cached[1] if cached else name)[-1].lower()
