"""What others measured on DeepSeek-OCR's network and published with its device and workload, and what each leaves open.

A figure without a source is not used; one whose source lacks a device, or is of another network, stands in `NOT_USED`,
with the reason. To add one: a `Run` with its source and its cells, each of which says what of it the source does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

#: figures of a closed loop, of a throughput, or of memory, and the unit that a source gives them in
REQUESTS: Final = "requests_per_s"
TTFT: Final = "ttft_s"
TPOT: Final = "tpot_s"
LATENCY: Final = "latency_s"
TOKENS: Final = "output_tokens_per_s"
PAGES: Final = "pages_per_s"
A_DAY: Final = "pages_per_day"
POOL: Final = "kv_pool_tokens"

#: whether a constant of ours was fitted to a figure
FITTED: Final = "fitted"
HELD_OUT: Final = "held out"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One published row: a workload, and its figures in seconds, or a second, or tokens.

    page: pixels; text_tokens: of a prompt without an image. steps: decode steps a request, one less than the tokens
    that a source counts, since prefill yields the first. in_flight: requests of a closed loop; None: the most that fit.
    used: "fitted" or "held out".
    """

    name: str
    page: tuple[int, int] | None = None
    text_tokens: int = 0
    steps: int
    in_flight: int | None = None
    overrides: tuple[str, ...] = ()
    figures: Mapping[str, Fraction]
    used: str = HELD_OUT


@dataclass(frozen=True, kw_only=True)
class Run:
    """Cells that one source gives for one device and engine. stated, assumed: of the workload, by the source and here.

    judged: whether the source says enough for a ratio to mean something of the prediction.
    """

    title: str
    device: str
    software: str
    overrides: tuple[str, ...]
    source: str
    url: str
    stated: str
    assumed: str
    judged: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class NotUsed:
    """A published figure that lacks what a prediction needs."""

    figure: str
    source: str
    reason: str


#: a letter page rendered at 144 dpi, as the published PDF program renders it
LETTER: Final = (1224, 1584)


def _jina(size: tuple[int, int], in_flight: int, requests: str, tokens: str, ttft: str, tpot: str) -> Cell:
    """A row of the table of sgl-project/sglang#40112: tokens a request are those a second over requests a second."""
    rate = Fraction(requests)
    return Cell(
        name=f"{size[0]}x{size[1]}, {in_flight} in flight",
        page=size,
        steps=round(Fraction(tokens) / rate) - 1,
        in_flight=in_flight,
        figures={REQUESTS: rate, TTFT: Fraction(ttft), TPOT: Fraction(tpot) / 1000},
        used=FITTED if size == (1275, 1650) else HELD_OUT,
    )


_COOKBOOK: Final = "SGLang cookbook, DeepSeek-OCR, section 5.1 Speed Benchmark"
_COOKBOOK_URL: Final = "https://docs.sglang.io/cookbook/autoregressive/DeepSeek/DeepSeek-OCR"
_ONE_AT_ONCE: Final = {"text_tokens": 197, "steps": 277, "in_flight": 1}
_MANY_AT_ONCE: Final = {"text_tokens": 302, "steps": 187, "in_flight": 86}

