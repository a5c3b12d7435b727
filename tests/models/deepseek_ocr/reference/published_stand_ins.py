"""Stand-ins for the published files: our own code under their names, so that what reads those files can be tested.

They import what revision 9f30c71f441d010e5429c532364a86705536c53a of deepseek-ai/DeepSeek-OCR imports, module by module
and name by name; define the classes and functions that are asked for there, by the same names, with the same
submodules; and do what matters to a measurement: `tokens_per_expert.cpu().numpy()`, a scripted quick-GELU, blocks that
call `self_attn.forward`, attention from the transformers library (`mha_eager`), a mask by
`_prepare_4d_causal_attention_mask`. Their arithmetic is the replica's. `modeling_deepseekocr.py` and
`conversation.py`, which nothing here reads, have no stand-in.

    python -m tests.models.deepseek_ocr.reference.published_stand_ins FOLDER
    make published-check FOLDER=FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TRANSFORMERS = "4.46.3"

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_shared_experts": 2,
    "first_k_dense_replace": 1,
    "vocab_size": 100,
}
"""A small decoder, by the names of the published configuration."""

DEEPENCODER = """
import copy
import math
from contextlib import nullcontext
from functools import partial
from typing import Optional, Tuple, Type

import torch
import torch.nn as nn
import torch.nn.functional as F
from easydict import EasyDict as adict
from einops import rearrange

from modelmeter.models.deepseek_ocr.reference import replica


class MlpProjector(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        assert cfg.projector_type == "linear" and cfg.get("depth", 1) == 1 and not cfg.get("token_pooling", False)
        self.cfg = cfg
        self.layers = nn.Linear(cfg.input_dim, cfg.n_embed)

    def forward(self, x):
        return self.layers(x)


@torch.jit.script
def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


class NoTPFeedForward(replica.ClipMlp):
    def forward(self, x):
        return self.fc2(quick_gelu(self.fc1(x)))


class NoTPTransformerBlock(replica.ClipBlock):
    def __init__(self):
        super().__init__()
        self.mlp = NoTPFeedForward()

    def forward(self, x):
        attended = self.self_attn.forward(self.layer_norm1(x))
        middle = x + attended
        return middle + self.mlp.forward(self.layer_norm2(middle))


class VitModel(replica.Clip):
    def __init__(self, cfg):
        super().__init__()
        self.transformer.layers = nn.ModuleList([NoTPTransformerBlock() for _ in range(cfg.num_layers)])

    def forward(self, x, patch_embeds):
        assert x.shape[0] == patch_embeds.shape[0]
        return super().forward(patch_embeds)


class ImageEncoderViT(replica.Sam):
    pass


vit_model_cfg = adict(num_layers=24)


def build_clip_l():
    return VitModel(cfg=vit_model_cfg)


def build_sam_vit_b(checkpoint=None):
    return ImageEncoderViT()
"""

CONFIGURATION = """
from transformers.configuration_utils import PretrainedConfig
from transformers.utils import logging

logger = logging.get_logger(__name__)


class DeepseekV2Config(PretrainedConfig):
    model_type = "deepseek_v2"
    keys_to_ignore_at_inference = ["past_key_values"]

    def __init__(self, **values):
        fixed = {
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "attention_bias": False,
            "attention_dropout": 0.0,
            "rope_theta": 10000.0,
            "rope_scaling": None,
            "pretraining_tp": 1,
            "max_position_embeddings": 8192,
            "use_mla": False,
        }
        for name, value in {**fixed, **values}.items():
            if name != "attn_implementation":
                setattr(self, name, value)
        super().__init__(attn_implementation=values.get("attn_implementation"))
"""

MODELING = """
import math
import warnings
from typing import List, Optional, Tuple, Union

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
import torch.utils.checkpoint
from einops import repeat
from torch import nn
from torch.nn import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_attn_mask_utils import _prepare_4d_causal_attention_mask
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaFlashAttention2
)
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    SequenceClassifierOutputWithPast,
)
from transformers.modeling_utils import PreTrainedModel
from transformers.pytorch_utils import (
    ALL_LAYERNORM_LAYERS,
    is_torch_greater_or_equal_than_1_13,
)
from transformers.utils import (
    add_start_docstrings,
    add_start_docstrings_to_model_forward,
    is_flash_attn_2_available,
    is_flash_attn_greater_or_equal_2_10,
    logging,
    replace_return_docstrings,
)
from transformers.utils.import_utils import is_torch_fx_available

from modelmeter.models.deepseek_ocr.reference import replica

from .configuration_deepseek_v2 import DeepseekV2Config

if is_flash_attn_2_available():
    from flash_attn import flash_attn_func, flash_attn_varlen_func
    from flash_attn.bert_padding import index_first_axis, pad_input, unpad_input

logger = logging.get_logger(__name__)


class DeepseekV2RMSNorm(replica.RmsNorm):
    def __init__(self, hidden_size, eps=1e-6):
        assert eps == 1e-6
        super().__init__(hidden_size)


ALL_LAYERNORM_LAYERS.append(DeepseekV2RMSNorm)


