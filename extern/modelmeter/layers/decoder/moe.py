"""A decoder's mixture of experts on shapes: the gate, the routed experts, the shared ones.

Source of the walk: `UnlimitedOcrTextModel` of transformers 5.23, experts as grouped GEMMs; the published code, which
runs one expert after another; and the kernels of engines, which docs/counted.md names by file and function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import islice
from math import ceil
from typing import Unpack

from modelmeter.errors import ModelMeterError
from modelmeter.layers import BaseLayer, LayerList
from modelmeter.layers.code import Settings
from modelmeter.layers.decoder.mlp import GatedMLP, silu_and_mul
from modelmeter.layers.parallel import INPUTS, OUTPUTS
from modelmeter.layers.quantisation import DOWN
from modelmeter.operators import (
    Parameter,
    add,
    amax,
    arange,
    cat,
    compare,
    cumsum,
    empty_like,
    fill,
    floor_divide,
    fused_moe,
    gather,
    grouped_mm,
    histc,
    in_place_output,
    index_put,
    linear,
    mm,
    mul,
    mul_in_place,
    reshape,
    scatter_ones,
    softmax,
    sort,
    to,
    topk,
    total,
    where,
)
from modelmeter.shape_tensor import ShapeTensor


@dataclass(frozen=True, kw_only=True)
class MoeTraits:
    """What code of mixtures of experts does where code bases differ; the defaults are transformers'."""

    experts_grouped: bool = True
    """The routed experts are grouped GEMMs; otherwise one expert runs after another."""
    gate_in_float32: bool = True
    """The GEMM of the experts' gate runs in float32; otherwise in the model's type."""
    grouped_gemm_indexed: bool = False
    """The grouped GEMMs of the experts find the rows of their input by index, and put those of their output back;
    otherwise rows are copied into the order of the experts before, and back after."""
    weights_in_epilogue: bool = False
    """The second grouped GEMM weights its rows as it ends, and with their sum the experts are one block that the
    code calls as one, after which the shared experts' output is added; otherwise one kernel weights and sums all."""
    experts_output_in_place: bool = False
    """The sum of the experts' rows is written over their input."""
    topk_weights_scaled: bool = True
    """The weights of the experts chosen are multiplied by the config's factor, which is 1; otherwise they are not."""
    topk_of_groups: bool = False
    """Experts are chosen among the best group, of which there is one, operator by operator; otherwise among all."""
    index_dtype: str = "int64"
    """The type of experts' indices and of the order of their rows."""


