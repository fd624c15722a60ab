"""Networks of transformers for images or sound, with text or without."""

from __future__ import annotations

from typing import Any

import torch

from .entry import Inputs, both, numbers, picture, text, words
from .transformers_text import D_MODEL, HEAD, SMALL, Table

PIXELS = picture(32, name="pixel_values")
SEEN: dict[str, Any] = SMALL | {"image_size": 32, "patch_size": 8, "num_channels": 3}
STAGES: dict[str, Any] = {
    "image_size": 32,
    "hidden_sizes": [16, 24],
    "embed_dims": [16, 24],
    "depths": [1, 1],
    "num_heads": [2, 4],
    "num_attention_heads": [2, 4],
    "embed_dim": 16,
    "window_size": 2,
    "patch_size": 4,
    "num_stages": 2,
    "embedding_size": 16,
    "downsample_in_first_stage": False,
    "layer_type": "basic",
    "groups_width": 4,
    "num_encoder_blocks": 2,
    "sr_ratios": [2, 1],
    "patch_sizes": [4, 2],
    "strides": [4, 2],
    "mlp_ratios": [2, 2],
    "decoder_hidden_size": 16,
    "num_groups": 4,
}
HEARD: dict[str, Any] = SMALL | {
    "conv_dim": (16, 16),
    "conv_stride": (4, 2),
    "conv_kernel": (8, 3),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "mask_time_prob": 0.0,
    "apply_spec_augment": False,
    "squeeze_factor": 2,
    "num_buckets": 8,
    "max_bucket_distance": 16,
}
SOUND = numbers(200, name="input_values")
TEXT_PART: dict[str, Any] = SMALL | {"projection_dim": 16}
CLIP: dict[str, Any] = {"text_config": TEXT_PART, "vision_config": SEEN | {"projection_dim": 16}, "projection_dim": 16}
BESIDE = both(text(), PIXELS)
"""As many texts as pictures."""


def shown(places: int, token: int = 60) -> Inputs:
    """A picture in each text, in the place of so many tokens."""

    def made(rows: int, dice: torch.Generator) -> dict[str, Any]:
        tokens = torch.cat([torch.full((rows, places), token), words(rows, dice, 6)], 1)
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "use_cache": False}

    return both(made, PIXELS)


def spoken(rows: int, dice: torch.Generator) -> dict[str, Any]:
    """A spectrogram, and what was written of it."""
    heard = torch.randn(rows, 16, 40, generator=dice)
    return {"input_features": heard, "decoder_input_ids": words(rows, dice, 5), "use_cache": False}


def series(rows: int, dice: torch.Generator) -> dict[str, Any]:
    """What was measured, and when."""
    past, future = torch.randn(rows, 14, generator=dice), 4
    return {
        "past_values": past,
        "past_time_features": torch.randn(rows, 14, 2, generator=dice),
        "past_observed_mask": torch.ones(rows, 14),
        "future_values": torch.randn(rows, future, generator=dice),
        "future_time_features": torch.randn(rows, future, 2, generator=dice),
        "use_cache": False,
    }


def deeds(rows: int, dice: torch.Generator) -> dict[str, Any]:
    """States, actions and rewards."""
    return {
        "states": torch.randn(rows, 5, 6, generator=dice),
        "actions": torch.randn(rows, 5, 2, generator=dice),
        "rewards": torch.randn(rows, 5, 1, generator=dice),
        "returns_to_go": torch.randn(rows, 5, 1, generator=dice),
        "timesteps": torch.arange(5).repeat(rows, 1),
    }


SERIES: dict[str, Any] = D_MODEL | {
    "prediction_length": 4,
    "context_length": 10,
    "num_time_features": 2,
    "lags_sequence": [1, 2, 4],
    "label_length": 4,
    "moving_average": 3,
    "sampling_factor": 2,
}
DETR: dict[str, Any] = D_MODEL | {
    "use_timm_backbone": False,
    "backbone": None,
    "use_pretrained_backbone": False,
    "backbone_config": {"model_type": "resnet", **STAGES, "out_features": ["stage1", "stage2"]},
    "num_queries": 5,
    "num_labels": 4,
}

