"""reports/precision.md: sizes of packed weights, published beside ours. `python -m benchmarks.precision`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from modelmeter import load_cost_model
from modelmeter.layers import Embedding, LMHead
from modelmeter.layers.code import Code
from modelmeter.layers.decoder.decoder import Decoder
from modelmeter.layers.parallel import Parallel
from modelmeter.layers.quantisation import SCHEMES
from modelmeter.models.deepseek_ocr.executions import EXECUTIONS

REPORT: Final = Path(__file__).parents[1] / "reports" / "precision.md"

#: what the published bfloat16 file of DeepSeek-OCR's decoder has beside its tensors, header and tokenizer: their size
#: is taken from that file, so it judges no figure here
HEADER: Final = 5_243_712
#: routers and norms of that decoder, float32 in files of GGUF and bfloat16 here
FLOAT32: Final = 933_120

GIB: Final = 2**30


class Published(NamedTuple):
    """A published size: of what, in bytes as it was rounded, and half of the last digit that was given.

    beside: bytes of a file beside its tensors as they lie here: header and tokenizer, and what is float32 there; None:
    not known.
    """

    what: str
    model: str
    precision: str
    decoder: bool
    nbytes: float
    rounding: float
    source: str
    beside: int | None = HEADER + 2 * FLOAT32


MIB: Final = 2**20
_LIGHTON: Final = "Hugging Face wangjazz/LightOnOCR-2-1B-gguf; the unit is not said, taken as MiB"
_GGUF: Final = "Hugging Face sabafallah/DeepSeek-OCR-GGUF"
_UNLIMITED: Final = "model card sahilchachra/Unlimited-OCR-GGUF, 2026 (the same decoder)"
PUBLISHED: Final = (
    Published(
        "DeepSeek-OCR, GGUF BF16",
        "deepseek_ocr",
        "unquantised",
        True,
        5_876_578_112,
        0,
        f"{_GGUF}, size as LFS has it, 2026-06-11",
    ),
    Published("DeepSeek-OCR, GGUF Q8_0", "deepseek_ocr", "gguf_q8_0", True, 3.13e9, 0.005e9, _GGUF),
    Published("DeepSeek-OCR, GGUF Q4_K_M", "deepseek_ocr", "gguf_q4_k_m", True, 1.95e9, 0.005e9, _GGUF),
    Published("Unlimited-OCR, GGUF BF16", "deepseek_ocr", "unquantised", True, 5.47 * GIB, 0.005 * GIB, _UNLIMITED),
    Published("Unlimited-OCR, GGUF Q6_K", "deepseek_ocr", "gguf_q6_k", True, 2.43 * GIB, 0.005 * GIB, _UNLIMITED),
    Published("Unlimited-OCR, GGUF Q5_K_S", "deepseek_ocr", "gguf_q5_k_s", True, 1.95 * GIB, 0.005 * GIB, _UNLIMITED),
    Published("Unlimited-OCR, GGUF Q4_K_M", "deepseek_ocr", "gguf_q4_k_m", True, 1.82 * GIB, 0.005 * GIB, _UNLIMITED),
    Published(
        "LightOnOCR-2-1B, GGUF Q8_0",
        "lighton_ocr_2_1b",
        "gguf_q8_0",
        True,
        610 * MIB,
        0.5 * MIB,
        _LIGHTON,
        None,
    ),
    Published(
        "LightOnOCR-2-1B, GGUF Q4_K_M",
        "lighton_ocr_2_1b",
        "gguf_q4_k_m",
        True,
        378 * MIB,
        0.5 * MIB,
        _LIGHTON,
        None,
    ),
    Published(
        "DeepSeek-OCR, bfloat16, loaded by vLLM",
        "deepseek_ocr",
        "unquantised",
        False,
        6.2304 * GIB,
        0.00005 * GIB,
        "unslothai/unsloth#3555, vLLM 0.11.2.dev26, A100-80GB, 2025-11-20",
    ),
    Published(
        "DeepSeek-OCR, bfloat16, loaded by vllm-ascend",
        "deepseek_ocr",
        "unquantised",
        False,
        6.2162 * GIB,
        0.00005 * GIB,
        "vllm-project/vllm-ascend PR 3874, 2025-11-02",
    ),
)


def ours(published: Published) -> int:
    """Bytes of the same file or load."""
    model = load_cost_model(["engine=vllm", f"precision={published.precision}"], model=published.model).model
    weights = model.forward_memory_weight()
    return weights - model.vision_weight_bytes() + (published.beside or 0) if published.decoder else weights


def published_rows() -> list[str]:
    """A line of the table for each published size."""
    rows = []
    for each in PUBLISHED:
        nbytes = ours(each)
        agrees = _agrees(each, nbytes)
        stated = f"{each.nbytes:,.0f}" if not each.rounding else f"{each.nbytes / 1e9:.3f} GB"
        rows.append(f"| {each.what} | {stated} | {nbytes:,} | {agrees} | {each.source} |")
    return rows


def _agrees(published: Published, nbytes: int) -> str:
    """How far ours is from a published size, in words."""
    off = nbytes - published.nbytes
    if published.beside is None:
        return f"{-off / MIB:.1f} MiB less, without header and tokenizer"
    if not off:
        return "its header is the difference"
    return "within its rounding" if abs(off) <= published.rounding else f"{off / published.nbytes:+.2%}"


#: GiB of a Qwen3 whose size is not said, on each of four GPUs: vllm#17469, vLLM 0.8.5, 2025-04-29
LOADED_OF_FOUR: Final = 14.2474


def qwen3_30b_a3b(ranks: int) -> int:
    """Bytes of Qwen3-30B-A3B in bfloat16 on one of so many devices, from its published sizes."""
    code = replace(Code(EXECUTIONS["vllm"]), parallel=Parallel(ranks))
    decoder = Decoder(
        hidden_size=2048,
        intermediate_size=6144,
        num_hidden_layers=48,
        num_attention_heads=32,
        num_key_value_heads=4,
        max_position_embeddings=40_960,
        n_routed_experts=128,
        num_experts_per_tok=8,
        n_shared_experts=0,
        moe_intermediate_size=768,
        head_dim=128,
        qk_norm=True,
        code=code,
    )
    parts = (decoder, Embedding(151_936, 2048, split=True, code=code), LMHead(2048, 151_936, code=code))
    return sum(part.forward_memory_weight() for part in parts)


def split_rows() -> list[str]:
    """A line for each model on one of several devices."""
    rows = []
    for what, loaded, nbytes, source in (
        ("Qwen3-30B-A3B, vLLM, one of 4", LOADED_OF_FOUR, qwen3_30b_a3b(4), "vllm#17469, vLLM 0.8.5, 2025-04-29"),
        ("DeepSeek-OCR, vLLM, one of 2", None, _deepseek("vllm"), "by hand in docs/parallel.md"),
        ("DeepSeek-OCR, SGLang, one of 2", None, _deepseek("sglang"), "by hand in docs/parallel.md"),
    ):
        off = "" if loaded is None else f"{nbytes / (loaded * GIB) - 1:+.2%}"
        shown = "–" if loaded is None else f"{loaded} GiB"
        rows.append(f"| {what} | {shown} | {nbytes:,} | {nbytes / GIB:.4f} | {off} | {source} |")
    return rows


def _deepseek(engine: str) -> int:
    """Bytes of DeepSeek-OCR on one of two devices."""
    model = load_cost_model([f"engine={engine}", "parallel.tensor=2"]).model
    return int(model.forward_memory_weight())


def scheme_rows(model: str) -> list[str]:
    """A line for each scheme: all weights of a model, and those of its decoder's layers, embedding and head."""
    rows = []
    for name in ("unquantised", *SCHEMES):
        execution = "vllm" if name == "unquantised" or "vllm" in SCHEMES[name].executions else "published"
        layers = load_cost_model([f"execution={execution}", f"precision={name}"], model=model).model
        weights, vision = layers.forward_memory_weight(), layers.vision_weight_bytes()
        parameters = sum(each.numel for path, each in layers.named_parameters() if path.startswith("layers."))
        packed = sum(each.nbytes for path, each in layers.named_parameters() if path.startswith("layers."))
        rows.append(
            f"| `{name}` | {weights:,} | {weights / GIB:.2f} | {weights - vision:,} | {8 * packed / parameters:.2f} |"
        )
    return rows


