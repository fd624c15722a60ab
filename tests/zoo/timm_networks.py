"""Networks of timm: names, the size of their pictures, and settings that make them small."""

from __future__ import annotations

from functools import partial
from typing import Any

import timm
from torch import nn

from .entry import Entry, picture, shortened

SIZED: dict[str, Any] = {"img_size": 64}
FEW: dict[str, Any] = {"depth": 2, "embed_dim": 48, "num_heads": 3}
WHOLE = frozenset(
    (
        *("res2net50_14w_8s", "vovnet39a", "ese_vovnet19b_dw", "hgnet_tiny", "hgnetv2_b0", "edgenext_xx_small"),
        "efficientvit_m0",
    )
)
"""Networks whose blocks are alike and count on their number."""
# name: (family, size, settings)
NETWORKS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "resnet18": ("convolutions", 48, {}),
    "resnet26d": ("convolutions", 48, {}),
    "resnetv2_50": ("convolutions", 48, {"layers": (1, 1, 1, 1)}),
    "seresnext26d_32x4d": ("convolutions", 48, {}),
    "resnest14d": ("convolutions", 48, {}),
    "res2net50_14w_8s": ("convolutions", 48, {}),
    "skresnet18": ("convolutions", 48, {}),
    "densenet121": ("convolutions", 48, {"block_config": (2, 2, 2, 2)}),
    "dla34": ("convolutions", 64, {}),
    "dpn48b": ("convolutions", 48, {}),
    "nf_regnet_b0": ("convolutions", 48, {}),
    "cspresnet50": ("convolutions", 48, {}),
    "regnetx_002": ("convolutions", 48, {}),
    "regnety_002": ("convolutions", 48, {}),
    "regnetz_b16": ("convolutions", 48, {}),
    "efficientnet_lite0": ("convolutions", 48, {}),
    "tf_efficientnetv2_b0": ("convolutions", 48, {}),
    "mixnet_s": ("convolutions", 48, {}),
    "mobilenetv2_050": ("convolutions", 48, {}),
    "mobilenetv3_small_050": ("convolutions", 48, {}),
    "mobilenetv4_conv_small": ("convolutions", 48, {}),
    "mobilenetv4_hybrid_medium": ("convolutions and attention", 64, {}),
    "mnasnet_small": ("convolutions", 48, {}),
    "lcnet_050": ("convolutions", 48, {}),
    "tinynet_e": ("convolutions", 48, {}),
    "ghostnet_050": ("convolutions", 48, {}),
    "ghostnetv2_100": ("convolutions", 48, {}),
    "repghostnet_050": ("convolutions", 48, {}),
    "repvgg_a0": ("convolutions", 48, {}),
    "repvit_m0_9": ("convolutions", 48, {}),
    "rexnet_100": ("convolutions", 48, {}),
    "vovnet39a": ("convolutions", 48, {}),
    "ese_vovnet19b_dw": ("convolutions", 48, {}),
    "hrnet_w18_small": ("convolutions", 64, {}),
    "hgnet_tiny": ("convolutions", 48, {}),
    "hgnetv2_b0": ("convolutions", 48, {}),
    "xception41": ("convolutions", 48, {}),
    "inception_v3": ("convolutions", 96, {}),
    "nasnetalarge": ("convolutions", 48, {"num_features": 1056, "channel_multiplier": 2, "stem_size": 32}),
    "convnext_atto": ("convolutions", 48, {}),
    "convnextv2_atto": ("convolutions", 48, {}),
    "inception_next_atto": ("convolutions", 48, {}),
    "rdnet_tiny": ("convolutions", 48, {}),
    "starnet_s1": ("convolutions", 48, {}),
    "fasternet_t0": ("convolutions", 48, {}),
    "convmixer_768_32": ("convolutions", 48, {}),
    "mambaout_femto": ("convolutions", 48, {}),
    "poolformer_s12": ("convolutions", 48, {}),
    "caformer_s18": ("convolutions and attention", 64, {}),
    "edgenext_xx_small": ("convolutions and attention", 64, {}),
    "swiftformer_xs": ("convolutions and attention", 64, {}),
    "shvit_s1": ("convolutions and attention", 64, {}),
    "fastvit_t8": ("convolutions and attention", 64, {}),
    "mobileone_s0": ("convolutions", 48, {}),
    "mobilevit_xxs": ("convolutions and attention", 64, {}),
    "mobilevitv2_050": ("convolutions and attention", 64, {}),
    "efficientvit_b0": ("convolutions and attention", 64, {}),
    "efficientvit_m0": ("convolutions and attention", 64, SIZED),
    "efficientformer_l1": ("convolutions and attention", 224, {}),
    "efficientformerv2_s0": ("convolutions and attention", 64, {"img_size": 64}),
    "levit_128s": ("convolutions and attention", 64, SIZED),
    "tiny_vit_5m_224": ("convolutions and attention", 64, {}),
    "coat_lite_tiny": ("convolutions and attention", 64, SIZED),
    "coatnet_nano_rw_224": ("convolutions and attention", 64, SIZED),
    "maxvit_rmlp_pico_rw_256": ("windows", 64, SIZED),
    "maxxvitv2_nano_rw_256": ("windows", 64, SIZED),
    "nextvit_small": ("convolutions and attention", 64, {}),
    "visformer_tiny": ("convolutions and attention", 64, SIZED),
    "botnet26t_256": ("convolutions and attention", 64, SIZED),
    "lambda_resnet26t": ("convolutions and attention", 64, SIZED),
    "cs3darknet_s": ("convolutions", 48, {}),
    "vit_tiny_patch16_224": ("attention", 64, SIZED | {"depth": 3}),
    "vit_base_patch16_siglip_224": ("attention", 64, SIZED | FEW),
    "vit_base_patch16_clip_224": ("attention", 64, SIZED | FEW),
    "vit_small_patch14_reg4_dinov2": ("attention", 56, {"img_size": 56} | FEW),
    "vit_relpos_small_patch16_224": ("attention", 64, SIZED | FEW),
    "vit_base_r50_s16_224": ("convolutions and attention", 64, SIZED | FEW),
    "samvit_base_patch16": ("windows", 64, SIZED | FEW | {"global_attn_indexes": (1,), "window_size": 3}),
    "deit_tiny_distilled_patch16_224": ("attention", 64, SIZED | {"depth": 3}),
    "deit3_small_patch16_224": ("attention", 64, SIZED | FEW),
    "beit_base_patch16_224": ("attention", 64, SIZED | FEW),
    "beitv2_base_patch16_224": ("attention", 64, SIZED | FEW),
    "eva02_tiny_patch14_224": ("attention", 56, {"img_size": 56, "depth": 3}),
    "cait_xxs24_224": ("attention", 64, SIZED | {"depth": 3}),
    "convit_tiny": ("attention", 64, SIZED | {"depth": 12}),
    "xcit_nano_12_p16_224": ("attention", 64, SIZED | {"depth": 3}),
    "tnt_s_patch16_224": ("attention", 64, SIZED | {"depth": 3}),
    "pit_ti_224": ("attention", 64, SIZED),
    "pvt_v2_b0": ("attention", 64, {}),
    "twins_svt_small": ("windows", 64, SIZED),
    "twins_pcpvt_small": ("attention", 64, SIZED),
    "nest_tiny": ("windows", 64, SIZED),
    "volo_d1_224": ("attention", 64, SIZED),
    "davit_tiny": ("windows", 64, {"depths": (1, 1, 1, 1)}),
    "gcvit_xxtiny": ("windows", 64, SIZED),
    "mvitv2_tiny": ("attention", 64, SIZED),
    "hiera_tiny_224": ("windows", 64, SIZED),
    "swin_tiny_patch4_window7_224": ("windows", 64, SIZED | {"window_size": 4, "depths": (2, 2), "num_heads": (3, 6)}),
    "swinv2_tiny_window8_256": ("windows", 64, SIZED | {"window_size": 4, "depths": (2, 2), "num_heads": (3, 6)}),
    "swinv2_cr_tiny_224": ("windows", 64, SIZED | {"window_size": 4, "depths": (2, 2), "num_heads": (3, 6)}),
    "sequencer2d_s": ("recurrent", 64, {"layers": (1, 1, 1, 1)}),
    "mixer_s16_224": ("mixing of tokens", 64, SIZED),
    "resmlp_12_224": ("mixing of tokens", 64, SIZED),
    "gmlp_ti16_224": ("mixing of tokens", 64, SIZED),
    "efficientvim_m1": ("state spaces", 64, {}),
    "naflexvit_base_patch16_gap": ("attention", 64, SIZED | FEW),
    "vitamin_small_224": ("convolutions and attention", 64, SIZED),
    "csatv2": ("convolutions and attention", 64, {}),
    "iformer_t": ("convolutions and attention", 64, {}),
    "lowformer_b0": ("convolutions and attention", 64, {}),
    "sam2_hiera_tiny": ("windows", 64, {}),
}


def _built(name: str, settings: dict[str, Any]) -> nn.Module:
    network = timm.create_model(name, pretrained=False, num_classes=0, **settings)
    return network if name in WHOLE else shortened(network)


def entries() -> list[Entry]:
    """All of them."""
    return [
        Entry(f"timm/{name}", family, partial(_built, name, settings), picture(size))
        for name, (family, size, settings) in NETWORKS.items()
    ]
