"""Throughput: a batch by hand on a synthetic model and device, memory, mixes, and what is refused."""

import re
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from modelmeter.devices import (
    NOT_MODELLED,
    DoesNotFit,
    PageKind,
    Throughput,
    bundled_devices,
    compute_throughput,
    load_device,
    smallest_device,
)
from modelmeter.devices.engine import Pool, limits_of
from modelmeter.devices.stage_time import HOSTS_DIFFER, OPERATOR_S, StageTimes
from modelmeter.devices.throughput import BOTH, CLIENT, DEVICE, HOST, ORIGINS
from modelmeter.errors import ModelMeterError
from modelmeter.models import model_package
from modelmeter.models.common.engines import ClientSchema, EngineSchema, HostSchema
from modelmeter.models.common.vision_language import VisionLanguageModel
from modelmeter.models.deepseek_ocr import load_cost_model
from tests.devices.synthetic import Page, TinyModel, TinyTimes, slow_device

PAGE = Page(seq_len=5)
# at 20 bytes/s a prefill takes its positions in seconds, and a step of 2 pages 5 + context / 5
STEP_OF_TWO = {context: 5 + Fraction(context, 5) for context in range(5, 20)}


def result(tmp_path: Path, *kinds: PageKind[Page], model: TinyModel | None = None, **settings: Any) -> Throughput:
    given = {"times": TinyTimes()} | settings
    return compute_throughput(model or TinyModel(), slow_device(tmp_path), kinds, **given)


def near(value: float | Fraction | None) -> Any:
    return value if value is None else pytest.approx(float(value), rel=1e-12)


def test_a_batch_of_two_by_hand(tmp_path: Path) -> None:
    made = result(tmp_path, PageKind(page=PAGE, output_tokens=3, count=10), batch_size=2, price_per_hour=7.2)
    steps = STEP_OF_TWO[5] + STEP_OF_TWO[6] + STEP_OF_TWO[7]  # 18.6 s
    assert (made.prefill_s, made.steps_s, made.decode_s) == (5, near(steps), near(steps / 2))
    assert made.page_s == near(5 + Fraction("9.3"))
    assert made.pages_per_s == near(1 / Fraction("14.3"))
    assert made.pages_per_day == near(86400 / Fraction("14.3"))
    assert made.output_tokens_per_s == near(3 / Fraction("14.3"))
    assert (made.ttft_s, made.tpot_s) == (5, near(Fraction("6.2")))
    assert made.tpot_interleaved_s == near((Fraction("18.6") + 5) / 3)
    assert made.page_latency_s == near(made.ttft_s + 3 * (made.tpot_interleaved_s or 0)) == near(Fraction("28.6"))
    assert made.corpus_s == near(143)
    assert made.cost_per_1000_pages == near(Fraction("28.6"))  # 7.2 an hour is 0.002 a second
    assert (made.share("prefill", "gemm"), made.share("decode", "moe"), made.share("decode", "gemm")) == (1, 1, 0)
    assert (made.mostly("prefill"), made.mostly("decode"), made.limited_by) == ("gemm", "moe", DEVICE)


def test_every_figure_has_an_interval_that_holds_it(tmp_path: Path) -> None:
    kind = PageKind(page=PAGE, output_tokens=3, count=10)
    host = HostSchema(seconds_per_page=2.0, spread=1.0)
    model = TinyModel(host=host)
    made = result(tmp_path, kind, model=model, batch_size=2, price_per_hour=7.2, in_flight=2)
    assert made.interval("prefill_s") == (5, near(5 / 1.5), 7.5)
    assert made.interval("device_pages_per_s") == (near(1 / 14.3), near(1 / 14.3 / 1.5), near(1.5 / 14.3))
    assert made.interval("ttft_s") == (7, near(1 + 5 / 1.5), 4 + 7.5)
    assert made.interval("host_pages_per_s") == (0.5, 0.25, 1)
    assert made.concurrency is not None
    figures = [*made.figures(), *made.concurrency.figures(made.origin)]
    spans = [figure for figure in figures if figure.low is not None]
    assert len(spans) >= 18
    for figure in spans:
        assert isinstance(figure.value, float) and figure.low is not None and figure.high is not None
        assert figure.low < figure.value < figure.high, figure.name
        assert figure.origin == "estimate"
    bound = result(tmp_path, kind, batch_size=2, times=TinyTimes(bound=True))
    assert bound.interval("page_s") == (near(14.3), near(14.3), near(14.3))
    assert {figure.origin for figure in bound.figures() if figure.low is not None} == {"bound"}


