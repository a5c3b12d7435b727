"""Facts about code of decoders, read where their forward passes differ."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DecoderTraits:
    """What decoders' code does where code bases differ; the defaults are transformers'."""

    rotary_per_layer: bool = False
    """Each decoder layer builds its rotary tables anew, by a GEMM; otherwise once, by a multiplication."""
    sections_doubled: bool = False
    """Rotary tables are doubled before their sections are chosen, of all coordinates; otherwise after."""
    rotary_in_float32: bool = False
    """Queries and keys turn in float32, and so do the tables; otherwise in their own type."""
    cos_sin_cached: bool = False
    """The decoder's rotary tables are in memory for all positions, and rows are looked up as queries and keys turn."""
    first_kv_uncopied: bool = False
    """The KV cache keeps the first keys and values as they come; otherwise it copies them."""
    kv_paged: bool = False
    """The KV cache stays where it is, and a pass writes its new keys and values only; otherwise all of it is copied."""
    cache_written_apart: bool = False
    """Queries and keys are turned in place, in their GEMM, and a kernel of its own writes keys and values to the
    slots of a paged cache; otherwise one kernel does both."""
    qk_norm_in_place: bool = False
    """The norms of queries and keys before a paged cache are one kernel, in their GEMM; otherwise a kernel each, in
    memory of its own."""
    query_copied: bool = False
    """Queries are copied out of their GEMM before attention over a paged cache, where they are more than one row."""
    log_sum_exp_written: bool = False
    """Attention over a paged cache writes the log-sum-exp of each query and head beside its result."""
    eager_scores_multiplied: bool = True
    """Eager attention of the decoder multiplies the scores by a number; otherwise it divides them."""
    flash_half_precision_only: bool = False
    """Fused attention of the decoder is the FlashAttention package, which refuses float32."""
    eager_weights_returned: bool = True
    """Eager attention of the decoder returns its weights, which its caller keeps; otherwise they die with it."""
    causal_mask_only: bool = False
    """The decoder makes one causal mask, and only for eager attention; otherwise a sliding window's mask too."""
    features_added_apart: bool = False
    """Features of image tokens are added to the residual by a kernel before the next norm; otherwise in it."""
    qkv_and_gate_up_fused: bool = False
    """GEMMs of the decoder over one input are one: query, key and value, and gate and up."""
    position_ids_given: bool = False
    """The positions come with the tokens, and no masks are made; otherwise the decoder makes both."""
