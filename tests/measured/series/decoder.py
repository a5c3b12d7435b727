"""Passes of DeepSeek-OCR's decoder, without its head: published sizes and others, types, attentions."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from modelmeter.models.deepseek_ocr.reference.modules import TextReference
from modelmeter.reference.building import cache_tensors
from modelmeter.reference.measurement import measure as measure_call
from tests.measured.account import digest

TYPES = (
    ("bfloat16", "flash"),
    ("bfloat16", "eager"),
    ("float32", "flash"),
    ("float32", "eager"),
    ("float16", "flash"),
)
ARCHITECTURES: tuple[dict[str, int], ...] = (
    {},
    {"num_hidden_layers": 3, "hidden_size": 512, "num_attention_heads": 8, "num_key_value_heads": 8},
    {"num_hidden_layers": 4, "first_k_dense_replace": 2, "n_routed_experts": 16, "num_experts_per_tok": 3},
    {"num_hidden_layers": 2, "first_k_dense_replace": 0, "n_shared_experts": 1, "moe_intermediate_size": 96},
    {"num_hidden_layers": 2, "first_k_dense_replace": 2, "intermediate_size": 1000},
    {"num_hidden_layers": 5, "num_attention_heads": 20, "num_key_value_heads": 20, "n_routed_experts": 8},
    {"num_hidden_layers": 3, "num_attention_heads": 10, "num_key_value_heads": 2, "vocab_size": 1000},
    {"num_hidden_layers": 3, "num_attention_heads": 10, "num_key_value_heads": 1, "num_experts_per_tok": 1},
)


class Pass(NamedTuple):
    """Prompts of so many tokens, after those in the cache; the number of an architecture."""

    batch: int
    tokens: int
    past: int
    dtype: str = "bfloat16"
    attention: str = "flash"
    architecture: int = 0

    @property
    def sizes(self) -> dict[str, int]:
        """What differs from the published decoder."""
        return ARCHITECTURES[self.architecture]

    @property
    def experts_hit(self) -> int:
        """The most that these tokens can visit."""
        chosen = self.sizes.get("num_experts_per_tok", 6) * self.batch * self.tokens
        return min(self.sizes.get("n_routed_experts", 64), chosen)

    @property
    def name(self) -> str:
        """All of it."""
        sizes = "".join(f" {key}={value}" for key, value in self.sizes.items())
        return f"{self.batch} x {self.tokens} after {self.past} {self.dtype} {self.attention}{sizes}"


PASSES = (
    *(
        Pass(1, tokens, past, *each)
        for each in TYPES
        for tokens, past in ((1, 0), (100, 0), (913, 0), (1, 100), (1, 913))
    ),
    *(Pass(3, tokens, past, "bfloat16", each) for each in ("flash", "eager") for tokens, past in ((40, 0), (1, 40))),
    *(Pass(1, 77, 0, architecture=number) for number in range(1, len(ARCHITECTURES))),
    *(Pass(1, 1, 77, architecture=number) for number in range(1, len(ARCHITECTURES))),
    Pass(1, 903, 0),
    Pass(1, 1, 903),
)
CASES = {each.name: each for each in PASSES}


@cache
def modules(dtype: str, attention: str, architecture: int) -> TextReference:
    """transformers' decoder."""
    return TextReference(dtype=dtype, attention=attention, **ARCHITECTURES[architecture])


def measure(case: Pass) -> dict[str, Any]:
    """What the real module does."""
    text = modules(case.dtype, case.attention, case.architecture)
    embeds, cache = text.embeddings(case.batch, case.tokens), text.cache(case.batch, case.past)
    measured = measure_call(
        text.model, lambda: text(embeds, cache), cached=lambda: cache_tensors(cache), experts_hit=case.experts_hit
    )
    rows = [(each.operator, each.traffic.read_bytes, each.traffic.written_bytes) for each in measured.operator_traffic]
    return {
        "flops": measured.flops,
        "io_bytes": measured.io_bytes,
        "peak_bytes": measured.activation_peak_bytes,
        "resident_peak_bytes": measured.resident_peak_bytes,
        "peak_operator": measured.peak_operator,
        "operators": digest(rows),
    }