def test_the_slower_of_host_and_device_decides_and_one_page_waits_for_both(tmp_path: Path) -> None:
    kind = PageKind(page=PAGE, output_tokens=3)

    def made(seconds: float, batch_size: int, workers: int = 1) -> Throughput:
        model = TinyModel(host=HostSchema(seconds_per_page=seconds, workers=workers, spread=0.0))
        return result(tmp_path, kind, model=model, batch_size=batch_size)

    fast = made(14, 2)
    assert (fast.limited_by, fast.pages_per_s, fast.host_pages_per_s) == (DEVICE, near(1 / 14.3), near(1 / 14))
    slow = made(20, 2)
    assert (slow.limited_by, slow.pages_per_s, slow.ttft_s) == (HOST, near(1 / 20), 25)
    assert made(20, 2, workers=2).limited_by == DEVICE
    alone = made(20, 1)
    steps = 15 + (5 + 6 + 7) / 10
    assert (alone.limited_by, alone.pages_per_s, alone.page_s) == (BOTH, near(1 / (20 + 5 + steps)), near(5 + steps))
    assert made(0, 1).host_pages_per_s is None
    # pages without steps are as many as one after another by themselves, and none of them is awaited
    model = TinyModel(host=HostSchema(seconds_per_page=20, spread=0.0))
    prefills = result(tmp_path, PageKind(page=PAGE, output_tokens=0), model=model)
    assert (prefills.batch_size, prefills.limited_by, prefills.pages_per_s) == (1, HOST, near(1 / 20))


def test_a_client_that_sends_batches_overlaps_nothing(tmp_path: Path) -> None:
    client = ClientSchema(name="serial_batches", batch_size=2, seconds_per_page=4.0)
    host = HostSchema(seconds_per_page=3.0, spread=0.0)
    model = TinyModel(client=client, host=host)
    made = result(tmp_path, PageKind(page=PAGE, output_tokens=3), model=model)
    # both are encoded, the first is prepared and prefilled, the second (5 s, longer than its 3) too, and both decode
    assert made.batch_size == 2
    assert made.batch_s == near(2 * 4 + 3 + 5 + 5 + 18.6)
    assert (made.pages_per_s, made.limited_by) == (near(2 / 39.6), CLIENT)


def test_eager_code_takes_the_longer_of_its_kernels_and_its_host(tmp_path: Path) -> None:
    kind = PageKind(page=PAGE, output_tokens=3)
    few = result(tmp_path, kind, model=TinyModel(graphs=()), batch_size=2, times=TinyTimes(launches=1000))
    assert (few.prefill_s, few.steps_s) == (5, near(18.6))
    many = TinyTimes(launches=10**6)
    issued = 10**6 * OPERATOR_S
    eager = result(tmp_path, kind, model=TinyModel(graphs=()), batch_size=2, times=many)
    assert eager.interval("prefill_s") == (near(issued), near(issued / HOSTS_DIFFER), near(issued * HOSTS_DIFFER))
    graph = result(tmp_path, kind, model=TinyModel(graphs=("decode",)), batch_size=2, times=many)
    assert (graph.prefill_s, graph.steps_s) == (near(issued), near(18.6))
    assert graph.share("prefill", "host") == near(1 - 5 / issued)


def test_what_an_engine_asks_of_the_host_beside_the_model(tmp_path: Path) -> None:
    kind = PageKind(page=PAGE, output_tokens=3)

    def made(engine: EngineSchema | None = None, **host: Any) -> Throughput:
        model = TinyModel(host=HostSchema(**({"seconds_per_page": 0.0, "spread": 0.0} | host)), engine=engine)
        return result(tmp_path, kind, model=model, batch_size=2)

    assert made(seconds_per_prefill=2.0).prefill_s == 7
    two_passes = EngineSchema(name="best", max_num_batched_tokens=3)  # of 5 positions
    assert made(two_passes, seconds_per_prefill=2.0).prefill_s == 9
    assert made(seconds_per_step=0.5).steps_s == near(18.6 + 1.5)
    # n-grams of 2 in a window of 2: one comparison from the second output token on, of which two steps are; two pages
    ngram = {"ngram": True, "ngram_size": 2, "ngram_window": 2}
    assert made(**ngram, seconds_per_comparison=1.0).steps_s == near(18.6)  # beside the device
    assert made(**ngram, seconds_per_comparison=10.0).steps_s == near(2 * 2 * 10)
    assert made(**(ngram | {"ngram": False}), seconds_per_comparison=10.0).steps_s == near(18.6)


