"""reports/precision.md: sizes of packed weights, published beside ours. `python -m benchmarks.precision`."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from modelmeter import load_cost_model
from modelmeter.layers.quantisation import SCHEMES

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