def text() -> str:
    """The report."""
    return "\n".join(
        [
            "# Packed weights, published beside ours",
            "",
            "Written by `make precision`. Of files of GGUF the decoder alone, vision being another; the header and the",
            f"tokenizer, {HEADER:,} bytes, are what is left of the bfloat16 file, and routers and norms count as",
            "float32, as files have them. Loads are a log's figure of weights on the device.",
            "",
            "| what | published | ours, bytes | | source |",
            "|---|---:|---:|---|---|",
            *published_rows(),
            "",
            "Header and tokenizer of LightOnOCR-2's files are not published; what both leave for them is the same",
            "6 MiB but for what the sizes are rounded to. The two loads are 0.26 and 0.04 % above the parameters:",
            "what else the engines hold is not published.",
            "",
            "## More than one GPU",
            "",
            "Weights of one device in bfloat16. The published load is of a Qwen3 whose size is not said; the sizes of",
            "Qwen3-30B-A3B come near. Its table of the rotary embedding, 10 MiB, is in the load and not in ours.",
            "",
            "| what | published | ours, bytes | GiB | | source |",
            "|---|---:|---:|---:|---|---|",
            *split_rows(),
            "",
            "## DeepSeek-OCR by scheme",
            "",
            "Derived from the layouts, not published. Bits: a weight of the decoder's layers on average, with what",
            "stays bfloat16. vLLM's layers; of `bnb_nf4` those of the published code.",
            "",
            "| precision | all weights, bytes | GiB | without vision, bytes | bits a weight |",
            "|---|---:|---:|---:|---:|",
            *scheme_rows("deepseek_ocr"),
            "",
        ]
    )


if __name__ == "__main__":
    REPORT.write_text(text(), encoding="utf-8")
