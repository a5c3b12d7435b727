"""The checkpoint's further layer beside the library's modules that it is made of, put together as the engines do."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from transformers.models.glm_ocr.configuration_glm_ocr import GlmOcrTextConfig
from transformers.models.glm_ocr.modeling_glm_ocr import GlmOcrRMSNorm, GlmOcrTextDecoderLayer

from modelmeter import load_cost_model
from modelmeter.models.common.reference.calls import filled_cache
from modelmeter.programs.verify.layers import compare_layer
from modelmeter.reference.building import ATTENTION, on_meta
from modelmeter.reference.layer import meta_tensor
from modelmeter.reference.layer_case import Cache, Given, LayerCase

SIZES = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 100,
    "num_hidden_layers": 1,
}


class Further(nn.Module):  # type: ignore[misc]
    """Two norms, both joined, a GEMM, a layer of the decoder's."""

    def __init__(self, config: GlmOcrTextConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.enorm, self.hnorm = GlmOcrRMSNorm(width), GlmOcrRMSNorm(width)
        self.eh_proj = nn.Linear(2 * width, width, bias=False)
        self.mtp_block = GlmOcrTextDecoderLayer(config, 0)

    def forward(self, inputs_embeds: Any, previous: Any, tables: Any, cache: Any) -> Any:
        inputs_embeds = self.enorm(inputs_embeds)
        previous = self.hnorm(previous)
        hidden_states = self.eh_proj(torch.cat((inputs_embeds, previous), -1))
        return self.mtp_block(hidden_states, position_embeddings=tables, past_key_values=cache)


#: attention, pages, tokens, and tokens before them; several tokens behind others in separate steps alone: without a
#: mask, which an engine needs not, the library's fused attention leaves keys out
CASES = [
    ("flash", 1, 30, 0),
    ("flash", 3, 1, 34),
    ("eager", 1, 30, 0),
    ("eager", 2, 4, 30),
    ("eager", 3, 1, 34),
]


@pytest.mark.parametrize(("attention", "pages", "tokens", "past"), CASES, ids=str)
def test_it_is_the_librarys_modules(attention: str, pages: int, tokens: int, past: int) -> None:
    overrides = [*(f"decoder.{name}={value}" for name, value in SIZES.items()), "decoder.mrope_section=[2,3,3]"]
    overrides += ["vision.out_hidden_size=48", f"runtime.attention={attention}"]
    model: Any = load_cost_model(overrides, model="glm_ocr").model
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
    with on_meta("bfloat16"):
        config = GlmOcrTextConfig(**SIZES, rope_parameters=rope, attn_implementation=ATTENTION[attention])
        module = Further(config).eval()
    hidden, tables = (pages, tokens, 48), (pages, tokens, 16)
    cache = Cache(batch=pages, context=past, kv_heads=2, head_dim=16)

    def prepare() -> Any:
        given = [meta_tensor(hidden, "bfloat16") for _ in range(2)]
        turned = tuple(meta_tensor(tables, "bfloat16") for _ in range(2))
        return partial(module, *given, turned, filled_cache(config, cache, "bfloat16"))

    case = LayerCase(
        layer=model.multi_token_layer(),
        inputs=(Given(hidden), Given(hidden), (Given(tables),) * 2, cache),
        module="Further",
        prepare=prepare,
        outputs=slice(None),
        dtype="bfloat16",
        attention=attention,
        experts_hit=None,
        note="",
    )
    assert compare_layer(case).agrees(0), case
