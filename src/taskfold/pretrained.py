"""Converts a task to a plain network of transformers, for `pipeline`, or of timm, for `checkpoint_path=`."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from .model import MultiTask
from .refusals import UnfitError
from .tasks import Task

_HEADED = ("MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING", "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING")
_PROBLEMS = {
    "classification": "single_label_classification",
    "ordinal": "single_label_classification",
    "multi-label": "multi_label_classification",
    "regression": "regression",
}
"""transformers' names of problems."""
_LAST = ("classifier", "score")


def as_pretrained(model: MultiTask, name: str) -> Any:
    """A task folded into a network of transformers or timm, with the task's head in place of the network's.

    For transformers: a `PreTrainedModel`, with the task's labels in `config.id2label`. For timm: the network that
    `timm.create_model(…, num_classes=…)` makes.

    A task without a head folds into the backbone's own class. One with a linear head on a base model becomes the
    classifier that transformers has for it (`BertForSequenceClassification`), which runs once beside the task: a class
    whose head gets other features is refused, and so is a task with tensors that the class lacks (added biases).

    Args:
        model: its backbone is a network of transformers or timm.
        name: the task.

    Raises:
        TypeError: the backbone is from neither.
        ValueError: there is no such task, it does not fold, or the library has no network that computes the same.
        ImportError: transformers is not installed.
    """
    if callable(getattr(model.backbone, "reset_classifier", None)):
        return _of_timm(model, name)
    try:
        import transformers  # noqa: PLC0415  an optional extra
    except ImportError as error:
        raise ImportError("as_pretrained makes a network of transformers: pip install taskfold[text]") from error
    if not isinstance(model.backbone, transformers.PreTrainedModel):
        raise UnfitError(
            f"as_pretrained needs a backbone of transformers or timm, found {type(model.backbone).__name__}; fold() "
            "makes a plain network of any"
        )
    task, whole = model[name], cast(Any, model.fold(name))
    plain = whole if task.head is None else whole.backbone
    _check_names(plain, model.backbone, name)
    plain.config = copy.deepcopy(plain.config)
    if task.head is None:
        _label(plain.config, task)
        return _as_read(plain, name)
    made = _headed(transformers, plain, task)
    batch = _example(made)
    with torch.no_grad():
        found, expected = made(**batch).logits, whole.eval()(**batch)
    words = f"task {name!r}: {type(made).__name__}"
    return _as_read(_checked(made, found, expected, words, type(plain).__name__), name)


@torch.no_grad()
def _of_timm(model: MultiTask, name: str) -> nn.Module:
    """The network of timm with the task's head as its classifier."""
    task, whole = model[name], cast(Any, model.fold(name))
    made = whole if task.head is None else whole.backbone
    _check_names(made, model.backbone, name)
    if task.head is None:
        return made  # type: ignore[no-any-return]
    if not isinstance(task.head, nn.Linear):
        raise ValueError(
            f"task {name!r}: timm's networks end in one linear layer, and the task's head is a "
            f"{type(task.head).__name__}; fold() makes a plain network of both"
        )
    size, first = made.pretrained_cfg.get("input_size", (3, 224, 224)), next(iter(made.parameters()))
    x = torch.randn(2, *size, generator=torch.Generator().manual_seed(0)).to(first)
    expected = whole.eval()(x)
    with torch.random.fork_rng([]):
        made.reset_classifier(task.head.out_features)
    held, place = task.head.state_dict(), made.get_classifier()
    if {key: one.shape for key, one in place.state_dict().items()} == {key: one.shape for key, one in held.items()}:
        place.load_state_dict(held)
    made.to(first.device, first.dtype).eval()
    words = f"task {name!r}: timm's classifier"
    return _checked(made, made(x), expected, words, type(made).__name__)  # type: ignore[no-any-return]


def _check_names(plain: nn.Module, backbone: nn.Module, name: str) -> None:
    """Checks that the fold has the backbone's tensors: a network that is made anew would lack others."""
    if other := plain.state_dict().keys() ^ backbone.state_dict().keys():
        has = "has" if (first := min(other)) in plain.state_dict() else "lacks"
        raise ValueError(
            f"task {name!r}: its fold {has} {first!r}, and {type(backbone).__name__} does not, so that its weights do "
            "not load into one; fold() makes a plain network"
        )