RUNS: Final = (
    Run(
        title="Jina-OCR, nine cells",
        device="RTX-PRO-6000-Server",
        software="SGLang",
        overrides=("engine=sglang", "workload.max_num=9", "engine.max_model_len=4096", "engine.max_num_seqs=16"),
        source="sgl-project/sglang, pull request 40112, concurrency by input resolution",
        url="https://github.com/sgl-project/sglang/pull/40112",
        stated="RTX PRO 6000 Blackwell of 96 GB, bfloat16, streaming, seven pages in turn, 7 / 28 / 56 requests "
        "with 1 / 4 / "
        "16 in flight after one to warm up, contexts of 4096, CUDA graphs to 16, no radix cache; TTFT is the "
        "mean to the "
        "first chunk",
        assumed="the Server Edition, which the source does not name; the network is DeepSeek-OCR's, with up to "
        "9 crops; the "
        "host's seconds are fitted to the cells of 1275x1650",
        judged=True,
        cells=(
            _jina((1275, 1650), 1, "0.97", "585", "0.24", "1.32"),
            _jina((1275, 1650), 4, "2.22", "1377", "0.20", "2.46"),
            _jina((1275, 1650), 16, "4.39", "2694", "0.34", "4.93"),
            _jina((850, 1100), 1, "0.95", "608", "0.20", "1.33"),
            _jina((850, 1100), 4, "2.18", "1388", "0.17", "2.49"),
            _jina((850, 1100), 16, "4.23", "2696", "0.33", "4.93"),
            _jina((612, 792), 1, "0.91", "581", "0.24", "1.35"),
            _jina((612, 792), 4, "2.07", "1324", "0.25", "2.51"),
            _jina((612, 792), 16, "4.24", "2716", "0.33", "4.87"),
        ),
    ),
    Run(
        title="DeepSeek-OCR, text",
        device="MI300X",
        software="SGLang 0.5.7",
        overrides=("engine=sglang", "runtime.dtype=float16"),
        source=_COOKBOOK,
        url=_COOKBOOK_URL,
        stated="text without an image, float16; 10 requests with 1,972 input and 2,784 output tokens, one at a "
        "time; 1,000 "
        "requests with 301,698 and 188,375, 85.53 at once",
        assumed="every request is the average one, 86 at once; no published kernel tables are of this device; the "
        "host's seconds a prefill are fitted to the time per output token with 86 in flight",
        judged=True,
        cells=(
            Cell(
                name="1 in flight",
                **_ONE_AT_ONCE,  # type: ignore[arg-type]
                figures={TOKENS: Fraction("625.26"), TTFT: Fraction("0.02159"), TPOT: Fraction("0.00147")},
            ),
            Cell(
                name="86 in flight",
                **_MANY_AT_ONCE,  # type: ignore[arg-type]
                figures={TOKENS: Fraction("11602.84"), TPOT: Fraction("0.00742")},
                used=FITTED,
            ),
        ),
    ),
    Run(
        title="DeepSeek-OCR-2, text",
        device="H200",
        software="SGLang",
        overrides=("engine=sglang",),
        source="SGLang cookbook, DeepSeek-OCR-2, Speed Benchmark",
        url="https://docs.sglang.io/cookbook/autoregressive/DeepSeek/DeepSeek-OCR-2",
        stated="text without an image, one at a time and 100 at once",
        assumed="its decoder is DeepSeek-OCR's; requests as long as those of the benchmark on the MI300X, and "
        "as many at once",
        judged=True,
        cells=(
            Cell(name="1 in flight", **_ONE_AT_ONCE, figures={TPOT: Fraction("0.00118")}),  # type: ignore[arg-type]
            Cell(name="86 in flight", **_MANY_AT_ONCE, figures={TPOT: Fraction("0.00779")}),  # type: ignore[arg-type]
        ),
    ),
    Run(
        title="The repository's PDF program",
        device="A100-40G",
        software="vLLM 0.8.5",
        overrides=("engine=vllm",),
        source="README, config.py and run_dpsk_ocr_pdf.py of the repository deepseek-ai/DeepSeek-OCR",
        url="https://github.com/deepseek-ai/DeepSeek-OCR",
        stated="PDF at 144 dpi, gundam with at most 6 crops, 100 sequences at once, the markdown prompt; README, "
        'vLLM-Inference, "pdf: concurrency ~2500tokens/s(an A100-40G)"',
        assumed="letter pages; output tokens as named; the host as carried over to vLLM's server, though the program "
        "prepares all pages before the first is sent",
        judged=False,
        cells=tuple(
            Cell(
                name=f"{steps} output tokens",
                page=LETTER,
                steps=steps,
                in_flight=100,
                figures={TOKENS: Fraction(2500)},
            )
            for steps in (500, 1000, 2000)
        ),
    ),
    *(
        Run(
            title=f"A batch pipeline with a serial client, {device}",
            device=device,
            software="vLLM 0.12",
            overrides=("engine=vllm", "client=serial_batches"),
            source="fgbelidji/llm-lab, batch-ocr-inference",
            url="https://github.com/fgbelidji/llm-lab/tree/main/batch-ocr-inference",
            stated="pages encoded as PNG one after another, a batch sent at once, the slowest waited for, "
            "pictures written, "
            "streaming and upload in the time; utilisation 0.9, contexts of 8192",
            assumed="letter pages of 1275x1650, batches of 4 (the program's default) or 64, 0.6 s of client a page "
            "(three PNG encodes between 0.18 and 2.0 s), output tokens as named. It judges the client's model alone: "
            "nothing of an engine is fitted to it",
            judged=False,
            cells=(
                *(
                    Cell(
                        name=f"{steps} output tokens, batches of {batch}",
                        page=(1275, 1650),
                        steps=steps,
                        overrides=(f"client.batch_size={batch}",),
                        figures={PAGES: Fraction(pages)},
                    )
                    for batch in (4, 64)
                    for steps in (1000, 500, 2000)
                ),
                Cell(
                    name="KV capacity",
                    page=(1275, 1650),
                    steps=1000,
                    figures={POOL: Fraction(tokens)},
                    used=FITTED,
                ),
            ),
        )
        for device, pages, tokens in (
            ("A100-80G", "1.52", 1_115_616),
            ("L40S", "1.38", 567_488),
            ("L4", "0.65", 215_680),
        )
    ),
    Run(
        title="The authors' production",
        device="A100-40G",
        software="not stated",
        overrides=("engine=vllm",),
        source="Wei, Sun, Li: DeepSeek-OCR: Contexts Optical Compression, arXiv 2510.18234",
        url="https://arxiv.org/abs/2510.18234",
        stated='pages, to make training data for language models; abstract, "200k+ pages per day (a single A100-40G)"; '
        'section 1, "33 million pages of data per day ... using 20 nodes (each with 8 A100-40G GPUs)", 206,250 '
        "of them on "
        "one GPU",
        assumed="vLLM, letter pages, mode and output tokens as named, the largest batch that fits",
        judged=False,
        cells=tuple(
            Cell(
                name=f"mode {mode}, {steps} output tokens",
                page=LETTER,
                steps=steps,
                overrides=(f"workload={mode}",),
                figures={A_DAY: Fraction(200_000)},
            )
            for mode in ("small", "base", "gundam")
            for steps in (500, 1000, 2000)
        ),
    ),
    Run(
        title="olmOCR-2, one page at a time",
        device="RTX-A6000",
        software="vLLM, no version stated",
        overrides=("checkpoint=olmocr_2_7b", "engine=vllm"),
        source="allenai/olmocr, issue 370",
        url="https://github.com/allenai/olmocr/issues/370",
        stated="olmOCR-2-7B-1025 on an A6000 of 48 GB, the benchmark's pages; vLLM's log over ten seconds with one "
        'request running and no prompt among them, "Avg generation throughput: 42.9 tokens/s"',
        assumed="the RTX A6000; weights in bfloat16, as that name has them; a letter page of 1275x1650 and 1000 output "
        "tokens, which move a step's time by less than 1 %",
        judged=True,
        cells=(
            Cell(
                name="1 in flight",
                page=(1275, 1650),
                steps=1000,
                in_flight=1,
                figures={TPOT: 1 / Fraction("42.9")},
            ),
        ),
    ),
    Run(
        title="LightOnOCR-2, its report",
        device="H100-SXM",
        software="vLLM, no version stated",
        overrides=("checkpoint=lighton_ocr_2_1b", "engine=vllm"),
        source="model card of lightonai/LightOnOCR-2-1B",
        url="https://huggingface.co/lightonai/LightOnOCR-2-1B",
        stated='"5.71 pages/s on a single H100 (~493k pages/day)"; pages rendered to a longer side of 1540 pixels; '
        "benchmarks ran on vLLM",
        assumed="the SXM card; letter pages of 1190x1540, output tokens as named, the largest batch that fits; the "
        "host's seconds are those fitted to DeepSeek-OCR's pages, in one worker",
        judged=False,
        cells=tuple(
            Cell(
                name=f"{steps} output tokens",
                page=(1190, 1540),
                steps=steps,
                figures={PAGES: Fraction("5.71")},
            )
            for steps in (500, 1000, 2000)
        ),
    ),
)