class MoEGate(BaseLayer):
    """x [B, T, D] -> router logits [B T, E], weights in float32 and indices [B T, k] of the experts chosen."""

    def __init__(self, hidden_size: int, num_experts: int, top_k: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.top_k = top_k
        self.weight = self.parameter(num_experts, hidden_size)

    def forward(self, hidden_states: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor, ShapeTensor]:
        hidden_states = reshape(hidden_states, -1, hidden_states.shape[-1])
        if self.traits(MoeTraits).gate_in_float32:
            weight = self.weight.on(hidden_states.tape)
            router_logits = gate_product(to(hidden_states, "float32"), to(weight, "float32"))
        else:
            router_logits = linear(hidden_states, self.weight)
        if self.traits(MoeTraits).topk_of_groups:
            return router_logits, *self.grouped_topk(router_logits)
        return router_logits, *self.chain("topk_softmax", self.select_experts, router_logits)

    def grouped_topk(self, router_logits: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
        """The same among the experts of the best group, all of them, in the model's type up to the end."""
        scores, group_scores = self.chain("softmax_of_groups", softmax_of_groups, router_logits)
        group_idx = topk(group_scores, 1)[1]
        group_mask = fill(group_scores, group_scores.shape, group_scores.dtype, "aten.full.default")
        scatter_ones(group_mask, group_idx)
        tmp_scores = self.chain("mask_groups", mask_groups, scores, group_mask)
        return self.chain("cast_choice", cast_choice, *topk(tmp_scores, self.top_k), self.traits(MoeTraits).index_dtype)

    def select_experts(self, router_logits: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
        """Weights, scaled, and indices of the experts with the largest scores."""
        scores = softmax(router_logits, "float32")
        topk_weights, topk_indices = topk(scores, self.top_k, self.traits(MoeTraits).index_dtype)
        if self.traits(MoeTraits).topk_weights_scaled:
            topk_weights = mul(topk_weights)
        return topk_weights, topk_indices


def softmax_of_groups(router_logits: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
    """Scores [n, E] in the logits' type, and the largest of each group [n, 1]."""
    scores = to(softmax(router_logits, "float32"), router_logits.dtype)
    return scores, amax(scores.unsqueeze(1))


def mask_groups(scores: ShapeTensor, group_mask: ShapeTensor) -> ShapeTensor:
    """Scores [n, E], minus infinity where the mask [n, 1] leaves a group out."""
    return where(compare("aten.eq.Scalar", group_mask), scores, fill(scores, (), scores.dtype, "aten.full.default"))


def cast_choice(weights: ShapeTensor, index: ShapeTensor, index_dtype: str) -> tuple[ShapeTensor, ShapeTensor]:
    """Weights in float32 and indices in their type."""
    return to(weights, "float32"), to(index, index_dtype)


def gate_product(x: ShapeTensor, weight: ShapeTensor) -> ShapeTensor:
    """x [n, D] @ weight [E, D] transposed -> [n, E]; a function, so that both casts live until it returns."""
    return mm(x, weight.transpose(0, 1))


class Experts(BaseLayer):
    """Routed experts: x [n, D] with indices and weights [n, k] -> [n, D]; rows are sorted by expert, then multiplied
    group by group.

    experts_hit: experts that have rows, whose weights are read; the rows decide, so it is declared.
    """

    def __init__(
        self, hidden_size: int, intermediate_size: int, num_experts: int, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        parallel = self.code.parallel
        #: of the choices of a token, those that fall to this device's experts: evenly
        self.parts = parallel.ranks if parallel.experts else 1
        if parallel.experts:
            num_experts = parallel.share("n_routed_experts", num_experts)
        else:
            intermediate_size = parallel.share("moe_intermediate_size", intermediate_size)
        self.num_experts = num_experts
        tensors = {"gate_proj": intermediate_size, "up_proj": intermediate_size}
        self.gate_up_proj = self.experts(OUTPUTS, num_experts, 2 * intermediate_size, hidden_size, tensors=tensors)
        self.down_proj = self.experts(INPUTS, num_experts, hidden_size, intermediate_size, tensors={DOWN: hidden_size})

    def experts(self, split: str, *shape: int, tensors: Mapping[str, int]) -> Parameter:
        """The matrices of all experts as one parameter, which some schemes leave as it is."""
        if not self.code.precision.experts:
            return self.parameter(*shape)
        return self.matrices(*shape, tensors=tensors, split=None if self.code.parallel.experts else split)

    def forward(
        self,
        hidden_states: ShapeTensor,
        top_k_index: ShapeTensor,
        top_k_weights: ShapeTensor,
        experts_hit: int | Fraction,
    ) -> ShapeTensor:
        if self.traits(MoeTraits).weights_in_epilogue:
            run = partial(self.forward_block, experts_hit=experts_hit)
            weights = self.gate_up_proj, self.down_proj
            return fused_moe(run, hidden_states, top_k_index, top_k_weights, *weights, self.parts)
        if self.traits(MoeTraits).grouped_gemm_indexed:
            return self.forward_indexed(hidden_states, top_k_index, experts_hit)
        tokens, top_k = top_k_index.shape
        width = hidden_states.shape[-1]
        rows = tokens * top_k
        sample_weights = reshape(top_k_weights, -1)
        expert_ids = reshape(top_k_index, -1)
        expert_ids_g, perm = sort(expert_ids)
        index = "aten.index.Tensor"
        selected_hidden_states_g = gather(hidden_states, rows, aten=index, index=floor_divide(perm))
        sample_weights_g = gather(sample_weights, rows, aten=index, index=perm)
        histc_input = to(expert_ids_g, "int32")
        tokens_per_expert = histc(histc_input, self.num_experts)
        offsets = cumsum(tokens_per_expert, "int32")
        up_bytes, down_bytes = self.read_bytes(experts_hit)
        proj_out = grouped_mm(selected_hidden_states_g, self.gate_up_proj, offsets, up_bytes)
        proj_out = silu_and_mul(proj_out)
        proj_out = grouped_mm(proj_out, self.down_proj, offsets, down_bytes)
        weighted_out = mul(proj_out, sample_weights_g.unsqueeze(1), "float32")
        inv_perm = empty_like(perm)
        index_put(inv_perm, perm, arange(perm.tape, rows))
        weighted_out = gather(weighted_out, rows, aten=index, index=inv_perm)
        final_hidden_states = total(weighted_out.view(tokens, top_k, width), 1)
        return to(final_hidden_states, hidden_states.dtype)

    def read_bytes(self, experts_hit: int | Fraction) -> tuple[int, int]:
        """Bytes read of each GEMM's weights: those of all experts hit, rounded once, and of them its share."""
        all_bytes = self.gate_up_proj.nbytes + self.down_proj.nbytes
        hit_bytes = round(experts_hit * all_bytes / self.num_experts)
        up_bytes = round(experts_hit * self.gate_up_proj.nbytes / self.num_experts)
        return up_bytes, hit_bytes - up_bytes

    def forward_indexed(
        self,
        hidden_states: ShapeTensor,
        top_k_index: ShapeTensor,
        experts_hit: int | Fraction,
        top_k_weights: ShapeTensor | None = None,
    ) -> ShapeTensor:
        """The same without copies in an order, up to each choice's output [n k, D]: weighted by [n, k] where weights
        are given, otherwise who sums them weights them."""
        order, offsets = self.chain("sort_by_expert", self.sort_by_expert, top_k_index)
        up_bytes, down_bytes = self.read_bytes(experts_hit)
        proj_out = grouped_mm(hidden_states, self.gate_up_proj, offsets, up_bytes, order, parts=self.parts)
        proj_out = self.chain("silu_and_mul", silu_and_mul, proj_out)
        return grouped_mm(proj_out, self.down_proj, offsets, down_bytes, order, top_k_weights, self.parts)

    def forward_block(
        self,
        hidden_states: ShapeTensor,
        top_k_index: ShapeTensor,
        top_k_weights: ShapeTensor,
        experts_hit: int | Fraction,
    ) -> ShapeTensor:
        """The same with the sum of each row's choices [n, D]."""
        by_choice = self.forward_indexed(hidden_states, top_k_index, experts_hit, top_k_weights)
        return self.chain("moe_sum", self.sum_choices, by_choice, hidden_states)

    def sum_choices(self, by_choice: ShapeTensor, hidden_states: ShapeTensor) -> ShapeTensor:
        """Weighted outputs by choice [n k, D] summed over k, in memory of their own or over the input [n, D]."""
        summed = total(by_choice.view(hidden_states.shape[0], -1, hidden_states.shape[1]), 1)
        return in_place_output(hidden_states, summed) if self.traits(MoeTraits).experts_output_in_place else summed

    def sort_by_expert(self, top_k_index: ShapeTensor) -> tuple[ShapeTensor, ShapeTensor]:
        """The order of the rows [n k], and where each expert's end [E]."""
        expert_ids_g, order = sort(top_k_index.view(-1), self.traits(MoeTraits).index_dtype)
        return order, cumsum(histc(expert_ids_g, self.num_experts), self.traits(MoeTraits).index_dtype)


class MixtureOfExperts(BaseLayer):
    """Routed and shared experts, x [B, T, D] -> [B, T, D]."""

    remembered = True

    def __init__(
        self,
        hidden_size: int,
        moe_intermediate_size: int,
        n_routed_experts: int,
        num_experts_per_tok: int,
        n_shared_experts: int,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        if num_experts_per_tok > n_routed_experts:
            raise ModelMeterError(
                f"MixtureOfExperts: num_experts_per_tok={num_experts_per_tok} is more than "
                f"n_routed_experts={n_routed_experts}; a token visits at most every expert."
            )
        self.experts: Experts | LayerList
        if self.traits(MoeTraits).experts_grouped:
            self.experts = Experts(hidden_size, moe_intermediate_size, n_routed_experts, code=self.code)
        else:
            expert = GatedMLP(hidden_size, moe_intermediate_size, code=self.code)
            self.experts = LayerList([expert] * n_routed_experts, code=self.code)
        self.gate = MoEGate(hidden_size, n_routed_experts, num_experts_per_tok, code=self.code)
        self.shared_experts = GatedMLP(
            hidden_size, moe_intermediate_size * n_shared_experts, summed=False, code=self.code
        )

    def forward(self, hidden_states: ShapeTensor, experts_hit: int | Fraction) -> ShapeTensor:
        """`experts_hit`: experts that have rows, whose weights are read; the rows decide, so it is declared."""
        return self.reduced(self.run(hidden_states, experts_hit))

    def run(self, hidden_states: ShapeTensor, experts_hit: int | Fraction) -> ShapeTensor:
        """What one device makes of it."""
        if isinstance(self.experts, LayerList):
            return self.forward_one_by_one(hidden_states, experts_hit)
        if self.traits(MoeTraits).weights_in_epilogue:
            return self.forward_block(hidden_states, experts_hit)
        if self.traits(MoeTraits).grouped_gemm_indexed:
            return self.forward_indexed(hidden_states, experts_hit)
        residuals = hidden_states
        batch, tokens, width = hidden_states.shape
        _, topk_weights, topk_indices = self.gate(hidden_states)
        hidden_states = reshape(hidden_states, -1, width)
        hidden_states = self.experts(hidden_states, topk_indices, topk_weights, experts_hit).view(batch, tokens, width)
        return add(hidden_states, self.shared_experts(residuals))

    def forward_one_by_one(self, hidden_states: ShapeTensor, experts_hit: int | Fraction) -> ShapeTensor:
        """The same, one expert after another; the router's logits die with the gate."""
        identity = hidden_states
        topk_weight, topk_idx = self.gate(hidden_states)[1:]
        hidden_states = hidden_states.view(-1, hidden_states.shape[-1])
        y = self.moe_infer(hidden_states, topk_idx, topk_weight, experts_hit).view(*identity.shape)
        return add(y, self.shared_experts(identity))

    def forward_indexed(self, hidden_states: ShapeTensor, experts_hit: int | Fraction) -> ShapeTensor:
        """The same, the choices weighted and summed with the shared experts' output at the end."""
        topk_weights, topk_indices = self.gate(hidden_states)[1:]
        shared = self.shared_experts(hidden_states)
        rows = hidden_states.view(-1, hidden_states.shape[-1])
        by_choice = self.experts(rows, topk_indices, topk_weights, experts_hit)
        return self.chain("weighted_sum", weighted_sum, by_choice, topk_weights, shared)

    def forward_block(self, hidden_states: ShapeTensor, experts_hit: int | Fraction) -> ShapeTensor:
        """The same, the routed experts as one block, the shared experts' output added to theirs."""
        rows = hidden_states.view(-1, hidden_states.shape[-1])
        shared = self.shared_experts(hidden_states)
        topk_weights, topk_indices = self.gate(hidden_states)[1:]
        routed = self.experts(rows, topk_indices, topk_weights, experts_hit)
        return add(routed.view(*hidden_states.shape), shared)

    def moe_infer(
        self, x: ShapeTensor, topk_ids: ShapeTensor, topk_weight: ShapeTensor, experts_hit: int | Fraction
    ) -> ShapeTensor:
        """x [n, D] with indices and weights [n, k] -> [n, D]; rows are sorted, and fall evenly to the experts hit."""
        assert isinstance(self.experts, LayerList)
        rows = topk_ids.numel
        cnts = fill(topk_ids, (topk_ids.shape[0], len(self.experts)), "int64", "aten.new_zeros.default")
        scatter_ones(cnts, topk_ids)
        tokens_per_expert = total(cnts, 0)
        idxs = sort(topk_ids.view(-1))[1]
        sorted_tokens = gather(x, rows, aten="aten.index.Tensor", index=floor_divide(idxs))
        del tokens_per_expert  # it goes to the host
        visited = ceil(experts_hit)
        outputs = []
        start = 0
        for index, expert in enumerate(islice(self.experts, visited)):
            end = start + rows // visited + (index < rows % visited)
            tokens_for_this_expert = sorted_tokens.narrow(0, start, end)
            whole = index < int(experts_hit)
            expert_out = expert(tokens_for_this_expert, None if whole else experts_hit - int(experts_hit))
            outputs.append(expert_out)
            start = end
        outs = cat(outputs, 0)
        new_x = empty_like(outs)
        index_put(new_x, idxs, outs)
        by_choice = new_x.view(*topk_ids.shape, -1)
        return to(total(mul_in_place(to(by_choice, topk_weight.dtype), topk_weight.unsqueeze(2)), 1), new_x.dtype)


def weighted_sum(by_choice: ShapeTensor, topk_weights: ShapeTensor, shared: ShapeTensor) -> ShapeTensor:
    """Outputs by choice [n k, D], weighted by [n, k] and summed over k in float32, plus shared [B, T, D]."""
    by_choice = by_choice.view(*topk_weights.shape, -1)
    routed = to(total(mul(by_choice, topk_weights.unsqueeze(2), "float32"), 1), shared.dtype)
    return add(routed.view(*shared.shape), shared)