def test_memory_limits_the_batch(tmp_path: Path) -> None:
    # of 1000 bytes 100 are weights and 100 are left free, and each page takes 8 tokens x 2 bytes and 10 more
    made = result(tmp_path, PageKind(page=PAGE, output_tokens=3))
    assert (made.batch_size, made.batch_given) == (30, False)
    need = made.memory
    assert (need.weight_bytes, need.cache_bytes, need.activation_bytes, need.reserve_bytes) == (100, 480, 300, 100)
    assert need.total_bytes == 980
    for reserve_bytes, batch_size in ((120, 30), (121, 29)):
        model = TinyModel(reserve_bytes=reserve_bytes)
        assert result(tmp_path, PageKind(page=PAGE, output_tokens=3), model=model).batch_size == batch_size
    # one page: its prefill, 60 beside the weights, is the larger
    assert result(tmp_path, PageKind(page=PAGE, output_tokens=3), batch_size=1).memory.activation_bytes == 60 - 16


def test_room_for_the_longest_or_for_the_mean_page(tmp_path: Path) -> None:
    kinds = (PageKind(page=PAGE, output_tokens={1: 1, 11: 1}),)
    # the longest ends at 16 tokens; over all 12 steps 5 + (5 + ... + 15) tokens stand before a step, 9.58 on average
    assert result(tmp_path, *kinds).memory.cache_bytes == result(tmp_path, *kinds).batch_size * 16 * 2
    mean = result(tmp_path, *kinds, cache="mean")
    assert mean.memory.cache_bytes == mean.batch_size * 11 * 2
    assert mean.batch_size > result(tmp_path, *kinds).batch_size


def test_a_mix_is_the_mean_of_its_pages(tmp_path: Path) -> None:
    short = PageKind(page=Page(seq_len=4), output_tokens=2, count=3, label="letter")
    long = PageKind(page=PAGE, output_tokens={2: 1, 4: 3}, label="table")
    made = result(tmp_path, short, long, batch_size=2)
    letter = 4 + (5 + Fraction(4, 5) + STEP_OF_TWO[5]) / 2
    two = STEP_OF_TWO[5] + STEP_OF_TWO[6]
    table = 5 + (two + Fraction(3, 4) * (STEP_OF_TWO[7] + STEP_OF_TWO[8])) / 2
    assert [(kind.label, kind.count, kind.page_s) for kind in made.kinds] == [
        ("letter", 3, near(letter)),
        ("table", 1, near(table)),
    ]
    assert [kind.output_tokens for kind in made.kinds] == [2, Fraction(7, 2)]
    assert made.page_s == near((3 * letter + table) / 4)
    assert made.output_tokens == (3 * 2 + Fraction(7, 2)) / 4
    assert made.pages == 4
    assert made.corpus_s == near(sum(kind.count * kind.page_s for kind in made.kinds))


def test_fewer_pages_than_a_batch_are_said_to_take_longer(tmp_path: Path) -> None:
    for count, told in ((1, False), (2, True), (3, False), (10, False)):
        made = result(tmp_path, PageKind(page=PAGE, output_tokens=3, count=count), batch_size=3)
        said = [each for each in made.assumptions() if "they take longer" in each]
        assert [each.partition("; ")[2] for each in said] == ["2 pages never fill it, so they take longer"] * told


def test_weights_of_a_distribution_are_shares(tmp_path: Path) -> None:
    def page_s(weights: dict[int, float]) -> float:
        return result(tmp_path, PageKind(page=PAGE, output_tokens=weights), batch_size=2).page_s

    assert page_s({2: 0.25, 4: 0.75}) == page_s({2: 1, 4: 3})
    assert page_s({3: 17}) == result(tmp_path, PageKind(page=PAGE, output_tokens=3), batch_size=2).page_s