class DeepseekV2MLP(replica.Mlp):
    def __init__(self, config, hidden_size=None, intermediate_size=None):
        super().__init__(hidden_size or config.hidden_size, intermediate_size or config.intermediate_size)
        self.act_fn = ACT2FN[config.hidden_act]


class MoEGate(replica.Gate):
    def __init__(self, config):
        super().__init__(vars(config))

    def forward(self, hidden_states):
        chosen, weights = super().forward(hidden_states)
        return chosen, weights, None


class DeepseekV2MoE(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config.moe_intermediate_size
        self.experts = nn.ModuleList(
            [DeepseekV2MLP(config, intermediate_size=width) for _ in range(config.n_routed_experts)]
        )
        self.gate = MoEGate(config)
        self.shared_experts = DeepseekV2MLP(config, intermediate_size=width * config.n_shared_experts)

    def forward(self, hidden_states):
        whole = hidden_states
        chosen, weights, _ = self.gate(hidden_states)
        hidden_states = hidden_states.view(-1, hidden_states.shape[-1])
        out = self.moe_infer(hidden_states, chosen, weights).view(*whole.shape)
        out = out + self.shared_experts(whole)
        return out

    @torch.no_grad()
    def moe_infer(self, x, topk_ids, topk_weight):
        counts = topk_ids.new_zeros((topk_ids.shape[0], len(self.experts)))
        counts.scatter_(1, topk_ids, 1)
        tokens_per_expert = counts.sum(dim=0)
        order = topk_ids.view(-1).argsort()
        rows = x[order // topk_ids.shape[1]]
        tokens_per_expert = tokens_per_expert.cpu().numpy()
        outputs = []
        start = 0
        for expert, count in zip(self.experts, tokens_per_expert):
            if count == 0:
                continue
            mine = rows[start : start + count]
            out = expert(mine)
            outputs.append(out)
            start = start + count
        together = torch.cat(outputs, dim=0)
        in_order = torch.empty_like(together)
        in_order[order] = together
        by_choice = in_order.view(*topk_ids.shape, -1)
        return by_choice.type(topk_weight.dtype).mul_(topk_weight.unsqueeze(-1)).sum(dim=1).type(in_order.dtype)


ATTENTION_CLASSES = {"mha_eager": LlamaAttention, "mha_flash_attention_2": LlamaFlashAttention2}


class DeepseekV2DecoderLayer(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        assert not config.use_mla
        attention = ATTENTION_CLASSES["mha_" + config._attn_implementation]
        self.self_attn = attention(config=config, layer_idx=layer_idx)
        self.mlp = DeepseekV2MLP(config) if layer_idx < config.first_k_dense_replace else DeepseekV2MoE(config)
        self.input_layernorm = DeepseekV2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = DeepseekV2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, hidden_states, attention_mask=None, position_ids=None, past_key_value=None, use_cache=False):
        residual = hidden_states
        hidden_states = self.input_layernorm(hidden_states)
        hidden_states, _, present = self.self_attn(
            hidden_states=hidden_states,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_value=past_key_value,
            use_cache=use_cache,
        )
        hidden_states = residual + hidden_states
        residual = hidden_states
        hidden_states = self.post_attention_layernorm(hidden_states)
        hidden_states = self.mlp(hidden_states)
        hidden_states = residual + hidden_states
        return hidden_states, present


class DeepseekV2PreTrainedModel(PreTrainedModel):
    config_class = DeepseekV2Config
    base_model_prefix = "model"

    def _init_weights(self, module):
        pass


class DeepseekV2Model(DeepseekV2PreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            [DeepseekV2DecoderLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers)]
        )
        self.norm = DeepseekV2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, past_key_values=None, inputs_embeds=None, use_cache=None):
        size = inputs_embeds.shape[:2]
        past = past_key_values.get_seq_length()
        position_ids = torch.arange(past, past + size[1], dtype=torch.long, device=inputs_embeds.device)
        position_ids = position_ids.unsqueeze(0)
        attention_mask = _prepare_4d_causal_attention_mask(attention_mask, size, inputs_embeds, past)
        hidden_states = inputs_embeds
        for layer in self.layers:
            outputs = layer(
                hidden_states,
                attention_mask=attention_mask,
                position_ids=position_ids,
                past_key_value=past_key_values,
                use_cache=use_cache,
            )
            hidden_states = outputs[0]
        hidden_states = self.norm(hidden_states)
        return BaseModelOutputWithPast(last_hidden_state=hidden_states, past_key_values=past_key_values)
"""


def write_stand_ins(folder: Path, sizes: dict[str, Any] | None = None) -> Path:
    """Write the stand-ins and a config.json; `sizes` are the decoder's."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"transformers_version": TRANSFORMERS, "language_config": SIZES if sizes is None else sizes}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for name, source in (
        ("deepencoder.py", DEEPENCODER),
        ("configuration_deepseek_v2.py", CONFIGURATION),
        ("modeling_deepseekv2.py", MODELING),
    ):
        (folder / name).write_text(source, encoding="utf-8")
    return folder


if __name__ == "__main__":
    write_stand_ins(Path(sys.argv[1]))