NOT_USED: Final = (
    NotUsed(
        figure="DeepSeek-OCR, 4951 tokens/s in mode base at 512 requests at once on OmniDocBench, and 5823 to 7468 by "
        "length; Unlimited-OCR 5580",
        source="Yin et al.: Unlimited OCR Works, arXiv 2606.23050, section 5.2 and Table 4",
        reason="no device is named for the inference (the training ran on A800)",
    ),
    NotUsed(
        figure="DeepSeek-OCR, 3.3 pages/s on an H100",
        source="LightOn's report of LightOnOCR: 1.73 times slower than its 5.71 pages/s",
        reason="inferred from a ratio; neither pages nor output tokens nor requests at once are stated",
    ),
    NotUsed(
        figure="DeepSeek-OCR-2, 246 tokens/s on an L4",
        source="davanstrien/uv-scripts-for-ai",
        reason="requests at once are not stated",
    ),
    NotUsed(
        figure="olmOCR-2, 3.4 pages/s on an H100",
        source="LightOn's report of LightOnOCR-2: 1.7 times slower than its 5.71 pages/s",
        reason="inferred from a ratio; neither pages nor output tokens nor requests at once are stated",
    ),
    NotUsed(
        figure="olmOCR, 1,062 to 1,787 tokens/s on a B200 with up to 854 requests running",
        source="allenai/olmocr#302",
        reason="neither the checkpoint nor its type is stated (the project ships one in FP8, allenai/olmocr#128); "
        "prefills share passes with the steps",
    ),
    NotUsed(
        figure="olmOCR-7B-0225-preview, 0.33 images/s on an RTX 3090 Ti, and 522 tokens/s on an RTX 4090",
        source="allenai/olmocr#155",
        reason="output tokens, requests at once and, of the second, the checkpoint are not stated",
    ),
    NotUsed(
        figure="MinerU2.5, 2.12 pages/s on an A100",
        source="neurohive.io on MinerU2.5; its authors' figure",
        reason="both passes of a page, whose regions are not stated: how many they are, their sizes, their tokens",
    ),
    NotUsed(
        figure="Qwen2-VL-7B, 8.74 requests/s and 864 tokens/s of vLLM on VisionArena",
        source="vllm-project/vllm#15748",
        reason="no device is named; sizes of the images are not stated",
    ),
    NotUsed(
        figure="Qwen2.5-VL-7B, 7.57 and 17.53 requests/s of vLLM and 9.56 of SGLang",
        source="sgl-project/sglang#9812",
        reason="vLLM without compilation or CUDA graphs (-O0), and what was read of it names no device",
    ),
    NotUsed(
        figure="GLM-OCR, 465 tokens/s with CUDA graphs and 60 without on an A100-80G; Chandra-2, 0.306 and "
        "1.359 pages/s on an "
        "RTX 3090",
        source="zai-org/GLM-OCR#218; datalab-to/chandra-ocr-2",
        reason="other networks: no model of them is here",
    ),
)
