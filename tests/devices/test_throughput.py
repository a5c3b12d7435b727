"""Throughput: a batch by hand on a synthetic model and device, memory, mixes, and what is refused."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from modelmeter.devices import (
    NOT_MODELLED,
    DoesNotFit,
    PageKind,
    Roofline,
    Throughput,
    bundled_devices,
    compute_throughput,
    load_device,
    smallest_device,
)
from modelmeter.devices.throughput import ORIGINS
from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr import load_cost_model
from tests.devices.synthetic import Page, TinyModel, slow_device

PAGE = Page(seq_len=5)
# at 20 bytes/s a prefill takes its positions in seconds, and a step of 2 pages 5 + context / 5
STEP_OF_TWO = {context: 5 + Fraction(context, 5) for context in range(5, 20)}


def result(tmp_path: Path, *kinds: PageKind[Page], **settings: Any) -> Throughput:
    return compute_throughput(TinyModel(), slow_device(tmp_path), kinds, **settings)


def test_a_batch_of_two_by_hand(tmp_path: Path) -> None:
    made = result(tmp_path, PageKind(page=PAGE, output_tokens=3, count=10), batch_size=2, price_per_hour=7.2)
    steps = STEP_OF_TWO[5] + STEP_OF_TWO[6] + STEP_OF_TWO[7]  # 18.6 s
    assert (made.prefill_s, made.steps_s, made.decode_s) == (5, steps, steps / 2)
    assert made.page_s == 5 + Fraction("9.3")
    assert made.pages_per_s == 1 / Fraction("14.3")
    assert made.pages_per_day == 86400 / Fraction("14.3")
    assert made.output_tokens_per_s == 3 / Fraction("14.3")
    assert (made.ttft_s, made.tpot_s, made.tpot_interleaved_s) == (5, Fraction("6.2"), (Fraction("18.6") + 5) / 3)
    assert made.page_latency_s == made.ttft_s + 3 * (made.tpot_interleaved_s or 0) == Fraction("28.6")
    assert made.corpus_s == 143
    assert made.cost_per_1000_pages == Fraction("28.6")  # 7.2 an hour is 0.002 a second
    assert (made.share("prefill", "memory"), made.share("decode", "memory"), made.share("decode", "launch")) == (
        1,
        1,
        0,
    )


def test_memory_limits_the_batch(tmp_path: Path) -> None:
    # of 1000 bytes 100 are weights and 100 are left free, and each page takes 8 tokens x 2 bytes and 10 more
    made = result(tmp_path, PageKind(page=PAGE, output_tokens=3))
    assert (made.batch_size, made.batch_given) == (30, False)
    need = made.memory
    assert (need.weight_bytes, need.cache_bytes, need.activation_bytes, need.reserve_bytes) == (100, 480, 300, 100)
    assert need.total_bytes == 980
    for reserve_bytes, batch_size in ((120, 30), (121, 29)):
        model = TinyModel(reserve_bytes=reserve_bytes)
        kinds = [PageKind(page=PAGE, output_tokens=3)]
        assert compute_throughput(model, slow_device(tmp_path), kinds).batch_size == batch_size
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
        ("letter", 3, letter),
        ("table", 1, table),
    ]
    assert [kind.output_tokens for kind in made.kinds] == [2, Fraction(7, 2)]
    assert made.page_s == (3 * letter + table) / 4
    assert made.output_tokens == (3 * 2 + Fraction(7, 2)) / 4
    assert made.pages == 4
    assert made.corpus_s == sum(kind.count * kind.page_s for kind in made.kinds)


def test_weights_of_a_distribution_are_shares(tmp_path: Path) -> None:
    def page_s(weights: dict[int, float]) -> Fraction:
        return result(tmp_path, PageKind(page=PAGE, output_tokens=weights), batch_size=2).page_s

    assert page_s({2: 0.25, 4: 0.75}) == page_s({2: 1, 4: 3})
    assert page_s({3: 17}) == result(tmp_path, PageKind(page=PAGE, output_tokens=3), batch_size=2).page_s


def test_runaway_pages_run_to_the_token_limit(tmp_path: Path) -> None:
    kind = PageKind(page=PAGE, output_tokens=3)
    made = result(tmp_path, kind, batch_size=2, runaway_share=0.25)
    ended = sum(STEP_OF_TWO[context] for context in range(5, 8))
    ran = sum(STEP_OF_TWO[context] for context in range(5, 20))  # 20 positions
    assert made.steps_s == Fraction(3, 4) * ended + Fraction(1, 4) * ran
    assert made.output_tokens == Fraction(3, 4) * 3 + Fraction(1, 4) * 15
    assert made.without_runaway == result(tmp_path, kind, batch_size=2)
    figures = {figure.name: figure for figure in made.figures()}
    assert figures["runaway_cost"].value == pytest.approx(float(made.page_s / made.without_runaway.page_s) - 1)
    # their cache needs room too
    assert result(tmp_path, kind, runaway_share=0.01).batch_size == 16  # 200 + 50 a page <= 1000
    assert result(tmp_path, kind).without_runaway is None


def test_pages_without_output(tmp_path: Path) -> None:
    made = result(tmp_path, PageKind(page=PAGE, output_tokens=0))
    assert (made.batch_size, made.page_s, made.tpot_s, made.output_tokens_per_s) == (1, 5, None, 0)
    assert made.memory.total_bytes == 100 + 60 + 100
    assert made.share("decode", "memory") == 0
    assert "tpot_s" not in {figure.name for figure in made.figures()}


def test_every_figure_has_an_origin(tmp_path: Path) -> None:
    made = result(tmp_path, PageKind(page=PAGE, output_tokens=3), batch_size=2, price_per_hour=1)
    figures = {figure.name: figure for figure in made.figures()}
    assert len(figures) == len(made.figures())
    assert {figure.origin for figure in figures.values()} <= set(ORIGINS)
    assert (figures["reserve_bytes"].origin, figures["kernel_launch_s"].origin) == ("assumed", "assumed")
    assert (figures["batch_size"].origin, figures["pages_per_s"].origin) == ("given", "analytic")
    assert any("of the memory are left free" in sentence for sentence in made.assumptions())
    measured = {"derating": {"matmul": {"factor": 0.5, "origin": "measured"}}}
    device = slow_device(tmp_path, **measured)
    made = compute_throughput(TinyModel(), device, [PageKind(page=PAGE, output_tokens=3)])
    figures = {figure.name: figure for figure in made.figures()}
    assert (figures["derating_matmul"].origin, figures["derating_vector"].origin) == ("measured", "assumed")


def test_the_documentation_defines_every_figure(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "throughput.md").read_text(encoding="utf-8")
    kind = PageKind(page=PAGE, output_tokens=3, count=2)
    made = result(tmp_path, kind, batch_size=2, price_per_hour=1, runaway_share=0.1)
    stages = re.compile(r"^(prefill|decode)_share_\w+$")
    names = {stages.sub(r"\1_share_…", figure.name) for figure in made.figures()}
    given = {"pages", "output_tokens", "price_per_hour", "kernel_launch_s", "memory_bytes", "batch_size"}
    undefined = {name for name in names if f"`{name}`" not in text and not name.startswith("derating_")}
    assert undefined <= given - {"batch_size"}
    assert all(f"- {sentence}" in text.replace("\n  ", " ") for sentence in NOT_MODELLED)


# -- a real model ---------------------------------------------------------------------------------------------------


def test_a_larger_batch_never_gives_fewer_tokens() -> None:
    model = load_cost_model(["workload=base"])
    kinds = [PageKind(page=model.page(1275, 1650), output_tokens=700)]
    device = load_device("A100-40G")
    rates = []
    for batch_size in (1, 2, 3, 8, 11, 32, 100, 300):
        rates.append(compute_throughput(model, device, kinds, batch_size=batch_size).output_tokens_per_s)
    assert rates == sorted(rates)
    with pytest.raises(DoesNotFit):
        compute_throughput(model, device, kinds, batch_size=10_000)


def test_a_batch_reads_its_experts_by_its_size() -> None:
    model = load_cost_model(["workload=base", "runtime.experts_hit=uniform"])
    kinds = [PageKind(page=model.page(1275, 1650), output_tokens=1)]
    device = load_device("L4")
    roofline = Roofline(device)
    for batch_size in (1, 5):
        made = compute_throughput(model, device, kinds, batch_size=batch_size)
        same = load_cost_model(["workload=base", "runtime.experts_hit=uniform", f"runtime.batch_size={batch_size}"])
        step = same.stage_walk("decode", context=kinds[0].page.seq_len)
        assert made.steps_s == roofline.stage(step).exact_seconds


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
    need = compute_throughput(model, larger, kinds, batch_size=300).memory.total_bytes
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
        compute_throughput(model, tiny, kinds)
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
        compute_throughput(model, small, kinds, batch_size=100)  # the T4 and the V100 have the memory, but no bf16


def test_a_card_of_8_gb_is_told_that_the_reserve_decides() -> None:
    """A letter page in gundam needs 8,604,036,096 bytes, 1 GiB of them assumed; the card reports 8,589,934,592."""
    card = load_device("RTX-3070")
    room = card.memory_bytes - (8_604_036_096 - 2**30)
    model = load_cost_model()
    kinds = [PageKind(page=model.page(1275, 1650), output_tokens=1000)]
    with pytest.raises(DoesNotFit) as error:
        compute_throughput(model, card, kinds)
    found = re.search(r"the reserve alone decides: it fits with runtime\.reserve_bytes=(\d+) or less", str(error.value))
    assert found is not None
    assert int(found[1]) == room == 1_059_640_320
    less = load_cost_model([f"runtime.reserve_bytes={found[1]}"])
    assert compute_throughput(less, card, kinds).batch_size == 1
    more = load_cost_model([f"runtime.reserve_bytes={int(found[1]) + 1}"])
    with pytest.raises(DoesNotFit):
        compute_throughput(more, card, kinds)


def test_a_cpu_leaves_no_reserve_unless_told(tmp_path: Path) -> None:
    kinds = [PageKind(page=PAGE, output_tokens=3)]
    model = TinyModel(reserve_bytes=None)
    on_cpu = compute_throughput(model, slow_device(tmp_path, kind="cpu"), kinds)
    assert on_cpu.memory.reserve_bytes == 0
    assert not any("left free" in sentence for sentence in on_cpu.assumptions())
    on_gpu = compute_throughput(model, slow_device(tmp_path, memory_bytes=2**31), kinds, batch_size=1)
    assert on_gpu.memory.reserve_bytes == 2**30
    told = compute_throughput(TinyModel(reserve_bytes=7), slow_device(tmp_path, kind="cpu"), kinds)
    assert told.memory.reserve_bytes == 7


def test_a_device_that_cannot_load_does_not_run(tmp_path: Path) -> None:
    kinds = [PageKind(page=PAGE, output_tokens=3)]
    loads = compute_throughput(TinyModel(load_bytes=800), slow_device(tmp_path), kinds)
    assert (loads.memory.load_bytes, loads.memory.total_bytes, loads.batch_size) == (800, 1000, 30)
    assert {figure.name: figure.value for figure in loads.figures()}["load_bytes"] == 800
    with pytest.raises(DoesNotFit, match=r"loading 0\.000 GB, .*runtime\.load=direct needs less"):
        compute_throughput(TinyModel(load_bytes=801), slow_device(tmp_path), kinds, batch_size=1)
    plain = result(tmp_path, *kinds)
    assert "load_bytes" not in {figure.name for figure in plain.figures()}


def test_static_and_continuous_batches_are_told_apart() -> None:
    """All prefilled together, or one at a time beside the others' caches: the same card, two numbers."""
    model, card = load_cost_model(), load_device("RTX-4090")
    static = model.largest_batch(card.memory_bytes, 1275, 1650, output_tokens=1000)
    kinds = [PageKind(page=model.page(1275, 1650), output_tokens=1000)]
    continuous = compute_throughput(model, card, kinds)
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
        compute_throughput(TinyModel(4), slow_device(tmp_path), [PageKind(page=PAGE, output_tokens=1)])
