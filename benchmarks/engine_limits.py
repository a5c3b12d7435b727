"""reports/engine-limits.md: what engines printed of memory, beside ours. `python -m benchmarks.engine_limits`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from textwrap import fill
from typing import Final, NamedTuple

from modelmeter import load_cost_model
from modelmeter.devices import PageKind, load_device
from modelmeter.devices.engine import Limits, Pool, limits_of
from modelmeter.devices.engine_limits import engine_limits
from modelmeter.memory import GIB
from modelmeter.models.common.profile_run import logit_bytes

REPORT: Final = Path(__file__).parents[1] / "reports" / "engine-limits.md"

_LAB: Final = "fgbelidji/llm-lab, vLLM 0.12, 0.9 of the memory, max_model_len 8192"
_ASCEND: Final = "vllm-project/vllm-ascend PR 3874, 2025-11-02"
_PLANNER: Final = "llm-d-planner, vLLM 0.11 on an H100"
_UNSLOTH: Final = "unslothai/unsloth#3555, vLLM 0.11.2.dev26, A100-80GB, 2025-11-20"


class Activations(NamedTuple):
    """Activations that vLLM printed of a model, its vocabulary and hidden width, tokens and requests of the run."""

    what: str
    vocabulary: int
    width: int
    tokens: int
    requests: int
    sampler: str
    gib: float
    source: str

    @property
    def nbytes(self) -> int:
        """What the sampler holds, by `models.common.profile_run`, with hidden states."""
        states = (self.tokens + 2 * self.requests) * self.width * 2
        return self.vocabulary * self.requests * logit_bytes(self.sampler, self.requests) + states


PRINTED: Final = (
    Activations("gpt-oss-20b", 201_088, 2880, 8192, 1024, "sort", 7.38, _PLANNER),
    Activations("gpt-oss-120b", 201_088, 2880, 8192, 1024, "sort", 7.38, _PLANNER),
    Activations("Llama-3.1-8B", 128_256, 4096, 8192, 1024, "sort", 4.76, _PLANNER),
    Activations("Llama-3.3-70B, 2 GPUs", 128_256, 8192, 8192, 1024, "sort", 4.84, _PLANNER),
    Activations("Qwen3-0.6B", 151_936, 1024, 8192, 1024, "sort", 5.56, _PLANNER),
    Activations("Qwen3-32B", 151_936, 5120, 8192, 1024, "sort", 5.64, _PLANNER),
    Activations("Qwen2.5-7B, 4 bit", 152_064, 3584, 2048, 256, "sort", 1.42, "vllm#13882, RTX 4060, 2025-02-26"),
    Activations("Qwen3-14B, vLLM 0.16", 151_936, 5120, 8192, 1024, "sort", 5.64, "llm-d-planner"),
    Activations("Qwen3-14B, vLLM 0.17", 151_936, 5120, 8192, 1024, "kernel", 2.23, "llm-d-planner"),
    Activations("Mistral-Small-3.2-24B, with images", 131_072, 5120, 8192, 1024, "sort", 2.12, _PLANNER),
)


def _capacities() -> Iterator[tuple[str, ...]]:
    model = load_cost_model(["engine=vllm"])
    weights = model.page(1275, 1650).prefill.weight_bytes
    for name, tokens in (("A100-80G", 1_115_616), ("L40S", 567_488), ("L4", 215_680)):
        device = load_device(name)
        limits = limits_of(model, device)
        pool = Pool.of(limits, device.memory_bytes, weights, 12 * 2 * 1280 * 2)
        outside = int(0.9 * device.memory_bytes) - weights - tokens * pool.token_bytes
        yield (
            name,
            f"{tokens:,}",
            f"{pool.tokens:,}",
            f"{100 * (pool.tokens / tokens - 1):+.2f}%",
            f"{outside / 1e9:.2f} GB",
            f"{limits.reserve_bytes / 1e9:.2f} GB",
        )


def _ascend() -> Iterator[tuple[str, ...]]:
    limits = Limits(
        utilization=1.0,
        reserve_bytes=0,
        block_size=128,
        max_num_seqs=None,
        seqs_given=False,
        max_num_batched_tokens=None,
        max_model_len=8192,
    )
    pool = Pool.of(limits, 51_114_070_016, 0, 12 * 2 * 1280 * 2)
    weights = f"{load_cost_model(['engine=vllm']).model.forward_memory_weight() / GIB:.4f} GiB"
    cache = "cache of 51,114,070,016 bytes, blocks of 128"
    yield cache, "831,872 tokens", f"{pool.tokens:,} tokens", _ASCEND
    yield "requests of 8,192 tokens in it", "101.55x", f"{pool.tokens / 8192:.2f}x", _ASCEND
    yield "weights", "6.2162 GiB", weights, _ASCEND
    yield "weights", "6.2304 GiB", weights, _UNSLOTH


def _budget() -> tuple[str, ...]:
    run = load_cost_model(["engine=vllm"]).profile_run(2048, 256, "sort")
    assert run.budget is not None
    ours = f"{run.budget.tokens} tokens, {run.budget.images} images"
    return "encoder cache budget, images profiled", "2048 tokens, 2 images", ours, _UNSLOTH


def _activations() -> Iterator[tuple[str, ...]]:
    for each in PRINTED:
        ours = each.nbytes / GIB
        off = f"{100 * (ours / each.gib - 1):+.1f}%"
        yield each.what, f"{each.gib:.2f} GiB", f"{ours:.2f} GiB", off, each.source


def _pages() -> Iterator[tuple[str, ...]]:
    """What pages hold beside what is profiled, as vLLM is set by default, and with 16 requests."""
    for name in ("deepseek_ocr", "deepseek_ocr2", "unlimited_ocr", "qwen2_5_vl_7b", "qwen3_vl_2b", "paddleocr_vl"):
        for requests in (256, 16):
            model = load_cost_model(["engine=vllm", f"engine.max_num_seqs={requests}"], model=name)
            kinds = [PageKind(page=model.page(1275, 1650), output_tokens=500)]
            now = engine_limits(model, load_device("L40S"), kinds).now
            assert now.run is not None
            vision, peak, pages, beyond = (
                f"{nbytes / 1e6:,.0f}"
                for nbytes in (now.run.vision_bytes, now.run.peak_bytes, now.images.bytes, now.beyond_bytes)
            )
            yield f"`{name}`", str(requests), vision, f"{peak} ({now.run.peak_part})", pages, beyond


def main() -> None:
    """Write the report."""
    parts = [
        "# What limits engines, printed beside ours",
        "Written by `make engine-limits`. How each figure comes about is in docs/limits.md.",
        "## KV pools of DeepSeek-OCR",
        f"{_LAB}. Fitted: `engine.other_bytes`, one figure for all three; the rest of the reserve is the profile run, "
        "counted. *Outside*: what the printed pool leaves of the share beside the weights. It differs by card because "
        "the device files have the memory that nvidia-smi tells, of which CUDA has less: 79.18 of 79.65 GiB on an H100 "
        "(llm-d-planner), 79.15 of 80.00 on an A100 (vllm PR 11578).",
        _table(("device", "printed, tokens", "ours", "", "outside", "our reserve"), _capacities()),
        "Nothing was fitted to these; the loads are 0.04 and 0.26 % above the parameters, and what else they hold is "
        "not published.",
        _table(("what", "printed", "ours", "source"), [*_ascend(), _budget()]),
        "## Activations of the profile run",
        "Of models that are not here, by their vocabulary and hidden width alone: the sampler's bytes a logit "
        "(models/common/profile_run.py), read in the code, not fitted. Printed activations go by the vocabulary and "
        "the number of requests, not by the size of a model. Requests and tokens are vLLM's defaults for the device, "
        "which the source does not state. The last row is not explained: as 0.17 samples it would be 1.85 GiB.",
        _table(("model", "printed", "ours", "", "source"), _activations()),
        "CUDA graphs took 0.10 (Qwen3-0.6B), 0.39 (gpt-oss-20b) and 1.03 GiB (gpt-oss-120b) in the same table, and "
        "memory that is not torch's 0.13 GiB; half a GiB is gone before an engine starts (vllm#50576: \"Free memory on "
        'device (46.93/47.4 GiB) on startup"). So 1 GiB is assumed for context and graphs where nothing else is said.',
        "## Letter pages beside what is profiled",
        "1275x1650 on an L40S, MB. *Vision*: of the images that vLLM takes in its profile run. *Reserved*: the largest "
        "part of that run. *Pages*: encoding as many of these pages as the encoder budget lets run at once. *Beyond*: "
        "what the engine then takes from the memory that it left alone.",
        _table(("checkpoint", "requests", "vision", "reserved", "pages", "beyond"), _pages()),
    ]
    wrapped = [part if part.startswith("|") else fill(part, 118, break_long_words=False) for part in parts]
    REPORT.write_text("\n\n".join(wrapped) + "\n", encoding="utf-8")


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is words, and whose last is where it is called source."""
    sides = ["---" if head == "source" or not index else "---:" for index, head in enumerate(heads)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, sides, *rows))


if __name__ == "__main__":
    main()