def test_runaway_pages_run_to_the_token_limit(tmp_path: Path) -> None:
    kind = PageKind(page=PAGE, output_tokens=3)
    made = result(tmp_path, kind, batch_size=2, runaway_share=0.25)
    ended = sum(STEP_OF_TWO[context] for context in range(5, 8))
    ran = sum(STEP_OF_TWO[context] for context in range(5, 20))  # 20 positions
    assert made.steps_s == near(Fraction(3, 4) * ended + Fraction(1, 4) * ran)
    assert made.output_tokens == Fraction(3, 4) * 3 + Fraction(1, 4) * 15
    assert made.without_runaway is not None
    assert made.without_runaway.figures() == result(tmp_path, kind, batch_size=2).figures()
    figures = {figure.name: figure for figure in made.figures()}
    assert figures["runaway_cost"].value == near(made.page_s / made.without_runaway.page_s - 1)
    # their cache needs room too
    assert result(tmp_path, kind, runaway_share=0.01).batch_size == 16  # 200 + 50 a page <= 1000
    assert result(tmp_path, kind).without_runaway is None


def test_pages_without_output(tmp_path: Path) -> None:
    made = result(tmp_path, PageKind(page=PAGE, output_tokens=0))
    assert (made.batch_size, made.page_s, made.tpot_s, made.output_tokens_per_s) == (1, 5, None, 0)
    assert made.memory.total_bytes == 100 + 60 + 100
    assert made.share("decode", "moe") == 0
    names = {figure.name for figure in made.figures()}
    assert names.isdisjoint(("tpot_s", "pages_per_day"))  # without output tokens


def test_every_figure_has_an_origin(tmp_path: Path) -> None:
    kind = PageKind(page=PAGE, output_tokens=3)
    made = result(tmp_path, kind, batch_size=2, price_per_hour=1)
    figures = {figure.name: figure for figure in made.figures()}
    assert len(figures) == len(made.figures())
    assert {figure.origin for figure in figures.values()} <= set(ORIGINS)
    assert (figures["reserve_bytes"].origin, figures["cache_bytes"].origin) == ("assumed", "analytic")
    assert (figures["batch_size"].origin, figures["pages_per_s"].origin) == ("given", "estimate")
    assert any("of the memory are left free" in sentence for sentence in made.assumptions())
    measured = {"efficiency": {"matmul": {"factor": 0.5, "origin": "measured"}}}
    made = compute_throughput(
        TinyModel(), slow_device(tmp_path, **measured), [kind], batch_size=2, times=TinyTimes(bound=True)
    )
    figures = {figure.name: figure for figure in made.figures()}
    assert (figures["efficiency_matmul"].origin, figures["efficiency_vector"].origin) == ("measured", "assumed")
    assert (figures["pages_per_s"].origin, figures["kernel_launch_s"].origin) == ("bound", "assumed")
    own = TinyModel(
        engine=EngineSchema(name="sglang", gpu_memory_utilization=0.9), host=HostSchema(seconds_per_page=1.0)
    )
    figures = {figure.name: figure for figure in result(tmp_path, kind, model=own, batch_size=1).figures()}
    assert figures["host_s"].origin == "given"


def test_the_documentation_defines_every_figure(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "throughput.md").read_text(encoding="utf-8")
    kind = PageKind(page=PAGE, output_tokens=3, count=2)
    model = TinyModel(engine=EngineSchema(name="vllm", gpu_memory_utilization=0.9, block_size=2))
    made = result(tmp_path, kind, model=model, batch_size=2, price_per_hour=1, runaway_share=0.1)
    figures = [*made.figures(), *result(tmp_path, kind, times=TinyTimes(bound=True)).figures()]
    stages = re.compile(r"^(prefill|decode)_share_\w+$")
    names = {stages.sub(r"\1_share_…", figure.name) for figure in figures}
    given = {"pages", "output_tokens", "price_per_hour", "kernel_launch_s", "memory_bytes", "batch_size"}
    undefined = {name for name in names if f"`{name}`" not in text and not name.startswith("efficiency_")}
    assert undefined <= given - {"batch_size"}
    assert all(f"- {sentence}" in text.replace("\n  ", " ") for sentence in NOT_MODELLED)


# -- a real model ---------------------------------------------------------------------------------------------------


def test_a_larger_batch_never_gives_fewer_tokens() -> None:
    model = load_cost_model(["workload=base", "engine=best"])
    kinds = [PageKind(page=model.page(1275, 1650), output_tokens=700)]
    device = load_device("A100-40G")
    rates = []
    for batch_size in (1, 2, 3, 8, 11, 32, 100, 300):
        rates.append(compute_throughput(model, device, kinds, batch_size=batch_size).output_tokens_per_s)
    assert rates == sorted(rates)
    with pytest.raises(DoesNotFit):
        compute_throughput(model, device, kinds, batch_size=10_000)