TABLE: Table = {
    # Pictures.
    "ViTModel": ("vision", SEEN, PIXELS),
    "ViTForImageClassification": ("vision", SEEN, PIXELS),
    "DeiTModel": ("vision", SEEN, PIXELS),
    "BeitModel": ("vision", SEEN | {"use_relative_position_bias": True, "layer_scale_init_value": 0.5}, PIXELS),
    "Data2VecVisionModel": ("vision", SEEN | {"use_relative_position_bias": True}, PIXELS),
    "Dinov2Model": ("vision", SEEN, PIXELS),
    "Dinov2WithRegistersModel": ("vision", SEEN, PIXELS),
    "DINOv3ViTModel": ("vision", SEEN, PIXELS),
    "IJepaModel": ("vision", SEEN, PIXELS),
    "ViTMSNModel": ("vision", SEEN, PIXELS),
    "ViTMAEModel": ("vision", SEEN | {"mask_ratio": 0.5},
                    both(PIXELS, lambda rows, dice: {"noise": torch.rand(rows, 16, generator=dice)})),
    "YolosModel": ("detection", SEEN | {"image_size": [32, 32], "num_detection_tokens": 4}, PIXELS),
    "YolosForObjectDetection": (
        "detection", SEEN | {"image_size": [32, 32], "num_detection_tokens": 5, "num_labels": 4}, PIXELS,
    ),
    "ResNetModel": ("vision", STAGES, PIXELS),
    "RegNetModel": ("vision", {**STAGES, "layer_type": "y"}, PIXELS),
    "BitModel": ("vision", STAGES | {"layer_type": "preactivation"}, PIXELS),
    "ConvNextModel": ("vision", STAGES, PIXELS),
    "ConvNextV2Model": ("vision", STAGES, PIXELS),
    "SwinModel": ("vision", STAGES | {"num_heads": [2, 4]}, PIXELS),
    "Swinv2Model": ("vision", STAGES, PIXELS),
    "Swin2SRModel": ("vision", STAGES | {"patch_size": 1, "upscale": 2, "image_size": 8}, PIXELS),
    "FocalNetModel": ("vision", STAGES | {"focal_levels": [2, 2], "focal_windows": [3, 3]}, PIXELS),
    "HieraModel": (
        "vision",
        {"embed_dim": 16, "image_size": [32, 32], "patch_size": [4, 4], "patch_stride": [4, 4], "depths": [1, 1],
         "patch_padding": [0, 0], "num_heads": [1, 2], "embed_dim_multiplier": 2.0, "num_query_pool": 1,
         "query_stride": [2, 2], "masked_unit_size": [4, 4], "masked_unit_attention": [True, False]},
        PIXELS,
    ),
    "MobileNetV1Model": ("vision", {"image_size": 32, "depth_multiplier": 0.25, "min_depth": 8}, PIXELS),
    "MobileNetV2Model": ("vision", {"image_size": 32, "depth_multiplier": 0.25}, PIXELS),
    "MobileViTModel": (
        "vision",
        {"image_size": 64, "hidden_sizes": [16, 20, 24], "neck_hidden_sizes": [8, 8, 16, 16, 24, 24, 32],
         "num_attention_heads": 4, "patch_size": 2},
        picture(64, name="pixel_values"),
    ),
    "MobileViTV2Model": ("vision", {"image_size": 64, "width_multiplier": 0.25}, picture(64, name="pixel_values")),
    "EfficientNetModel": (
        "vision", {"image_size": 32, "width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320}, PIXELS,
    ),
    "LevitModel": (
        "vision",
        {"image_size": 64, "hidden_sizes": [32, 48, 64], "num_attention_heads": [2, 2, 2], "depths": [1, 1, 1],
         "key_dim": [8, 8, 8], "attention_ratio": [2, 2, 2], "mlp_ratio": [2, 2, 2]},
        picture(64, name="pixel_values"),
    ),
    "PoolFormerModel": (
        "vision",
        {"hidden_sizes": [16, 24], "depths": [1, 1], "patch_sizes": [4, 3], "strides": [4, 2], "padding": [1, 1],
         "num_encoder_blocks": 2, "mlp_ratio": 2.0},
        PIXELS,
    ),
    "SegformerModel": ("segmentation", STAGES | {"num_attention_heads": [2, 4], "mlp_ratios": [2, 2]}, PIXELS),
    "SegformerForSemanticSegmentation": ("segmentation", STAGES | {"num_labels": 4}, PIXELS),
    "GLPNModel": ("depth", STAGES, PIXELS),
    "PvtModel": (
        "vision",
        {"image_size": 32, "num_encoder_blocks": 2, "depths": [1, 1], "sequence_reduction_ratios": [2, 1],
         "hidden_sizes": [16, 24], "patch_sizes": [4, 2], "strides": [4, 2], "num_attention_heads": [2, 4],
         "mlp_ratios": [2, 2]},
        PIXELS,
    ),
    "PvtV2Model": ("vision", {"image_size": 64, "hidden_sizes": [16, 24, 32, 32], "depths": [1, 1, 1, 1],
                              "num_attention_heads": [1, 2, 2, 4]}, picture(64, name="pixel_values")),
    "SwiftFormerModel": (
        "vision", {"image_size": 64, "depths": [1, 1, 1, 1], "embed_dims": [16, 24, 32, 48]},
        picture(64, name="pixel_values"),
    ),
    "DPTForDepthEstimation": (
        "depth",
        SEEN | {"num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3], "is_hybrid": False,
                "neck_hidden_sizes": [16, 16, 16, 16], "fusion_hidden_size": 16},
        PIXELS,
    ),
    "SuperPointForKeypointDetection": (
        "keypoints", {"encoder_hidden_sizes": [8, 8, 16, 16], "decoder_hidden_size": 16, "keypoint_decoder_dim": 65,
                      "descriptor_decoder_dim": 16, "max_keypoints": 5, "keypoint_threshold": 0.0}, PIXELS,
    ),
    "DetrModel": ("detection", DETR, PIXELS),
    "DetrForObjectDetection": ("detection", DETR, PIXELS),
    "ConditionalDetrModel": ("detection", DETR, PIXELS),
    "DeformableDetrModel": ("detection", DETR | {"num_feature_levels": 2}, PIXELS),
    "SamVisionModel": (
        "segmentation",
        {"hidden_size": 32, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32,
         "patch_size": 4, "window_size": 3, "global_attn_indexes": [1], "mlp_dim": 48, "num_pos_feats": 8},
        PIXELS,
    ),
    "VitDetModel": ("detection", SEEN | {"window_block_indices": [0], "window_size": 2, "pretrain_image_size": 32,
                                         "use_relative_position_embeddings": True}, PIXELS),
    # Films.
    "VideoMAEModel": ("film", SEEN | {"num_frames": 4}, numbers(4, 3, 32, 32, name="pixel_values")),
    "TimesformerModel": ("film", SEEN | {"num_frames": 3}, numbers(3, 3, 32, 32, name="pixel_values")),
    "VivitModel": ("film", SEEN | {"num_frames": 4, "tubelet_size": [2, 8, 8]},
                   numbers(4, 3, 32, 32, name="pixel_values")),
    # Sound.
    "Wav2Vec2Model": ("speech", HEARD, SOUND),
    "Wav2Vec2ForCTC": ("speech", HEARD, SOUND),
    "HubertModel": ("speech", HEARD, SOUND),
    "WavLMModel": ("speech", HEARD, SOUND),
    "SEWModel": ("speech", HEARD, SOUND),
    "SEWDModel": ("speech", HEARD, SOUND),
    "UniSpeechModel": ("speech", HEARD, SOUND),
    "UniSpeechSatModel": ("speech", HEARD, SOUND),
    "Data2VecAudioModel": ("speech", HEARD | {"conv_pos_kernel_size": 3}, SOUND),
    "Wav2Vec2ConformerModel": ("speech", HEARD | {"conv_depthwise_kernel_size": 3}, SOUND),
    "Wav2Vec2BertModel": (
        "speech", SMALL | {"feature_projection_input_dim": 16, "conv_depthwise_kernel_size": 3, "add_adapter": False},
        numbers(12, 16, name="input_features"),
    ),
    "ASTModel": (
        "speech", SMALL | {"patch_size": 4, "max_length": 16, "num_mel_bins": 8, "frequency_stride": 4,
                           "time_stride": 4},
        numbers(16, 8, name="input_values"),
    ),
    "WhisperModel": (
        "speech", D_MODEL | {"num_mel_bins": 16, "max_source_positions": 20, "max_target_positions": 20}, spoken,
    ),
    "Speech2TextModel": (
        "speech",
        D_MODEL | {"input_feat_per_channel": 16, "input_channels": 1, "conv_channels": 16, "num_conv_layers": 2,
                   "conv_kernel_sizes": (3, 3), "max_source_positions": 64, "max_target_positions": 20},
        lambda rows, dice: {
            "input_features": torch.randn(rows, 24, 16, generator=dice),
            "decoder_input_ids": words(rows, dice, 5),
            "use_cache": False,
        },
    ),
    "MoonshineModel": (
        "speech",
        SMALL | {"encoder_num_hidden_layers": 1, "decoder_num_hidden_layers": 1, "encoder_num_attention_heads": 4,
                 "decoder_num_attention_heads": 4, "encoder_num_key_value_heads": 4, "decoder_num_key_value_heads": 4},
        lambda rows, dice: {
            "input_values": torch.randn(rows, 2000, generator=dice),
            "decoder_input_ids": words(rows, dice, 5),
            "use_cache": False,
        },
    ),
    "EncodecModel": ("sound", {"num_filters": 4, "hidden_size": 16, "codebook_size": 16, "codebook_dim": 16,
                               "upsampling_ratios": [4, 2], "num_lstm_layers": 1, "compress": 1,
                               "target_bandwidths": [24.0]},
                     numbers(1, 320, name="input_values")),
    "ClapModel": (
        "sound and text",
        {"text_config": TEXT_PART | {"type_vocab_size": 1, "pad_token_id": 1},
         "audio_config": {"window_size": 4, "num_mel_bins": 16, "spec_size": 64, "patch_size": 4,
                          "patch_stride": [4, 4], "depths": [1, 1], "num_attention_heads": [2, 2],
                          "patch_embeds_hidden_size": 16, "hidden_size": 32, "projection_dim": 16},
         "projection_dim": 16},
        both(text(), numbers(1, 64, 16, name="input_features")),
    ),
    # Pictures and text.
    "CLIPModel": ("vision and language", CLIP, BESIDE),
    "CLIPVisionModel": ("vision", SEEN, PIXELS),
    "SiglipModel": ("vision and language", CLIP, BESIDE),
    "AltCLIPModel": ("vision and language", CLIP | {"text_config": TEXT_PART | {"project_dim": 16}}, BESIDE),
    "ChineseCLIPModel": ("vision and language", CLIP, BESIDE),
    "CLIPSegModel": ("vision and language", CLIP, BESIDE),
    "GroupViTModel": (
        "vision and language",
        {"text_config": TEXT_PART, "projection_dim": 16, "projection_intermediate_dim": 24,
         "vision_config": SEEN | {"depths": [1, 1], "num_group_tokens": [4, 0], "num_output_groups": [4, 4]}},
        BESIDE,
    ),
    "OwlViTModel": ("vision and language", CLIP, BESIDE),
    "BlipModel": ("vision and language", CLIP | {"text_config": TEXT_PART | {"encoder_hidden_size": 32}}, BESIDE),
    "ViltModel": ("vision and language", SEEN | {"max_image_length": 16}, BESIDE),
    "FlavaModel": (
        "vision and language",
        {"image_config": SEEN, "text_config": SMALL, "multimodal_config": SMALL, "hidden_size": 32,
         "projection_dim": 16, "image_codebook_config": {"hidden_size": 16, "vocab_size": 32}},
        BESIDE,
    ),
    "GitModel": ("vision and language", SMALL | {"vision_config": SEEN}, both(text(use_cache=False), PIXELS)),
    "VisualBertModel": ("vision and language", SMALL | {"visual_embedding_dim": 12},
                        both(text(), numbers(3, 12, name="visual_embeds"))),
    "LxmertModel": (
        "vision and language",
        SMALL | {"l_layers": 1, "x_layers": 1, "r_layers": 1, "visual_feat_dim": 12, "visual_pos_dim": 4},
        both(text(), numbers(3, 12, name="visual_feats"), numbers(3, 4, name="visual_pos")),
    ),
    "LlavaModel": (
        "vision and language",
        {"vision_config": SEEN | {"model_type": "clip_vision_model"}, "text_config": SMALL | {"model_type": "llama"},
         "image_token_id": 60, "vision_feature_layer": -1, "image_seq_length": 16},
        shown(16),
    ),
    "PaliGemmaModel": (
        "vision and language",
        {"vision_config": SEEN | {"model_type": "siglip_vision_model"}, "projection_dim": 32, "hidden_size": 32,
         "text_config": HEAD | {"model_type": "gemma"}, "image_token_id": 60},
        shown(16),
    ),
    "Idefics3Model": (
        "vision and language",
        {"vision_config": SEEN, "text_config": SMALL | {"model_type": "llama"}, "scale_factor": 2,
         "image_token_id": 60},
        both(shown(4), numbers(1, 3, 32, 32, name="pixel_values")),
    ),
    # Series and deeds.
    "TimeSeriesTransformerModel": ("series", SERIES, series),
    "AutoformerModel": ("series", SERIES, series),
    "InformerModel": ("series", SERIES, series),
    "PatchTSTModel": (
        "series", D_MODEL | {"context_length": 16, "patch_length": 4, "patch_stride": 4, "num_input_channels": 2,
                             "num_attention_heads": 4, "num_hidden_layers": 2},
        numbers(16, 2, name="past_values"),
    ),
    "PatchTSMixerModel": (
        "series", {"context_length": 16, "patch_length": 4, "patch_stride": 4, "num_input_channels": 2, "d_model": 16,
                   "num_layers": 2},
        numbers(16, 2, name="past_values"),
    ),
    "DecisionTransformerModel": (
        "deeds", {"state_dim": 6, "act_dim": 2, "hidden_size": 32, "n_layer": 2, "n_head": 4, "n_positions": 64,
                  "max_ep_len": 16},
        deeds,
    ),
}  # fmt: skip
