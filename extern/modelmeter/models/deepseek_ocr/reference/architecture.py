"""The sizes of the published decoder, which every reference of this model is built with."""

from collections.abc import Mapping

ARCHITECTURE: Mapping[str, int] = {
    "hidden_size": 1280,
    "intermediate_size": 6848,
    "moe_intermediate_size": 896,
    "num_hidden_layers": 12,
    "num_attention_heads": 10,
    "num_key_value_heads": 10,
    "n_routed_experts": 64,
    "num_experts_per_tok": 6,
    "n_shared_experts": 2,
    "first_k_dense_replace": 1,
    "vocab_size": 129280,
    "max_position_embeddings": 8192,
}
"""The decoder as published, by the names of the published configuration."""