def test_stages_are_those_of_the_stage_times() -> None:
    model = load_cost_model(["workload=base", "engine=best"])
    kinds = [PageKind(page=model.page(1275, 1650), output_tokens=3)]
    device = load_device("L4")
    times = StageTimes(model, device)
    seq_len = kinds[0].page.seq_len
    made = compute_throughput(model, device, kinds, batch_size=5)
    assert made.prefill_s == near(times.stage("prefill", kinds[0].page.layout).value)
    assert made.steps_s == near(sum(times.step(seq_len + n, batch=5).value for n in range(3)))
    text = [PageKind(page=model.text(300), output_tokens=3)]
    assert compute_throughput(model, device, text, batch_size=5).prefill_s == near(times.prompt(300).value)


def test_a_corpus_of_many_layouts_walks_no_more_than_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    walks: list[str] = []
    for name in ("prefill_walk", "vision_walk", "decode_walk"):
        made = getattr(VisionLanguageModel, name)

        def counted(self: Any, *arguments: Any, made: Any = made, name: str = name, **named: Any) -> Any:
            walks.append(name)
            return made(self, *arguments, **named)

        monkeypatch.setattr(VisionLanguageModel, name, counted)
    device = load_device("H100-SXM")

    def of(sides: Iterable[int]) -> tuple[int, int]:
        """Layouts, and walks."""
        walks.clear()
        model = model_package("unlimited_ocr").load_cost_model(["engine=vllm"])
        pages = [model.page(700, side) for side in sides]
        kinds = [PageKind(page=page, output_tokens=100 + n) for n, page in enumerate(pages)]
        compute_throughput(model, device, kinds, batch_size=4)
        return len({page.layout for page in pages}), len(walks)

    (few, few_walks), (many, many_walks) = of((500, 900, 1500)), of(range(300, 20_000, 50))
    assert many >= 10 * few
    assert many_walks < 2 * few_walks  # more kinds of layouts, and no more for each


# -- engines --------------------------------------------------------------------------------------------------------


def served(memory_bytes: int, **engine: Any) -> TinyModel:
    """A token of the cache takes 2 bytes, weights 100."""
    defaults = {"name": "vllm", "gpu_memory_utilization": 0.9, "reserve_bytes": 60, "block_size": 4}
    return TinyModel(engine=EngineSchema(**(defaults | engine)))


def test_an_engine_fills_its_pool_with_whole_blocks(tmp_path: Path) -> None:
    kind = PageKind(page=PAGE, output_tokens=4)  # 9 tokens at the end, 12 in blocks of 4
    made = result(tmp_path, kind, model=served(1000))
    # 0.9 of 1000 bytes, less weights and reserve, are 740: 92 blocks of 8 bytes, and 30 pages of 3 blocks
    assert made.memory.pool is not None
    assert (made.memory.pool.tokens, made.batch_size, made.memory.cache_bytes) == (368, 30, 30 * 24)
    assert made.max_len_sequences == near(368 / 20)
    few = result(tmp_path, kind, model=served(1000, max_num_seqs=7))
    assert few.batch_size == 7
    assert {figure.name: figure.origin for figure in few.figures()}["max_num_seqs"] == "given"
    assert made.memory.total_bytes <= 1000
    figures = {figure.name: figure.value for figure in made.figures()}
    assert (figures["kv_pool_tokens"], figures["max_model_len_sequences"]) == (368, near(18.4))
    assert "activation_bytes" not in figures  # they are in the reserve


ENGINE_REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "sequences": (
        {"max_num_seqs": 7},
        {"batch_size": 8},
        "batch_size=8 is more than engine=vllm runs at once on Slow: 7",
    ),
    "in_flight": ({"max_num_seqs": 7}, {"in_flight": 8}, "concurrency=8 .* give 7 or fewer, or engine.max_num_seqs=8"),
    "none_in_flight": ({}, {"in_flight": 0}, "concurrency=0 is no number of pages; give 1 or more"),
    "pool": (
        {"gpu_memory_utilization": 0.17},
        {},
        r"has a pool of 4 tokens there, a page takes 12; .*engine.gpu_memory_utilization=0.184 or more holds it",
    ),
    "positions": (
        {"max_model_len": 8},
        {},
        "of 5 positions has no room for 4 output tokens: engine.max_model_len allows 8",
    ),
}


