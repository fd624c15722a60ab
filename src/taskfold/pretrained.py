"""Converts a task to a plain network of transformers, for `pipeline`, or of timm, for `checkpoint_path=`."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from .model import MultiTask
from .tasks import Task

_HEADED = ("MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING", "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING")
_LAST = ("classifier", "score")


def as_pretrained(model: MultiTask, name: str) -> Any:
    """A task folded into a network of transformers or timm, with the task's head in place of the network's.

    For transformers: a `PreTrainedModel`, with the task's labels in `config.id2label`. For timm: the network that
    `timm.create_model(…, num_classes=…)` makes.

    A task without a head folds into the backbone's own class. One with a linear head on a base model becomes the
    classifier that transformers has for it (`BertForSequenceClassification`), which runs once beside the task: a class
    whose head gets other features is refused.

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
        raise TypeError(
            f"as_pretrained needs a backbone of transformers or timm, found {type(model.backbone).__name__}; fold() "
            "makes a plain network of any"
        )
    task, plain = model[name], model.fold(name, head=False)
    plain.config = copy.deepcopy(plain.config)  # type: ignore[assignment]
    if task.head is None:
        _label(plain.config, task)
        output = cast(Any, plain).get_output_embeddings()
        if output is not None and output.weight is not cast(Any, plain).get_input_embeddings().weight:
            plain.config.tie_word_embeddings = False  # type: ignore[union-attr]  else readers of the folder make them one
        return plain
    made = _headed(transformers, plain, task)
    batch = _example(model.backbone)
    with torch.no_grad():
        found, expected = made(**batch).logits, model(**batch, task=name, _training=False)
    return _checked(made, found, expected, f"task {name!r}: {type(made).__name__}", type(plain).__name__)


@torch.no_grad()
def _of_timm(model: MultiTask, name: str) -> nn.Module:
    """The network of timm with the task's head as its classifier."""
    task, made = model[name], cast(Any, model.fold(name, head=False))
    if task.head is None:
        return made
    if not isinstance(task.head, nn.Linear):
        raise ValueError(
            f"task {name!r}: timm's networks end in one linear layer, and the task's head is a "
            f"{type(task.head).__name__}; fold() makes a plain network of both"
        )
    with torch.random.fork_rng([]):
        made.reset_classifier(task.head.out_features)
    held, place = task.head.state_dict(), made.get_classifier()
    if {key: one.shape for key, one in place.state_dict().items()} == {key: one.shape for key, one in held.items()}:
        place.load_state_dict(held)
    first = next(iter(made.parameters()))
    made.to(first.device, first.dtype).eval()
    size = made.pretrained_cfg.get("input_size", (3, 224, 224))
    x = torch.randn(2, *size, generator=torch.Generator().manual_seed(0)).to(first)
    found, expected = made(x), model(x, task=name, _training=False)
    words = f"task {name!r}: timm's classifier"
    return _checked(made, found, expected, words, type(made).__name__)  # type: ignore[no-any-return]


def _checked(made: Any, found: Tensor, expected: Tensor, words: str, network: str) -> Any:
    if found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-4, atol=1e-5):
        raise ValueError(
            f"{words} computes other features of {network} than the task's head stands on; fold() makes a plain "
            "network of both"
        )
    return made


def _headed(transformers: Any, plain: Any, task: Task) -> Any:
    """The class of transformers with a classifier around a base model, with the task's head."""
    kinds = [found for key in _HEADED if (found := getattr(transformers, key).get(type(plain.config), None))]
    for kind in kinds:
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


def _example(network: Any) -> dict[str, Tensor]:
    """A batch for the network."""
    if network.main_input_name == "pixel_values":
        size = network.config.image_size
        high, wide = (size, size) if isinstance(size, int) else size
        return {"pixel_values": torch.randn(2, network.config.num_channels, high, wide, device=network.device)}
    ids = torch.arange(14, device=network.device).reshape(2, 7) % network.config.vocab_size
    return {"input_ids": ids}
