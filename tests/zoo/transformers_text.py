"""Networks of transformers that read or write text."""

from __future__ import annotations

from typing import Any

import torch

from .entry import Inputs, both, text, words

Table = dict[str, tuple[str, dict[str, Any], Inputs]]
SMALL: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""Settings under their usual names; a network that has others ignores these."""
HEAD = SMALL | {"head_dim": 8}
EXPERTS: dict[str, Any] = {
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_k": 2,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 24,
    "experts_implementation": "eager",
}
GPT: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_inner": 48}
D_MODEL: dict[str, Any] = {
    "vocab_size": 64,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "num_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "ffn_dim": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 0,
    "forced_eos_token_id": None,
}
T5: dict[str, Any] = {
    "vocab_size": 64,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
}
STATE: dict[str, Any] = {
    "state_size": 8,
    "time_step_rank": 4,
    "conv_kernel": 4,
    "mamba_d_state": 8,
    "mamba_d_ssm": 64,
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_dt_rank": 4,
    "mamba_num_heads": 8,
    "n_mamba_heads": 2,
    "mamba_headdim": 8,
    "head_dim": 8,
    "num_heads": 8,
    "n_groups": 1,
    "chunk_size": 4,
    "mamba_chunk_size": 4,
    "use_mamba_kernels": False,
}
READ, WRITE = text(), text(use_cache=False)
BARE: Inputs = lambda rows, dice: {"input_ids": words(rows, dice)}  # noqa: E731
BARE_WRITE = both(BARE, use_cache=False)


def translated(rows: int, dice: torch.Generator) -> dict[str, Any]:
    """A text, and what was written of its translation."""
    return WRITE(rows, dice) | {"decoder_input_ids": words(rows, dice, 7)}


TABLE: Table = {
    # Encoders.
    "BertModel": ("text", SMALL, READ),
    "BertForTokenClassification": ("text", SMALL, READ),
    "RobertaModel": ("text", SMALL, READ),
    "RobertaPreLayerNormModel": ("text", SMALL, READ),
    "XLMRobertaXLModel": ("text", SMALL, READ),
    "XmodModel": ("text", SMALL | {"languages": ("en_XX",), "default_language": "en_XX"}, READ),
    "DistilBertModel": ("text", {"vocab_size": 64, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}, READ),
    "AlbertModel": ("text", SMALL | {"embedding_size": 16}, READ),
    "ElectraModel": ("text", SMALL | {"embedding_size": 16}, READ),
    "DebertaModel": ("text", SMALL | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}, READ),
    "DebertaV2Model": ("text", SMALL | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}, READ),
    "MPNetModel": ("text", SMALL, READ),
    "MobileBertModel": (
        "text",
        SMALL | {"embedding_size": 32, "intra_bottleneck_size": 16, "num_feedforward_networks": 2},
        READ,
    ),
    "SqueezeBertModel": ("text", SMALL | {"embedding_size": 32}, READ),
    "ConvBertModel": ("text", SMALL | {"embedding_size": 32}, READ),
    "FNetModel": ("text", SMALL | {"tpu_short_seq_length": 9}, BARE),
    "RoFormerModel": ("text", SMALL | {"embedding_size": 32}, READ),
    "NystromformerModel": ("text", SMALL | {"segment_means_seq_len": 9, "num_landmarks": 3}, BARE),
    "YosoModel": ("text", SMALL, READ),
    "BigBirdModel": ("text", SMALL | {"attention_type": "original_full"}, READ),
    "LongformerModel": ("text", SMALL | {"attention_window": 4}, READ),
    "FunnelModel": (
        "text",
        {"vocab_size": 64, "block_sizes": [1, 1], "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 48,
         "num_decoder_layers": 1},
        READ,
    ),
    "XLNetModel": ("text", {"vocab_size": 64, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48},
                   both(READ, use_mems=False)),
    "XLMModel": ("text", {"n_words": 64, "vocab_size": 64, "emb_dim": 32, "n_layers": 2, "n_heads": 4}, READ),
    "FlaubertModel": ("text", {"n_words": 64, "vocab_size": 64, "emb_dim": 32, "n_layers": 2, "n_heads": 4}, READ),
    "ModernBertModel": ("text", SMALL | {"cls_token_id": 1, "sep_token_id": 2}, READ),
    "NomicBertModel": ("text", SMALL, READ),
    "EuroBertModel": ("text", SMALL, READ),
    "EsmModel": ("proteins", SMALL | {"mask_token_id": 3, "position_embedding_type": "rotary"}, READ),
    "CanineModel": (
        "text", SMALL | {"num_hash_buckets": 64, "downsampling_rate": 4, "local_transformer_stride": 8}, text(16),
    ),
    "ReformerModel": (
        "text",
        SMALL | {"attn_layers": ["local", "lsh"], "axial_pos_shape": [4, 4], "axial_pos_embds_dim": [16, 16],
                 "attention_head_size": 8, "feed_forward_size": 48, "num_buckets": 2, "lsh_attn_chunk_length": 4,
                 "local_attn_chunk_length": 4, "is_decoder": False, "hash_seed": 0},
        text(16),
    ),
    "RemBertModel": ("text", SMALL | {"input_embedding_size": 16, "output_embedding_size": 16}, READ),
    "MegatronBertModel": ("text", SMALL, READ),
    "LukeModel": ("text", SMALL | {"entity_vocab_size": 8, "entity_emb_size": 16, "use_entity_aware_attention": False},
                  READ),
    "IBertModel": ("text", SMALL | {"quant_mode": False}, READ),
    "PerceiverModel": (
        "any", {"num_latents": 6, "d_latents": 32, "d_model": 24, "num_blocks": 1, "num_self_attends_per_block": 2,
                "num_self_attention_heads": 4, "num_cross_attention_heads": 4, "qk_channels": 32, "v_channels": 32},
        lambda rows, dice: {"inputs": torch.randn(rows, 7, 24, generator=dice)},
    ),
    "LayoutLMModel": ("documents", SMALL, READ),
    # Decoders.
    "GPT2Model": ("language model", SMALL | GPT, WRITE),
    "GPT2LMHeadModel": ("language model", SMALL | GPT, WRITE),
    "OpenAIGPTModel": ("language model", SMALL | GPT, READ),
    "GPTNeoModel": (
        "language model",
        SMALL | {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 4},
        WRITE,
    ),
    "GPTNeoXModel": ("language model", SMALL, WRITE),
    "GPTJModel": ("language model", SMALL | GPT | {"rotary_dim": 4}, WRITE),
    "GPTBigCodeModel": ("language model", SMALL | GPT, WRITE),
    "CodeGenModel": ("language model", SMALL | GPT | {"rotary_dim": 4, "n_ctx": 64}, WRITE),
    "CTRLModel": ("language model", SMALL | {"n_embd": 32, "n_layer": 2, "n_head": 4, "dff": 48, "n_positions": 64},
                  WRITE),
    "OPTForCausalLM": ("language model", SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 32}, WRITE),
    "BloomModel": ("language model", SMALL | {"n_layer": 2, "n_head": 4}, WRITE),
    "XGLMModel": ("language model", D_MODEL, WRITE),
    "BioGptModel": ("language model", SMALL, WRITE),
    "LlamaForCausalLM": ("language model", SMALL, WRITE),
    "LlamaForSequenceClassification": ("language model", SMALL | {"num_labels": 5}, WRITE),
    "MistralModel": ("language model", HEAD | {"sliding_window": 4}, WRITE),
    "Qwen2Model": ("language model", SMALL, WRITE),
    "Qwen3ForCausalLM": ("language model", HEAD, WRITE),
    "GemmaModel": ("language model", HEAD, WRITE),
    "Gemma2Model": ("language model", HEAD | {"sliding_window": 4}, WRITE),
    "Gemma3TextModel": ("language model", HEAD | {"sliding_window": 4}, WRITE),
    "PhiModel": ("language model", SMALL, WRITE),
    "Phi3Model": ("language model", SMALL, WRITE),
    "FalconModel": ("language model", SMALL, WRITE),
    "MptModel": ("language model", {"vocab_size": 64, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64},
                 WRITE),
    "StableLmModel": ("language model", SMALL, WRITE),
    "OlmoModel": ("language model", SMALL, WRITE),
    "Olmo2Model": ("language model", SMALL, WRITE),
    "CohereModel": ("language model", SMALL, WRITE),
    "Starcoder2Model": ("language model", SMALL, WRITE),
    "GraniteModel": ("language model", SMALL, WRITE),
    "NemotronModel": ("language model", SMALL, WRITE),
    "HeliumModel": ("language model", HEAD, WRITE),
    "GlmModel": ("language model", HEAD, WRITE),
    "SmolLM3Model": ("language model", SMALL, WRITE),
    "PersimmonModel": ("language model", SMALL, WRITE),
    "DiffLlamaModel": ("language model", SMALL, WRITE),
    # Mixtures of experts.
    "MixtralModel": ("mixture of experts", SMALL | EXPERTS, WRITE),
    "Qwen2MoeModel": ("mixture of experts", SMALL | EXPERTS, WRITE),
    "Qwen3MoeForCausalLM": ("mixture of experts", HEAD | EXPERTS, WRITE),
    "OlmoeModel": ("mixture of experts", SMALL | EXPERTS, WRITE),
    "PhimoeModel": ("mixture of experts", SMALL | EXPERTS, WRITE),
    "GraniteMoeModel": ("mixture of experts", SMALL | EXPERTS, WRITE),
    "JetMoeModel": ("mixture of experts", SMALL | EXPERTS | {"kv_channels": 8}, WRITE),
    "GptOssModel": ("mixture of experts", HEAD | EXPERTS | {"sliding_window": 4}, WRITE),
    "DeepseekV3Model": (
        "mixture of experts",
        SMALL | EXPERTS | {"q_lora_rank": 16, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4,
                           "v_head_dim": 8, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1,
                           "num_key_value_heads": 4, "head_dim": 4},
        WRITE,
    ),
    "SwitchTransformersModel": (
        "mixture of experts",
        T5 | {"num_experts": 2, "expert_capacity": 64, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1,
              "router_jitter_noise": 0.0},
        translated,
    ),
    "NllbMoeModel": (
        "mixture of experts",
        D_MODEL | {"num_experts": 2, "encoder_sparse_step": 2, "decoder_sparse_step": 2, "expert_capacity": 64,
                   "router_jitter_noise": 0.0},
        translated,
    ),
    # State spaces and other recurrent networks.
    "MambaModel": ("state spaces", SMALL | STATE, BARE_WRITE),
    "MambaForCausalLM": ("state spaces", SMALL | STATE, BARE),
    "Mamba2Model": ("state spaces", SMALL | STATE | {"expand": 2}, BARE_WRITE),
    "FalconMambaModel": ("state spaces", SMALL | STATE, BARE),
    "JambaModel": (
        "state spaces",
        SMALL | STATE | EXPERTS | {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2,
                                   "expert_layer_offset": 1},
        WRITE,
    ),
    "BambaModel": ("state spaces", SMALL | STATE | {"attn_layer_indices": [1]}, WRITE),
    "FalconH1Model": ("state spaces", SMALL | STATE, WRITE),
    "Zamba2Model": (
        "state spaces",
        SMALL | STATE | {"mamba_ngroups": 1, "attention_head_dim": 16, "layers_block_type": ["mamba", "hybrid"],
                         "num_mem_blocks": 1, "num_key_value_heads": 4, "n_mamba_heads": 8},
        WRITE,
    ),
    "RecurrentGemmaModel": (
        "recurrent", HEAD | {"lru_width": 32, "attention_window_size": 8,
                             "block_types": ["recurrent", "attention"]}, WRITE,
    ),
    "RwkvModel": ("recurrent", SMALL | {"attention_hidden_size": 32, "context_length": 32}, BARE_WRITE),
    "xLSTMModel": (
        "recurrent",
        SMALL | {"num_heads": 4, "num_blocks": 2, "chunkwise_kernel": "chunkwise--native_autograd",
                 "sequence_kernel": "native_sequence__native", "step_kernel": "native"},
        BARE_WRITE,
    ),
    "Lfm2Model": ("recurrent", SMALL | {"layer_types": ["conv", "full_attention"], "block_multiple_of": 8}, WRITE),
    "Qwen3NextModel": (
        "recurrent",
        HEAD | EXPERTS | {"layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2,
                          "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8},
        WRITE,
    ),
    # Encoders with decoders.
    "T5Model": ("translation", T5, translated),
    "T5ForConditionalGeneration": ("translation", T5, translated),
    "UMT5Model": ("translation", T5, translated),
    "LongT5Model": ("translation", T5 | {"local_radius": 4, "global_block_size": 4}, translated),
    "BartModel": ("translation", D_MODEL, translated),
    "MBartModel": ("translation", D_MODEL, translated),
    "MarianModel": ("translation", D_MODEL, translated),
    "PegasusModel": ("translation", D_MODEL, translated),
    "PegasusXModel": ("translation", D_MODEL | {"block_size": 4, "num_global_tokens": 2}, translated),
    "BlenderbotModel": ("translation", D_MODEL, translated),
    "M2M100Model": ("translation", D_MODEL, translated),
    "LEDModel": (
        "translation",
        D_MODEL | {"attention_window": 4, "max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 64},
        translated,
    ),
    "ProphetNetModel": (
        "translation",
        {key: value for key, value in SMALL.items() if key != "num_hidden_layers"}
        | {"num_encoder_layers": 2, "num_decoder_layers": 2, "num_encoder_attention_heads": 4,
                 "num_decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48},
        translated,
    ),
    "FSMTModel": ("translation", D_MODEL | {"langs": ["en", "de"], "src_vocab_size": 64, "tgt_vocab_size": 64},
                  translated),
}  # fmt: skip