@pytest.mark.parametrize("engine, settings, words", ENGINE_REFUSED.values(), ids=ENGINE_REFUSED)
def test_what_an_engine_does_not_run_says_what_would(
    tmp_path: Path, engine: dict[str, Any], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ModelMeterError, match=words):
        result(tmp_path, PageKind(page=PAGE, output_tokens=4), model=served(1000, **engine), **settings)


def test_published_capacities_of_vllm_within_half_a_percent() -> None:
    """KV tokens that vLLM 0.12 printed for DeepSeek-OCR at 0.9 of three cards (fgbelidji/llm-lab)."""
    model = load_cost_model(["engine=vllm"])
    weights = model.page(1275, 1650).prefill.weight_bytes
    for name, tokens in {"A100-80G": 1_115_616, "L40S": 567_488, "L4": 215_680}.items():
        device = load_device(name)
        limits = limits_of(model, device)
        pool = Pool.of(limits, device.memory_bytes, weights, 2 * 12 * 1280 * 2)
        assert pool.tokens == pytest.approx(tokens, rel=0.005)


def test_engines_go_by_the_device() -> None:
    def limits(engine: str, device: str) -> tuple[int | None, int | None, float | None]:
        made = limits_of(TinyModel(engine=EngineSchema(name=engine)), load_device(device))
        return made.max_num_seqs, made.max_num_batched_tokens, made.utilization

    assert limits("vllm", "A100-80G") == limits("vllm", "L4") == (256, 2048, 0.9)
    assert limits("vllm", "H100-SXM") == (1024, 8192, 0.9)
    # MiB left: 512, 1.5 a token of a chunk, 2 a page of the largest graph, 128; and 0.95 of the rest taken
    assert limits("sglang", "H100-SXM") == (256, 8192, near(round(1 - (512 + 12288 + 512 + 128) / 81559, 3) * 0.95))
    assert limits("sglang", "L4") == (24, 2048, near(round(1 - (512 + 3072 + 48 + 128) / 23034, 3) * 0.95))
    assert limits("best", "L4") == (None, None, None)


# -- the smallest -----------------------------------------------------------------------------------------------------


def test_the_smallest_device_that_fits(tmp_path: Path) -> None:
    model = load_cost_model(["workload=base"])
    kinds = [PageKind(page=model.page(1275, 1650), output_tokens=700)]
    # one page needs 8.585e9 bytes, and a card of 8 GB reports 8.590e9
    assert smallest_device(model, kinds).name == "RTX-3070"
    # of those with a little more memory, the T4 and the V100 have no bf16
    assert smallest_device(model, kinds, batch_size=100).name == "RTX-5070-Ti"
    half = load_cost_model(["workload=base", "runtime.dtype=float16"])
    half_kinds = [PageKind(page=half.page(1275, 1650), output_tokens=700)]
    assert smallest_device(half, half_kinds, batch_size=100).name == "T4"
    larger = smallest_device(model, kinds, batch_size=300)
    need = compute_throughput(model, larger, kinds, batch_size=300, times=TinyTimes()).memory.total_bytes
    smaller = [device for device in bundled_devices() if device.memory_bytes < larger.memory_bytes]
    assert all(device.memory_bytes < need for device in smaller)
    slow = [slow_device(tmp_path)]
    tiny = [PageKind(page=PAGE, output_tokens=3)]  # 200 bytes and 26 a page
    assert smallest_device(TinyModel(), tiny, devices=slow, batch_size=30) is slow[0]
    with pytest.raises(DoesNotFit):
        smallest_device(TinyModel(), tiny, devices=slow, batch_size=31)
    with pytest.raises(DoesNotFit, match=r"no device runs 300 such pages at once: T4 lacks \d+\.\d+ GB\.$"):
        smallest_device(model, kinds, batch_size=300, devices=[load_device("T4")])
    with pytest.raises(DoesNotFit, match="device T4 lists no matmul peak for bf16"):
        smallest_device(model, kinds, devices=[load_device("T4")])


# -- bad input ------------------------------------------------------------------------------------------------------


