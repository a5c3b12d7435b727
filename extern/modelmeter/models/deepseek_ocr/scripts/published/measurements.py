"""What others measured on DeepSeek-OCR and published with device, workload and metric, and what each leaves open.

A figure without a source is not used; one whose source lacks a device stands in `NOT_USED`, with the reason. To add
one: a `Run` with its source, the figures that it gives, and the workloads that it may have been, as `Case`s, each of
which says what the source does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Case:
    """A workload that a run may have had: a page in pixels or a text in tokens, and output tokens a page.

    assumed: what the source does not say of it.
    """

    overrides: tuple[str, ...]
    page: tuple[int, int] | None = None
    text_tokens: int = 0
    output_tokens: int
    batch_size: int | None = None
    assumed: str


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published figure. metric: the property of `Throughput` that predicts it; its value times scale has this unit.

    where: its place in the source, and its words.
    """

    name: str
    metric: str
    value: Fraction
    unit: str
    scale: int = 1
    where: str

    @property
    def is_time(self) -> bool:
        """Whether less is better."""
        return self.unit == "ms"


@dataclass(frozen=True, kw_only=True)
class Run:
    """Figures that one source gives for one device and workload. stated: what it says of the workload.

    executions: what its software may run as; an inference engine as "serving".
    """

    title: str
    device: str
    software: str
    executions: tuple[str, ...] = ("serving",)
    source: str
    url: str
    stated: str
    figures: tuple[Published, ...]
    cases: tuple[Case, ...]


@dataclass(frozen=True, kw_only=True)
class NotUsed:
    """A published figure that lacks what a prediction needs."""

    figure: str
    source: str
    reason: str


#: a letter page rendered at 144 dpi, as the published PDF program renders it
LETTER: Final = (1224, 1584)

_COOKBOOK: Final = "SGLang cookbook, DeepSeek-OCR, section 5.1 Speed Benchmark"
_COOKBOOK_URL: Final = "https://docs.sglang.io/cookbook/autoregressive/DeepSeek/DeepSeek-OCR"

RUNS: Final = (
    Run(
        title="The authors' production",
        device="A100-40G",
        software="not stated",
        executions=("transformers", "serving"),
        source="Wei, Sun, Li: DeepSeek-OCR: Contexts Optical Compression, arXiv 2510.18234",
        url="https://arxiv.org/abs/2510.18234",
        stated="pages, to make training data for language models",
        figures=(
            Published(
                name="pages a day on one GPU",
                metric="pages_per_day",
                value=Fraction(200_000),
                unit="pages/day",
                where='abstract, "200k+ pages per day (a single A100-40G)"',
            ),
            Published(
                name="pages a day on 160 GPUs, for one of them",
                metric="pages_per_day",
                value=Fraction(33_000_000, 20 * 8),
                unit="pages/day",
                where='section 1, "33 million pages of data per day ... using 20 nodes (each with 8 A100-40G GPUs)"',
            ),
        ),
        cases=tuple(
            Case(
                overrides=(f"workload={mode}",),
                page=LETTER,
                output_tokens=tokens,
                assumed=f"mode {mode}, letter pages, {tokens} output tokens, the largest batch that fits",
            )
            for mode in ("small", "base", "gundam")
            for tokens in (500, 1000, 2000)
        ),
    ),
    Run(
        title="The repository's PDF program",
        device="A100-40G",
        software="vLLM 0.8.5",
        source="README, config.py and run_dpsk_ocr_pdf.py of the repository deepseek-ai/DeepSeek-OCR",
        url="https://github.com/deepseek-ai/DeepSeek-OCR",
        stated="PDF at 144 dpi, gundam with at most 6 crops, 100 sequences at once, the markdown prompt",
        figures=(
            Published(
                name="output tokens a second",
                metric="output_tokens_per_s",
                value=Fraction(2500),
                unit="tokens/s",
                where='README, vLLM-Inference, "pdf: concurrency ~2500tokens/s(an A100-40G)"',
            ),
        ),
        cases=tuple(
            Case(
                overrides=("workload=gundam", "workload.max_num=6"),
                page=LETTER,
                output_tokens=tokens,
                batch_size=100,
                assumed=f"letter pages, {tokens} output tokens",
            )
            for tokens in (500, 1000, 2000)
        ),
    ),
    Run(
        title="SGLang, one request at a time",
        device="MI300X",
        software="SGLang 0.5.7",
        source=_COOKBOOK,
        url=_COOKBOOK_URL,
        stated="text without an image, float16; 10 requests with 1,972 input and 2,784 output tokens",
        figures=(
            Published(
                name="output tokens a second",
                metric="output_tokens_per_s",
                value=Fraction("625.26"),
                unit="tokens/s",
                where="5.1.1, Output token throughput",
            ),
            Published(
                name="time per output token",
                metric="tpot_s",
                value=Fraction("1.47"),
                unit="ms",
                scale=1000,
                where="5.1.1, Mean TPOT",
            ),
            Published(
                name="time to first token",
                metric="ttft_s",
                value=Fraction("21.59"),
                unit="ms",
                scale=1000,
                where="5.1.1, Mean TTFT",
            ),
        ),
        cases=(
            Case(
                overrides=("runtime.dtype=float16",),
                text_tokens=197,
                output_tokens=278,
                batch_size=1,
                assumed="every request is the average one, 197 and 278 tokens",
            ),
        ),
    ),
    Run(
        title="SGLang, many requests at once",
        device="MI300X",
        software="SGLang 0.5.7",
        source=_COOKBOOK,
        url=_COOKBOOK_URL,
        stated="text without an image, float16; 1,000 requests with 301,698 input and 188,375 output tokens, 85.53 at "
        "once",
        figures=(
            Published(
                name="output tokens a second",
                metric="output_tokens_per_s",
                value=Fraction("11602.84"),
                unit="tokens/s",
                where="5.1.2, Output token throughput",
            ),
            Published(
                name="time per output token",
                metric="tpot_interleaved_s",
                value=Fraction("7.42"),
                unit="ms",
                scale=1000,
                where="5.1.2, Mean TPOT",
            ),
        ),
        cases=(
            Case(
                overrides=("runtime.dtype=float16",),
                text_tokens=302,
                output_tokens=188,
                batch_size=86,
                assumed="every request is the average one, 302 and 188 tokens, 86 at once",
            ),
        ),
    ),
)

NOT_USED: Final = (
    NotUsed(
        figure="DeepSeek-OCR, 4951 tokens/s in mode base at 512 requests at once on OmniDocBench, and 5823 to 7468 by "
        "length",
        source="Yin et al.: Unlimited OCR Works, arXiv 2606.23050, section 5.2 and Table 4",
        reason="no device is named for the inference (the training ran on A800)",
    ),
)