def _as_read(made: Any, name: str) -> Any:
    """Makes those parameters one that readers of the network's folder make one, and no others."""
    shared = _shared(made)
    for ties in (True, False):
        if not ties:
            made.config.tie_word_embeddings = False
        units = set(_shared(_tied(made)).values())
        if all(len({shared[one] for one in unit}) == 1 for unit in units):
            break
    else:
        raise ValueError(
            f"task {name!r}: transformers ties weights that differ here ({', '.join(max(units, key=len))}); fold() "
            "makes a plain network"
        )
    used = set[str]()
    for unit in units:
        tensor = made.get_parameter(first := shared[unit[0]][0])
        tensor = nn.Parameter(tensor.detach().clone(), tensor.requires_grad) if first in used else tensor
        used.add(first)
        for path, _, leaf in (one.rpartition(".") for one in unit):
            made.get_submodule(path).register_parameter(leaf, tensor)
    return made


def _tied(made: Any) -> Any:
    """A network of `made`'s configuration, with those parameters one that a reader ties; a constructor may tie more."""
    with torch.random.fork_rng([]), torch.device("meta"):
        network = type(made)(copy.deepcopy(made.config))
    for name, parameter in [*network.named_parameters(remove_duplicate=False)]:
        path, _, leaf = name.rpartition(".")
        apart = nn.Parameter(parameter.detach(), parameter.requires_grad)
        network.get_submodule(path).register_parameter(leaf, apart)
    network.tie_weights()
    return network


def _shared(network: nn.Module) -> dict[str, tuple[str, ...]]:
    """The names of the same parameter, by each of them."""
    names: dict[int, list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {name: tuple(each) for each in names.values() for name in each}


def _checked(made: Any, found: Tensor, expected: Tensor, words: str, network: str) -> Any:
    if found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-4, atol=1e-5):
        raise ValueError(
            f"{words} computes other features of {network} than the task's head stands on; fold() makes a plain "
            "network of both"
        )
    return made


def _headed(transformers: Any, plain: Any, task: Task) -> Any:
    """The class of transformers with a classifier around a base model, with the task's head."""
    kinds = [getattr(transformers, key).get(type(plain.config), ()) for key in _HEADED]
    for kind in (one for found in kinds for one in (found if isinstance(found, tuple) else (found,))):
        config = copy.deepcopy(plain.config)
        config.num_labels = _outputs(task)
        _label(config, task)
        with torch.random.fork_rng([]):
            made = kind(config)
        last = next((getattr(made, name) for name in _LAST if isinstance(getattr(made, name, None), nn.Linear)), None)
        head = task.head.state_dict() if task.head is not None else {}
        fits = last is not None and {k: v.shape for k, v in last.state_dict().items()} == {
            k: v.shape for k, v in head.items()
        }
        if fits and type(getattr(made, made.base_model_prefix, None)) is type(plain):
            assert last is not None
            setattr(made, made.base_model_prefix, plain)
            made.config = plain.config = config
            last.load_state_dict(head)
            return made.to(plain.device, plain.dtype).eval()
    raise ValueError(
        f"task {task.name!r}: transformers has no class with one linear classifier on {type(plain).__name__} that the "
        "task's head fits; fold() makes a plain network of both"
    )


def _outputs(task: Task) -> int:
    return next((len(tensor) for tensor in task.head.parameters()), 0) if task.head is not None else 0


def _label(config: Any, task: Task) -> None:
    if labels := task.info.labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: n for n, label in enumerate(labels)}
    if said := _PROBLEMS.get(task.info.problem.get("kind", "")):
        config.problem_type = said  # pipelines make scores of outputs by it


def _example(network: Any) -> dict[str, Tensor]:
    """A batch for the network."""
    config = network.config
    if network.main_input_name == "pixel_values":
        size = config.image_size
        high, wide = (size, size) if isinstance(size, int) else size
        images = torch.randn(2, config.num_channels, high, wide, generator=torch.Generator().manual_seed(0))
        return {"pixel_values": images.to(network.device, network.dtype)}
    pad = config.pad_token_id
    ids = torch.arange(14, device=network.device).reshape(2, 7) % config.vocab_size
    if pad is None:  # some classifiers find the last token by it, and without it take one row
        return {"input_ids": ids[:1]}
    return {"input_ids": ids.masked_fill(ids == pad, (pad + 1) % config.vocab_size)}
