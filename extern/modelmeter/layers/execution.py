"""Executions: the same network as different code runs it, each a record of facts about that code."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from modelmeter.errors import ModelMeterError, near

ATTENTIONS: Final = ("flash", "eager")


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What one code base does where code bases differ. Each field is one fact, read where a forward pass differs."""

    name: str
    head: str
    """The positions that the head computes unless told otherwise: last or all."""
    logits_to_float32: bool
    """The logits are converted to float32 after the head."""
    vision_takes_eager: bool
    """`attention=eager` reaches the vision encoders too; otherwise they always call the fused function."""
    rel_pos_always_resized: bool
    """A table of relative positions is resized even where it has the wanted length; otherwise only where it has not,
    and then in float32."""
    rel_pos_index_on_host: bool
    """The indices of relative positions are made in host memory."""
    rel_pos_bias_copied: bool
    """The two terms of relative position are summed over the grid and the sum copied; otherwise the terms are
    flattened first, kept by name, and the sum is used as it is."""
    sam_norm_kept: bool
    """A SAM block keeps the result of its second norm by name to its end."""
    resized_table_kept: bool
    """The float32 copy of the SAM encoder's position table is kept by name while it is resized and cast."""
    windows_always_padded: bool
    """A grid is padded to whole windows, which copies it, even where nothing is added."""
    layer_norm_2d_fused: bool
    """The LayerNorm over channels is one operator; otherwise it is written out."""
    sam_map_cloned: bool
    """The map is cloned between the two strided convolutions of the SAM encoder."""
    clip_patch_convolution: bool
    """The CLIP tower has the parameters of a patch convolution that never runs."""
    clip_qkv_fused: bool
    """Queries, keys and values of the CLIP tower are one product."""
    clip_attention_kept: bool
    """A CLIP block keeps its attention's output by name to its end."""
    clip_embeddings_kept: bool
    """The CLIP tower keeps its embeddings by name while the blocks run."""
    clip_positions_looked_up: bool
    """The CLIP tower looks its position table up by index even where it is resized then."""
    decoder_made_first: bool
    """The constructor makes the decoder, its embedding first, before the vision encoders, so a conversion of the whole
    model begins there; otherwise it makes it after them."""
    pages_looped: bool
    """Pages go through vision one at a time, crops first; otherwise all global views, then all crops, as batches."""
    rotary_per_layer: bool
    """Each decoder layer builds its rotary tables anew, by a matrix product; otherwise once, by a multiplication."""
    cache_takes_first_as_is: bool
    """The KV cache keeps the first keys and values as they come; otherwise it copies them."""
    eager_scores_multiplied: bool
    """Eager attention of the decoder multiplies the scores by a number; otherwise it divides them."""
    flash_half_precision_only: bool
    """Fused attention of the decoder is the FlashAttention package, which refuses float32."""
    eager_weights_handed_on: bool
    """Eager attention of the decoder returns its weights, which its caller keeps; otherwise they die with it."""
    experts_grouped: bool
    """The routed experts are grouped products; otherwise one expert runs after another."""
    causal_mask_only: bool
    """The decoder makes one causal mask, and only for eager attention; otherwise a sliding window's mask too."""
    chains_fused: bool
    """Chains of operators without a product run as one kernel; otherwise operator by operator."""
    residual_handed_on: bool
    """A block hands its last output and the residual on, and whoever comes next sums them; otherwise it sums them."""
    attention_fused_only: bool
    """Attention is one kernel that reads keys, values and bias where they lie and writes its result alone; there is no
    eager form. Otherwise it is PyTorch's function."""
    image_tokens_first: bool
    """A page's image tokens are made before the prompt is embedded, put among its rows, and dropped; otherwise they
    and what they were made from are held on."""
    decoder_products_joined: bool
    """Products of the decoder over one input are one: query, key and value, and gate and up."""
    cache_paged: bool
    """The KV cache stays where it is, and a pass writes its new keys and values only; otherwise all of it is copied."""
    positions_given: bool
    """The positions come with the tokens, and no masks are made; otherwise the decoder makes both."""
    rotary_tables_kept: bool
    """The decoder's rotary tables are in memory for all positions, and rows are looked up as queries and keys turn."""
    gate_in_float32: bool
    """The product of the experts' gate runs in float32; otherwise in the model's type."""
    rows_found_by_product: bool
    """The grouped products of the experts find the rows of their input by index, and put those of their output back;
    otherwise rows are copied into the order of the experts before, and back after."""
    index_dtype: str
    """The type of experts' indices and of the order of their rows."""


