"""Kernels of an inference engine worked out by hand from shapes: what tests of several models have in common.

A kernel is its path, its operator, the bytes that it reads and writes, and the FLOPs of its product. Everything is in
bfloat16; nothing here asks the package how many there are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from modelmeter.walk import OperatorRecord

#: bytes of an element, of a float32 and of an index
E, F4, INDEX = 2, 4, 8

#: a small decoder of the Qwen family, as `Text` and as a configuration takes it
QWEN_TEXT: Final[dict[str, Any]] = {
    "hidden": 48,
    "inner": 80,
    "heads": 4,
    "kv_heads": 2,
    "head_dim": 12,
    "vocabulary": 100,
    "bias": True,
    "axes": 3,
}
QWEN_OVERRIDES: Final = (
    "decoder.hidden_size=48",
    "decoder.intermediate_size=80",
    "decoder.num_attention_heads=4",
    "decoder.num_key_value_heads=2",
    "decoder.mrope_section=[1,2,3]",
    "decoder.vocab_size=100",
    "decoder.num_hidden_layers=1",
)


class Kernel(NamedTuple):
    path: str
    aten: str
    read: int
    written: int
    flops: int = 0


def kernels(records: Iterable[OperatorRecord]) -> list[Kernel]:
    """What a walk ran."""
    return [
        Kernel(each.path, each.aten, each.bytes_read, each.bytes_written, each.tensor_core_flops) for each in records
    ]


def under(path: str, found: Iterable[Kernel]) -> list[Kernel]:
    """The same within a module."""
    return [each._replace(path=".".join(name for name in (path, each.path) if name)) for each in found]


def product(path: str, rows: int, inner: int, outer: int, *, bias: bool) -> Kernel:
    """Rows times a weight."""
    read = E * (rows * inner + inner * outer + (outer if bias else 0))
    return Kernel(path, f"aten.{'addmm' if bias else 'mm'}.default", read, E * rows * outer, 2 * rows * inner * outer)


def copied(path: str, nbytes: int) -> Kernel:
    """A copy into another order."""
    return Kernel(path, "aten.clone.default", nbytes, nbytes)


def summed(path: str, nbytes: int) -> Kernel:
    """Two tensors of as many bytes to their sum."""
    return Kernel(path, "aten.add.Tensor", 2 * nbytes, nbytes)


def norm(path: str, rows: int, width: int) -> Kernel:
    """RMS norm as one kernel."""
    x = E * rows * width
    return Kernel(path, "fused.rms_norm", x + E * width, x)


def sum_and_norm(path: str, rows: int, width: int) -> Kernel:
    """A residual sum and its RMS norm as one kernel, in place."""
    x = E * rows * width
    return Kernel(path, "fused.add_rms_norm", 2 * x + E * width, 2 * x)


def norm_written_out(path: str, rows: int, width: int, *, residual: bool = False) -> list[Kernel]:
    """RMS norm operator by operator: in float32, cast, then weighted; of a sum in float32, which is cast too."""
    x, wide, one = E * rows * width, F4 * rows * width, F4 * rows
    into = Kernel(path, "aten._to_copy.default", x, wide)
    back = Kernel(path, "aten._to_copy.default", wide, x)
    return [
        into,
        *((into, summed(path, wide), back) if residual else ()),
        Kernel(path, "aten.pow.Tensor_Scalar", wide, wide),
        Kernel(path, "aten.mean.dim", wide, one),
        Kernel(path, "aten.add.Tensor", one, one),
        Kernel(path, "aten.rsqrt.default", one, one),
        Kernel(path, "aten.mul.Tensor", wide + one, wide),
        back,
        Kernel(path, "aten.mul.Tensor", x + E * width, x),
    ]


@dataclass(frozen=True, kw_only=True)
class Text:
    """A decoder of one layer, as an engine runs it over `tokens` of each page behind `past` in the cache."""

    engine: str
    pages: int
    tokens: int
    past: int = 0
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    bias: bool = False
    qk_norm: bool = False
    norm_after_rotary: bool = False
    axes: int = 1
    output_norms: bool = False

    @property
    def rows(self) -> int:
        return self.pages * self.tokens

    def layer(self) -> list[Kernel]:
        """The layer, and the norm after it."""
        rows, hidden = self.rows, self.hidden
        query, key = E * rows * self.heads * self.head_dim, E * rows * self.kv_heads * self.head_dim
        given = E * self.pages * self.past * self.kv_heads * self.head_dim
        attention, both = "layers.0.self_attn", (self.heads + 2 * self.kv_heads) * self.head_dim
        tables = rows * (self.axes * INDEX + E * self.head_dim)
        scores = 2 * 2 * self.pages * self.heads * self.tokens * (self.past + self.tokens) * self.head_dim
        normed = [
            norm(f"{attention}.q_norm", rows * self.heads, self.head_dim),
            norm(f"{attention}.k_norm", rows * self.kv_heads, self.head_dim),
        ]
        if self.engine == "sglang":
            normed = [Kernel(attention, "fused.qk_norm", query + key + 2 * E * self.head_dim, query + key)]
        return [
            norm("layers.0.input_layernorm", rows, hidden),
            product(f"{attention}.qkv_proj", rows, hidden, both, bias=self.bias),
            *(normed if self.qk_norm and not self.norm_after_rotary else []),
            Kernel(attention, "fused.rotary", query + key + tables, query + key),
            *(normed if self.qk_norm and self.norm_after_rotary else []),
            Kernel(attention, "fused.write_cache", 2 * key + INDEX * rows, 2 * key),
            *([copied(attention, query)] if self.engine == "sglang" and rows > 1 else []),
            # with the log-sum-exp of each query and head
            Kernel(attention, "fused.attention", query + 2 * (given + key), query + F4 * rows * self.heads, scores),
            product(f"{attention}.o_proj", rows, self.heads * self.head_dim, hidden, bias=False),
            *([norm("layers.0.post_self_attn_layernorm", rows, hidden)] if self.output_norms else []),
            sum_and_norm("layers.0.post_attention_layernorm", rows, hidden),
            product("layers.0.mlp.gate_up_proj", rows, hidden, 2 * self.inner, bias=False),
            Kernel("layers.0.mlp", "fused.silu_and_mul", 2 * E * rows * self.inner, E * rows * self.inner),
            product("layers.0.mlp.down_proj", rows, self.inner, hidden, bias=False),
            *([norm("layers.0.post_mlp_layernorm", rows, hidden)] if self.output_norms else []),
            sum_and_norm("norm", rows, hidden),
        ]

    def embedded(self, image_tokens: int = 0) -> list[Kernel]:
        """The prompts' rows, and the image tokens of all pages put among them."""
        row, image = E * self.hidden, E * self.hidden * image_tokens
        embedded = Kernel("embed_tokens", "aten.embedding.default", self.rows * (row + INDEX), self.rows * row)
        joined = Kernel("", "aten.cat.default", image, image)
        if self.engine == "vllm":
            # under a mask of a byte a position; every pass copies its embeddings
            put = Kernel("", "aten.masked_scatter_.default", self.rows + image, self.rows * row)
            return [embedded, *((joined, put) if image_tokens else ()), copied("", self.rows * row)]
        if not image_tokens:
            return [embedded]
        return [
            joined,
            Kernel("", "aten.isin.Tensor_Tensor", INDEX * self.rows, self.rows),
            Kernel("", "aten.sum.default", self.rows, INDEX),
            embedded,
            Kernel("", "aten.nonzero.default", self.rows, INDEX * image_tokens),
            Kernel("", "aten.index_put_.default", INDEX * image_tokens + image, image),
        ]

    def head(self) -> list[Kernel]:
        """The last positions, their logits in float32, the largest of each as the next token."""
        last, logits = E * self.pages * self.hidden, self.pages * self.vocabulary
        gathered = Kernel("", "aten.index.Tensor", last + INDEX * self.pages, last)
        return [
            *([gathered] if self.engine == "vllm" or self.tokens > 1 else []),
            product("lm_head", self.pages, self.hidden, self.vocabulary, bias=False),
            Kernel("", "aten._to_copy.default", E * logits, F4 * logits),
            Kernel("", "aten.argmax.default", F4 * logits, INDEX * self.pages),
            *(
                [Kernel("", "aten._to_copy.default", INDEX * self.pages, F4 * self.pages)]
                if self.engine == "vllm"
                else []
            ),
        ]

    def all(self, image_tokens: int = 0) -> list[Kernel]:
        """A pass without its vision."""
        return [*self.embedded(image_tokens), *self.layer(), *self.head()]