def test_what_does_not_fit_says_by_how_much_and_what_would(tmp_path: Path) -> None:
    with pytest.raises(DoesNotFit) as error:
        result(tmp_path, PageKind(page=PAGE, output_tokens=3), batch_size=31)
    text = str(error.value)
    assert "Slow: 31 pages at once need 0.000 GB" in text
    assert "a batch of up to 30 fits; the reserve alone decides" in text
    assert "; the smallest bundled device that runs that is RTX-3070; " in text
    model = load_cost_model()
    kinds = [PageKind(page=model.page(1275, 1650), output_tokens=1000)]
    tiny = slow_device(tmp_path, memory_bytes=7_000_000_000, matmul_flops_per_s={"bf16": 1e12, "fp32": 1e12})
    with pytest.raises(DoesNotFit) as error:
        compute_throughput(model, tiny, kinds, times=TinyTimes())
    found = re.search(r"needs ([\d.]+) GB \(.*; that is ([\d.]+) GB more than its ([\d.]+) GB \(", str(error.value))
    assert found is not None
    need, more, has = map(float, found.groups())
    assert (has, need) == (7, pytest.approx(has + more, abs=0.0015))
    assert need > 6.67 + 1.07  # weights and reserve


def test_a_refusal_names_a_device_that_runs_the_type(tmp_path: Path) -> None:
    model = load_cost_model(["workload=base"])
    kinds = [PageKind(page=model.page(1275, 1650), output_tokens=700)]
    small = slow_device(tmp_path, memory_bytes=10**10, matmul_flops_per_s={"bf16": 1e12, "fp32": 1e12})
    with pytest.raises(DoesNotFit, match="the smallest bundled device that runs that is RTX-5070-Ti;"):
        compute_throughput(
            model, small, kinds, batch_size=100, times=TinyTimes()
        )  # the T4 and the V100 have the memory, but no bf16


def test_a_card_of_8_gb_is_told_that_the_reserve_decides() -> None:
    """A letter page in gundam needs 8,604,036,096 bytes, 1 GiB of them assumed; the card reports 8,589,934,592."""
    card = load_device("RTX-3070")
    room = card.memory_bytes - (8_604_036_096 - 2**30)
    model = load_cost_model()
    kinds = [PageKind(page=model.page(1275, 1650), output_tokens=1000)]
    with pytest.raises(DoesNotFit) as error:
        compute_throughput(model, card, kinds, times=TinyTimes())
    found = re.search(r"the reserve alone decides: it fits with runtime\.reserve_bytes=(\d+) or less", str(error.value))
    assert found is not None
    assert int(found[1]) == room == 1_059_640_320
    less = load_cost_model([f"runtime.reserve_bytes={found[1]}"])
    assert compute_throughput(less, card, kinds, times=TinyTimes()).batch_size == 1
    more = load_cost_model([f"runtime.reserve_bytes={int(found[1]) + 1}"])
    with pytest.raises(DoesNotFit):
        compute_throughput(more, card, kinds, times=TinyTimes())


def test_a_cpu_leaves_no_reserve_unless_told(tmp_path: Path) -> None:
    kinds = [PageKind(page=PAGE, output_tokens=3)]
    model = TinyModel(reserve_bytes=None)
    on_cpu = compute_throughput(model, slow_device(tmp_path, kind="cpu"), kinds, times=TinyTimes())
    assert on_cpu.memory.reserve_bytes == 0
    assert not any("left free" in sentence for sentence in on_cpu.assumptions())
    on_gpu = compute_throughput(
        model, slow_device(tmp_path, memory_bytes=2**31), kinds, batch_size=1, times=TinyTimes()
    )
    assert on_gpu.memory.reserve_bytes == 2**30
    told = compute_throughput(TinyModel(reserve_bytes=7), slow_device(tmp_path, kind="cpu"), kinds, times=TinyTimes())
    assert told.memory.reserve_bytes == 7


def test_a_device_that_cannot_load_does_not_run(tmp_path: Path) -> None:
    kinds = [PageKind(page=PAGE, output_tokens=3)]
    loads = compute_throughput(TinyModel(load_bytes=800), slow_device(tmp_path), kinds, times=TinyTimes())
    assert (loads.memory.load_bytes, loads.memory.total_bytes, loads.batch_size) == (800, 1000, 30)
    assert {figure.name: figure.value for figure in loads.figures()}["load_bytes"] == 800
    with pytest.raises(DoesNotFit, match=r"loading 0\.000 GB, .*runtime\.load=direct needs less"):
        compute_throughput(TinyModel(load_bytes=801), slow_device(tmp_path), kinds, batch_size=1, times=TinyTimes())
    plain = result(tmp_path, *kinds)
    assert "load_bytes" not in {figure.name for figure in plain.figures()}