TRANSFORMERS: Final = Execution(
    name="transformers",
    head="last",
    logits_to_float32=False,
    vision_takes_eager=True,
    rel_pos_always_resized=True,
    rel_pos_index_on_host=True,
    rel_pos_bias_copied=True,
    sam_norm_kept=True,
    resized_table_kept=False,
    windows_always_padded=True,
    layer_norm_2d_fused=True,
    sam_map_cloned=False,
    clip_patch_convolution=False,
    clip_qkv_fused=False,
    clip_attention_kept=False,
    clip_embeddings_kept=False,
    clip_positions_looked_up=False,
    decoder_made_first=False,
    pages_looped=False,
    rotary_per_layer=False,
    cache_takes_first_as_is=False,
    eager_scores_multiplied=True,
    flash_half_precision_only=False,
    eager_weights_handed_on=True,
    experts_grouped=True,
    causal_mask_only=False,
    chains_fused=False,
    residual_handed_on=False,
    attention_fused_only=False,
    image_tokens_first=False,
    decoder_products_joined=False,
    cache_paged=False,
    positions_given=False,
    rotary_tables_kept=False,
    gate_in_float32=True,
    rows_found_by_product=False,
    index_dtype="int64",
)

#: DeepSeek's own code, without autocast
PUBLISHED: Final = Execution(
    name="published",
    head="all",
    logits_to_float32=True,
    vision_takes_eager=False,
    rel_pos_always_resized=False,
    rel_pos_index_on_host=False,
    rel_pos_bias_copied=False,
    sam_norm_kept=False,
    resized_table_kept=True,
    windows_always_padded=False,
    layer_norm_2d_fused=False,
    sam_map_cloned=True,
    clip_patch_convolution=True,
    clip_qkv_fused=True,
    clip_attention_kept=True,
    clip_embeddings_kept=True,
    clip_positions_looked_up=True,
    decoder_made_first=True,
    pages_looped=True,
    rotary_per_layer=True,
    cache_takes_first_as_is=True,
    eager_scores_multiplied=False,
    flash_half_precision_only=True,
    eager_weights_handed_on=False,
    experts_grouped=False,
    causal_mask_only=True,
    chains_fused=False,
    residual_handed_on=False,
    attention_fused_only=False,
    image_tokens_first=False,
    decoder_products_joined=False,
    cache_paged=False,
    positions_given=False,
    rotary_tables_kept=False,
    gate_in_float32=True,
    rows_found_by_product=False,
    index_dtype="int64",
)

#: an inference engine at its best: no code runs all of this, and a roofline starts from it
SERVING: Final = Execution(
    name="serving",
    head="last",
    logits_to_float32=False,
    vision_takes_eager=False,
    rel_pos_always_resized=False,
    rel_pos_index_on_host=False,
    rel_pos_bias_copied=False,
    sam_norm_kept=False,
    resized_table_kept=False,
    windows_always_padded=False,
    layer_norm_2d_fused=True,
    sam_map_cloned=False,
    clip_patch_convolution=False,
    clip_qkv_fused=True,
    clip_attention_kept=False,
    clip_embeddings_kept=False,
    clip_positions_looked_up=False,
    decoder_made_first=False,
    pages_looped=False,
    rotary_per_layer=False,
    cache_takes_first_as_is=False,
    eager_scores_multiplied=False,
    flash_half_precision_only=False,
    eager_weights_handed_on=False,
    experts_grouped=True,
    causal_mask_only=False,
    chains_fused=True,
    residual_handed_on=True,
    attention_fused_only=True,
    image_tokens_first=True,
    decoder_products_joined=True,
    cache_paged=True,
    positions_given=True,
    rotary_tables_kept=True,
    gate_in_float32=False,
    rows_found_by_product=True,
    index_dtype="int32",
)

EXECUTIONS: Final[Mapping[str, Execution]] = MappingProxyType(
    {execution.name: execution for execution in (TRANSFORMERS, PUBLISHED, SERVING)}
)


def execution_named(who: str, name: str) -> Execution:
    """The record of an execution; raises `ModelMeterError` for one that is unknown."""
    if name not in EXECUTIONS:
        raise ModelMeterError(f"{who}: execution={name} is unknown; {near(name, EXECUTIONS)}")
    return EXECUTIONS[name]


def check_attention(who: str, attention: str, execution: Execution) -> None:
    """Raise `ModelMeterError` unless `attention` is flash or eager, and the execution has it."""
    if attention not in ATTENTIONS:
        raise ModelMeterError(f"{who}: attention={attention} is unknown; {near(attention, ATTENTIONS)}")
    if attention == "eager" and execution.attention_fused_only:
        raise ModelMeterError(
            f"{who}: attention=eager, but execution={execution.name} has fused attention only; leave "
            "runtime.attention=flash, or take execution=transformers or execution=published."
        )
