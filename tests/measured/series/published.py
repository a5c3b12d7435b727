"""The replica of the published code of DeepSeek-OCR: SAM and CLIP over views, the decoder's prompts and steps."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import nn

from modelmeter.models.deepseek_ocr.reference.architecture import ARCHITECTURE
from modelmeter.models.deepseek_ocr.reference.replica import CausalModel, Clip, ReplicaCache, Sam
from modelmeter.reference.building import DTYPES, on_meta
from modelmeter.reference.measurement import Measurement
from modelmeter.reference.measurement import measure as measure_call
from tests.measured.account import digest

SMALL = {"num_hidden_layers": 4, "num_key_value_heads": 5, "n_routed_experts": 16, "num_experts_per_tok": 3}
ARCHITECTURES: dict[str, dict[str, int]] = {
    "published": {},
    "small": SMALL | {"first_k_dense_replace": 2, "n_shared_experts": 1},
    "all experts": {
        "num_hidden_layers": 3,
        "n_routed_experts": 8,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 96,
    },
}
BFLOAT16, EAGER = ("bfloat16", "flash"), ("bfloat16", "eager")
FLOAT32, FLOAT16 = ("float32", "flash"), ("float16", "flash")


class Views(NamedTuple):
    """SAM and CLIP over views of a side."""

    dtype: str
    attention: str
    side: int
    views: int


class Prompt(NamedTuple):
    """The decoder over prompts of so many tokens, and the step after them, with the head of all positions."""

    dtype: str
    attention: str
    tokens: int
    pages: int = 1
    architecture: str = "published"

    @property
    def sizes(self) -> dict[str, int]:
        """The whole architecture."""
        return ARCHITECTURE | ARCHITECTURES[self.architecture]

    def experts_hit(self, tokens: int) -> int:
        """The most that so many tokens of each page can visit."""
        return min(self.sizes["n_routed_experts"], self.sizes["num_experts_per_tok"] * self.pages * tokens)


VIEWS = (
    *(Views(*BFLOAT16, *size) for size in ((448, 1), (448, 2), (640, 2), (656, 1), (1024, 1))),
    *(Views(*kind, *size) for kind in (FLOAT32, FLOAT16, EAGER) for size in ((640, 2), (1024, 1))),
)
PROMPTS = (
    *(Prompt(*kind, tokens) for kind in (BFLOAT16, EAGER) for tokens in (1, 100)),
    Prompt("float32", "eager", 100),
    Prompt(*FLOAT16, 100),
    *(
        Prompt(*kind, tokens, pages, name)
        for name, kind in (("small", BFLOAT16), ("small", EAGER), ("all experts", BFLOAT16))
        for tokens, pages in ((273, 1), (100, 3))
    ),
)
CASES: dict[str, Views | Prompt] = {
    " ".join(map(str, (type(each).__name__, *each))): each for each in (*VIEWS, *PROMPTS)
}


@cache
def replica(kind: type[nn.Module], dtype: str) -> nn.Module:
    """SAM or CLIP."""
    with on_meta(dtype):
        return kind().eval()


@cache
def causal_model(dtype: str, attention: str, architecture: str) -> CausalModel:
    """The decoder with its head, and the rest."""
    with on_meta(dtype):
        return CausalModel(ARCHITECTURE | ARCHITECTURES[architecture], eager=attention == "eager").eval()


def empty(dtype: str, *shape: int) -> torch.Tensor:
    """An input."""
    return torch.empty(shape, dtype=DTYPES[dtype], device="meta")


def measure(case: Views | Prompt) -> dict[str, Any]:
    """What the replica does, by what is called."""
    return over_views(case) if isinstance(case, Views) else over_prompt(case)


def over_views(case: Views) -> dict[str, Any]:
    """SAM, then CLIP, each alone."""
    grid = -(-case.side // 64)
    sam, clip = replica(Sam, case.dtype), replica(Clip, case.dtype)
    pixels = empty(case.dtype, case.views, 3, case.side, case.side)
    sam_map = empty(case.dtype, case.views, 1024, grid, grid)
    return {
        "sam": shown(measure_call(sam, lambda: sam(pixels))),
        "clip": shown(measure_call(clip, lambda: clip(sam_map))),
    }


def over_prompt(case: Prompt) -> dict[str, Any]:
    """A prefill, without the head, and a step."""
    causal = causal_model(case.dtype, case.attention, case.architecture)
    decoder, sizes = causal.model.decoder, case.sizes
    cache = ReplicaCache()
    hidden = empty(case.dtype, case.pages, case.tokens, sizes["hidden_size"])
    decoder.declare_experts_hit(case.experts_hit(case.tokens))
    prefill = measure_call(decoder, lambda: decoder(hidden, cache), cached=lambda: cache.tensors)
    head_dim, layers = sizes["hidden_size"] // sizes["num_attention_heads"], sizes["num_hidden_layers"]
    shape = (case.pages, sizes["num_key_value_heads"], case.tokens, head_dim)
    held = [empty(case.dtype, *shape) for _ in range(2 * layers)]
    given = ReplicaCache(held[:layers], held[layers:])
    del held
    decoder.declare_experts_hit(case.experts_hit(1))
    token = torch.empty(case.pages, 1, dtype=torch.int64, device="meta")
    step = measure_call(causal, lambda: causal(token, [], None, [], given), cached=lambda: given.tensors)
    return {"prefill": shown(prefill), "step": shown(step)}


def shown(measured: Measurement) -> dict[str, Any]:
    """As it is stored."""
    rows = [(each.operator, each.traffic.read_bytes, each.traffic.written_bytes) for each in measured.operator_traffic]
    return {
        "flops": measured.flops,
        "peak_bytes": measured.activation_peak_bytes,
        "peak_operator": measured.peak_operator,
        "resident_peak_bytes": measured.resident_peak_bytes,
        "kv_bytes": measured.kv_bytes,
        "operators": digest(rows),
    }
