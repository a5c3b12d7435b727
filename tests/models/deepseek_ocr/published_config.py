"""config.json of the published checkpoints, in the layout that DeepSeek-OCR and Unlimited-OCR share.

Values: those of deepseek-ai/DeepSeek-OCR and baidu/Unlimited-OCR, as public logs and other projects' tests print them.
"""

from typing import Any

DECODER = {
    "vocab_size": 129280,
    "hidden_size": 1280,
    "intermediate_size": 6848,
    "moe_intermediate_size": 896,
    "num_hidden_layers": 12,
    "num_attention_heads": 10,
    "num_key_value_heads": 10,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "first_k_dense_replace": 1,
}
NOT_COUNTED = {
    "bos_token_id": 0,
    "eos_token_id": 1,
    "kv_lora_rank": None,
    "q_lora_rank": None,
    "qk_nope_head_dim": 0,
    "qk_rope_head_dim": 0,
    "lm_head": True,
    "rm_head": False,
    "n_group": 1,
    "topk_group": 1,
    "topk_method": "greedy",
    "use_mla": False,
}
VISION = {
    "image_size": 1024,
    "mlp_ratio": 3.7362,
    "model_name": "deeplip_b_l",
    "model_type": "vision",
    "width": {
        "clip-l-14-224": {"heads": 16, "image_size": 224, "layers": 24, "patch_size": 14, "width": 1024},
        "sam_vit_b": {
            "downsample_channels": [512, 1024],
            "global_attn_indexes": [2, 5, 8, 11],
            "heads": 12,
            "layers": 12,
            "width": 768,
        },
    },
}


def published_config(name: str, model_type: str, own: dict[str, Any]) -> dict[str, Any]:
    """A whole config.json. name: of the class. own: what of the decoder one model alone has."""
    decoder = DECODER | NOT_COUNTED | own
    return {
        "_name_or_path": name,
        "architectures": [f"{name}ForCausalLM"],
        "auto_map": {"AutoConfig": "modeling.Config", "AutoModel": "modeling.Model"},
        "model_type": model_type,
        "candidate_resolutions": [[1024, 1024]],
        "global_view_pos": "head",
        "tile_tag": "2D",
        "torch_dtype": "bfloat16",
        "transformers_version": "4.46.3",
        "projector_config": {
            "input_dim": 2048,
            "model_type": "mlp_projector",
            "n_embed": 1280,
            "projector_type": "linear",
        },
        "vision_config": VISION,
        "language_config": {"architectures": ["DeepseekV2ForCausalLM"], "torch_dtype": "bfloat16", **decoder},
        **decoder,
    }


DEEPSEEK_OCR = published_config("DeepseekOCR", "deepseek_vl_v2", {"max_position_embeddings": 8192, "v_head_dim": 0})
UNLIMITED_OCR = published_config(
    "UnlimitedOCR", "unlimited-ocr", {"max_position_embeddings": 32768, "v_head_dim": 128, "sliding_window_size": 128}
) | {"sliding_window": 128}


def with_value(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The same with another value at a path of keys, joined by slashes; `...` as the value takes the key out."""
    name, _, inner = path.partition("/")
    if inner:
        return config | {name: with_value(config[name], inner, value)}
    return {key: each for key, each in config.items() if key != name} | ({} if value is ... else {name: value})


def with_decoder(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The same with another value of the decoder in both places."""
    return with_value(with_value(config, key, value), f"language_config/{key}", value)
