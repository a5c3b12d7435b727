"""The run by which vLLM learns how much memory to leave beside weights and cache, and what it holds at most.

vLLM encodes as many of the largest images as its encoder budget lets it, keeps their embeddings, then runs the decoder
over `max_num_batched_tokens` tokens of `max_num_seqs` requests without a cache, and samples from the logits of all of
them. The largest of the three is reserved for whatever comes later.
Source: vllm-project/vllm, `GPUModelRunner.profile_run`, `_dummy_run` and `_dummy_sampler_run`
(vllm/v1/worker/gpu_model_runner.py); `MultiModalBudget` (vllm/multimodal/budget.py; vllm/v1/worker/utils.py in 0.12);
`compute_mm_encoder_budget` (vllm/v1/core/encoder_cache_manager.py; `compute_encoder_budget` in 0.12).

What the images and the decoder hold is walked. What the sampler holds a logit, bytes, where it sorts (up to 0.16): the
logits (2) and their float32 copy (4), values (4) and indices (8) of `Tensor.sort`, reversed indices (8), and CUB's
second buffers of keys (4) and indices (8). Fewer than 128 rows are sorted as one: then two buffers of index and row (8
each) and sorted keys (4) are in the place of the reversed indices. From 0.17 on a kernel sorts nothing: beside logits
and copy there are probabilities (4) and random numbers (4). reports/engine-limits.md holds both against printed lines.
Source: `apply_top_k_top_p` (vllm/v1/sample/ops/topk_topp_sampler.py), `launch_stable_sort_kernel` (pytorch/pytorch,
aten/src/ATen/native/cuda/SortStable.cu).

Left out: images of a prompt are limited by `--limit-mm-per-prompt`, 999 unless it is given, so the budget decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from modelmeter.models.common.engines import KERNEL
from modelmeter.units import ITEMSIZE, ceil_div

if TYPE_CHECKING:
    from modelmeter.models.common.contract import CostModel
    from modelmeter.walk import Walk

#: rows from which torch sorts each of them on its own
ROWS_APART: Final = 128
#: bytes a logit of the sampler: where rows are sorted apart, and as one; where nothing is sorted
_SORTED_APART: Final = 2 + 4 + 4 + 8 + 8 + 4 + 8
_SORTED_AS_ONE: Final = 2 + 4 + 4 + 8 + 2 * 8 + 4 + 4 + 8
_NOT_SORTED: Final = 2 + 4 + 4 + 4

#: the parts of a profile run
VISION: Final = "vision"
DECODER: Final = "decoder"
SAMPLER: Final = "sampler"


@dataclass(frozen=True, kw_only=True)
class EncoderBudget:
    """What an engine encodes in one step, and keeps of it: image tokens, and the images that these are at most.

    tokens: of images that one step encodes, and that the encoder cache holds. images: of `image_tokens` each.
    """

    tokens: int
    image_tokens: int
    images: int

    @classmethod
    def of(cls, max_num_batched_tokens: int, largest: int, image_tokens: int, max_num_seqs: int) -> EncoderBudget:
        """The budget of a model whose largest image has `largest` tokens, and how many of `image_tokens` it holds."""
        tokens = max(max_num_batched_tokens, largest)
        return cls(tokens=tokens, image_tokens=image_tokens, images=max(1, min(tokens // image_tokens, max_num_seqs)))


@dataclass(frozen=True, kw_only=True)
class ProfileRun:
    """What a profile run holds at most beside the weights, bytes, by its parts.

    layout: of the images, in the workload's words; None: nobody has read which image the engine takes of this model,
    and vision_bytes is 0. budget: of such images. requests: of the pass, and of the logits that are sampled from.
    """

    layout: Any | None
    budget: EncoderBudget | None
    requests: int
    vision_bytes: int
    decoder_bytes: int
    sampler_bytes: int

    @property
    def parts(self) -> dict[str, int]:
        """Bytes by part."""
        return {VISION: self.vision_bytes, DECODER: self.decoder_bytes, SAMPLER: self.sampler_bytes}

    @property
    def peak_bytes(self) -> int:
        """The largest part's."""
        return max(self.parts.values())

    @property
    def peak_part(self) -> str:
        """The part that holds most."""
        return max(self.parts, key=lambda name: self.parts[name])


def profile_run(model: CostModel, max_num_batched_tokens: int, max_num_seqs: int, sampler: str) -> ProfileRun:
    """The profile run of a model's engine at these settings."""
    requests = min(max_num_seqs, max_num_batched_tokens)
    layout, budget, vision_bytes, kept_bytes = model.profiled_layout, None, 0, 0
    if layout is not None:
        tokens = model.workload.tokens(layout).total
        budget = EncoderBudget.of(max_num_batched_tokens, tokens, tokens, max_num_seqs)
        vision_bytes = encoder_bytes(model, layout, budget.images)
        kept_bytes = budget.images * tokens * token_bytes(model)
    hidden_bytes = max_num_batched_tokens + 2 * requests  # those of all tokens, and twice the last of each request
    vocabulary: int = model.model.lm_head.vocab_size  # all of it, where each device has a part of the head too
    return ProfileRun(
        layout=layout,
        budget=budget,
        requests=requests,
        vision_bytes=vision_bytes,
        decoder_bytes=kept_bytes + decoder_bytes(model, max_num_batched_tokens, requests),
        sampler_bytes=kept_bytes
        + hidden_bytes * _row_bytes(model)
        + requests * vocabulary * logit_bytes(sampler, requests),
    )


def logit_bytes(sampler: str, requests: int) -> int:
    """What drawing a token for each of so many requests holds a logit, bytes."""
    if sampler == KERNEL:
        return _NOT_SORTED
    return _SORTED_APART if requests >= ROWS_APART else _SORTED_AS_ONE


def encoder_bytes(model: CostModel, layout: Any, images: int) -> int:
    """What the vision pass over `images` images of a layout holds at most, its results included."""
    return model.of_lone_pages().batched(images).pass_vision(layout).resident_peak_bytes


def decoder_bytes(model: CostModel, tokens: int, requests: int) -> int:
    """What a pass over `tokens` positions holds at most beside the pool, of so many requests alike, rounded up."""
    model = model.of_lone_pages()
    text = model.text(ceil_div(tokens, requests))
    return outside_pool_bytes(model.batched(requests).stage_walk("prefill", page=text))


def token_bytes(model: CostModel) -> int:
    """Bytes of an image token's embedding: with what goes into further layers of the decoder, where there is that."""
    levels: int = model.model.text.levels
    return _row_bytes(model) * (1 + levels)


def _row_bytes(model: CostModel) -> int:
    """Bytes of a hidden state."""
    nbytes: int = model.model.decoder.norm.weight.shape[0] * ITEMSIZE[model.config.runtime.dtype]
    return nbytes


def outside_pool_bytes(walk: Walk) -> int:
    """The live set of a pass at its largest, without keys and values, of an engine that keeps them in its pool."""
    written = most = 0
    for record in walk.records():
        if record.kind != "attention":  # that reads them
            written += record.kv_bytes
        most = max(most, record.live_bytes - written)
    return most