def test_static_and_continuous_batches_are_told_apart() -> None:
    """All prefilled together, or one at a time beside the others' caches: the same card, two numbers."""
    model, card = load_cost_model(), load_device("RTX-4090")
    static = model.largest_batch(card.memory_bytes, 1275, 1650, output_tokens=1000)
    kinds = [PageKind(page=model.page(1275, 1650), output_tokens=1000)]
    continuous = compute_throughput(model, card, kinds, times=TinyTimes())
    assert (static, continuous.batch_size) == (20, 146)
    assert any(sentence.startswith("a continuous batch: ") for sentence in continuous.assumptions())
    assert "static batch" in (type(model).largest_batch.__doc__ or "")


@pytest.mark.parametrize(
    "kinds, settings, text",
    [
        ([], {}, "the corpus has no page"),
        ([{"output_tokens": 16}], {}, "of 5 positions has no room for 16 output tokens: the model has 20 positions"),
        ([{"output_tokens": -1}], {}, "output_tokens=-1 is no number of tokens"),
        ([{"output_tokens": 2.5}], {}, "output_tokens=2.5 is no number of tokens"),
        ([{"output_tokens": {}, "label": "letter"}], {}, "output_tokens of letter is empty"),
        ([{"output_tokens": {3: 0}}], {}, "the weight of output_tokens 3 is 0; weights are positive"),
        ([{"output_tokens": {3: float("nan")}}], {}, "weight of output_tokens 3=nan is no number"),
        ([{"output_tokens": 3, "count": 0}], {}, "count=0 of a page is no number of pages"),
        ([{"output_tokens": 3}], {"batch_size": 0}, "batch_size=0 is no number of pages"),
        ([{"output_tokens": 3}], {"runaway_share": 1}, "runaway_share=1 is no share"),
        ([{"output_tokens": 3}], {"runaway_share": -0.1}, "runaway_share=-0.1 is no share"),
        ([{"output_tokens": 3}], {"price_per_hour": -2}, "price_per_hour=-2 is negative"),
        ([{"output_tokens": 3}], {"price_per_hour": "2"}, "price_per_hour='2' is no number"),
        ([{"output_tokens": 3}], {"cache": "longst"}, 'cache=longst is unknown; did you mean "longest"'),
        ([{"output_tokens": 3}], {"float32": "fp31"}, "float32=fp31 is unknown"),
    ],
)
def test_wrong_workloads_are_refused(
    tmp_path: Path, kinds: list[dict[str, Any]], settings: dict[str, Any], text: str
) -> None:
    with pytest.raises(ModelMeterError, match=re.escape(text)):
        result(tmp_path, *(PageKind(page=PAGE, **kind) for kind in kinds), **settings)


def test_the_model_is_that_of_one_page(tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError, match=r"of 4 pages at once \(runtime.batch_size\); give the model of one page"):
        compute_throughput(
            TinyModel(4), slow_device(tmp_path), [PageKind(page=PAGE, output_tokens=1)], times=TinyTimes()
        )


def test_a_page_of_several_passes_takes_the_sum_of_theirs(tmp_path: Path) -> None:
    two = PageKind(page=Page(seq_len=11, parts=(5, 6)), output_tokens=3, count=3, label="two passes")
    model = TinyModel(host=HostSchema(seconds_per_page=7.0, spread=0.0))
    made = result(tmp_path, two, model=model, batch_size=2)
    steps = STEP_OF_TWO[6] + STEP_OF_TWO[7] + STEP_OF_TWO[8]
    assert (made.prefill_s, made.steps_s, made.output_tokens) == (5 + 6, near(steps), 3)
    assert made.host_s == 2 * 7  # the page, and its regions together
    assert next(figure.origin for figure in made.figures() if figure.name == "host_s") == "assumed"
    assert any("the host cuts the regions out of a page" in each for each in made.assumptions())
    assert made.kinds == (
        replace(made.kinds[0], label="two passes", count=3, seq_len=11, output_tokens=Fraction(3), prefill_s=11.0),
    )
    assert made.memory.cache_bytes == 2 * 2 * (6 + 3)  # of the longest pass
    mixed = result(tmp_path, two, PageKind(page=PAGE, output_tokens=1, count=1), model=model, batch_size=2)
    assert mixed.prefill_s == near(Fraction(3, 4) * 11 + Fraction(1, 4) * 5)
    assert mixed.host_s == near(Fraction(3, 4) * 14 + Fraction(1, 4) * 7)
    assert [each.count for each in mixed.kinds] == [3, 1]
    with pytest.raises(ModelMeterError, match="two passes of 6 positions has no room for 15 output tokens"):
        result(tmp_path, replace(two, output_tokens=15))
