"""A Mask R-CNN small enough for a CPU, built here without a download."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.resnet import BasicBlock
from torchvision.ops import FrozenBatchNorm2d

from ...backbones import fill, read_state
from ...factors import check_whole

NormLayer = Callable[[int], nn.Module]


def detector(
    classes: int, *, weights: Path | str | None = None, width: int = 64, size: int = 128, frozen_norm: bool = False
) -> MaskRCNN:
    """Mask R-CNN on a ResNet-18 with a feature pyramid (strides 4, 8, 16, 32, 64), torchvision's own parts.

    Args:
        classes: the number of objects' classes, ≥ 1, without the background, class 0 of targets and detections.
        weights: a file, `.safetensors` or from `torch.save(state_dict)`: a whole such detector, or torchvision's
            ResNet-18 (for `width=64`; its classifier is left out). None: random.
        width: the channels of the ResNet's first stage, ≥ 8; the pyramid has 2 × width. 64: the usual ResNet-18.
        size: images are scaled to this shorter side, in pixels (the longer at most 5/3 of it), ≥ 32; anchors have
            sides of size/16, size/8, …, size.
        frozen_norm: torchvision's FrozenBatchNorm2d, for pretrained weights, instead of BatchNorm2d, which a task can
            have for itself.

    Raises:
        ValueError: a number is out of its range.
        BackboneError: the file does not hold such weights.

    Example:
        >>> import torch
        >>> made = detector(3, width=8, size=64).eval()
        >>> sorted(made([torch.rand(3, 48, 64)])[0])
        ['boxes', 'labels', 'masks', 'scores']
    """
    for name, value, least in (("classes", classes, 1), ("width", width, 8), ("size", size, 32)):
        check_whole(name, value, least)
    channels, hidden = 2 * width, 8 * width
    body = _resnet18(width, FrozenBatchNorm2d if frozen_norm else nn.BatchNorm2d)
    stages = {f"layer{number}": str(number - 1) for number in range(1, 5)}
    pyramid = BackboneWithFPN(body, stages, [width << number for number in range(4)], channels)
    made = MaskRCNN(
        pyramid,
        min_size=size,
        max_size=size * 5 // 3,
        rpn_anchor_generator=AnchorGenerator(
            tuple((size // 16 << number,) for number in range(5)), ((0.5, 1.0, 2.0),) * 5
        ),
        rpn_pre_nms_top_n_train=500,
        rpn_pre_nms_top_n_test=300,
        rpn_post_nms_top_n_train=300,
        rpn_post_nms_top_n_test=100,
        box_head=TwoMLPHead(channels * 7**2, hidden),
        box_predictor=FastRCNNPredictor(hidden, classes + 1),
        box_batch_size_per_image=64,
        mask_head=MaskRCNNHeads(channels, (channels,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(channels, channels, classes + 1),
    )
    if weights is not None:
        _load(made, pyramid.body, Path(weights).expanduser(), frozen_norm)
    return made


def _resnet18(width: int, norm: NormLayer) -> nn.Sequential:
    """The stages of torchvision's ResNet-18, under its names, with `width` for 64 channels."""

    def stage(inp: int, out: int, stride: int) -> nn.Sequential:
        down = None
        if stride > 1:
            down = nn.Sequential(nn.Conv2d(inp, out, 1, stride, bias=False), norm(out))
        return nn.Sequential(BasicBlock(inp, out, stride, down, norm_layer=norm), BasicBlock(out, out, norm_layer=norm))

    parts: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(3, width, 7, 2, 3, bias=False),
        bn1=norm(width),
        relu=nn.ReLU(inplace=True),
        maxpool=nn.MaxPool2d(3, 2, 1),
        layer1=stage(width, width, 1),
    )
    for number in range(1, 4):
        parts[f"layer{number + 1}"] = stage(width << number - 1, width << number, 2)
    body = nn.Sequential(parts)
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return body


def _load(made: nn.Module, body: nn.Module, path: Path, frozen_norm: bool) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"weights: no file {path}")
    state: dict[str, Tensor] = read_state(path)
    if frozen_norm:  # FrozenBatchNorm2d has no counter of batches
        state = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    whole = any(name.startswith("backbone.") for name in state)
    if not whole:
        state = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    fill(made if whole else body, state, str(path))
