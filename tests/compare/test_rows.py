"""Rows of a comparison: the figures that asking for each page of each model alone gives."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest

from modelmeter import load_cost_model, models
from modelmeter.compare import Comparison, Entry, Given, Pages, Result, Steps, compute
from modelmeter.compare import rows as rows_module
from modelmeter.devices import Device, PageKind, compute_throughput, load_device
from modelmeter.errors import ModelMeterError
from modelmeter.sweep import Asked, Point

NAMES = ("deepseek_ocr", "lighton_ocr_2_1b", "qwen2_5_vl_3b")
LETTER = (1275, 1650)
SMALL = (640, 480)


def asked(name: str, mode: str | None = None) -> Entry:
    found = models.find(name)
    return Entry(Asked(name, models.model_package(found.model), found.overrides), mode)


def compared(
    pages: Sequence[tuple[int, int, int, Any]],
    *entries: Entry,
    devices: Sequence[Device] = (),
    overrides: Sequence[str] = (),
    prices: dict[str, float] | None = None,
    runaway_share: float = 0,
) -> Result:
    return compute(
        Comparison(
            pages=Pages.of(pages),
            models=entries,
            overrides=overrides,
            devices=devices,
            prices=prices or {},
            runaway_share=runaway_share,
        )
    )


def one(result: Result) -> Point:
    (row,) = result.rows
    return row


@pytest.mark.parametrize("name", NAMES)
def test_counts_of_a_page_are_its_own(name: str) -> None:
    row = one(compared([(*LETTER, 1, Given.of(70))], asked(name)))
    model = load_cost_model([], model=name)
    page = model.page(*LETTER, 70)
    figures = row.figures
    assert (figures["image_tokens"], figures["prefill_tokens"]) == (page.tokens.total, page.seq_len)
    for stage, cost in page.stages().items():
        assert figures[f"{stage}_tensor_core_flops"] == cost.tensor_core_flops
        assert figures[f"{stage}_io_bytes"] == cost.io_bytes
    assert figures["memory_bytes"] == model.vram(*LETTER, 70).total_bytes
    assert figures["kv_token_bytes"] * (page.seq_len + 70) == page.total.kv_bytes
    assert (figures["output_tokens"], figures["pages"], row.refused) == (70, 1, None)


def test_several_pages_are_their_mean_and_the_largest_memory() -> None:
    """Weights of output tokens are shares of pages: 3 letters of which a third says 10, and 2 small pages."""
    thirds = Given.of({10: Fraction(1), 40: Fraction(2)})
    row = one(compared([(*LETTER, 3, thirds), (*SMALL, 2, Given.of(7))], asked("qwen2_5_vl_3b")))
    model = load_cost_model([], model="qwen2_5_vl_3b")
    pages = [model.page(*LETTER, steps) for steps in (10, 40, 40)] + [model.page(*SMALL, 7)] * 2
    for name, figure in (
        ("total_tensor_core_flops", lambda page: page.total.tensor_core_flops),
        ("decode_io_bytes", lambda page: page.decode.io_bytes),
        ("image_tokens", lambda page: page.tokens.total),
        ("output_tokens", lambda page: page.output_tokens),
    ):
        assert row.figures[name] == pytest.approx(sum(map(figure, pages)) / 5, rel=1e-15)
    assert row.figures["output_tokens"] == (10 + 40 + 40 + 7 + 7) / 5
    assert row.figures["memory_bytes"] == max(page.vram().total_bytes for page in pages)
    assert row.figures["kv_bytes"] == max(page.total.kv_bytes for page in pages)
    assert row.figures["pages"] == 5


@pytest.mark.parametrize("name", NAMES)
def test_times_are_those_of_throughput(name: str) -> None:
    device = load_device("L40S")
    pages = [(*LETTER, 3, Given.of(90)), (*SMALL, 1, Given.of(20))]
    row = one(compared(pages, asked(name), devices=[device], overrides=["host.workers=3"], prices={"L40S": 1.5}))
    model = load_cost_model(["engine=vllm", "host.workers=3"], model=name).for_times()
    kinds = [
        PageKind(page=model.page(*LETTER), output_tokens=90, count=3),
        PageKind(page=model.page(*SMALL), output_tokens=20, count=1),
    ]
    most = compute_throughput(model, device, kinds, price_per_hour=1.5)
    alone = compute_throughput(model, device, kinds, batch_size=1)
    for result, figures in (
        (most, {each: each for each in rows_module.AT_ONCE}),
        (alone, {"page_latency_s": "alone_s", "ttft_s": "ttft_s"}),
    ):
        for figure, told in figures.items():
            ends = [row.figures[f"{told}{end}"] for end in ("", "_low", "_high")]
            assert ends == pytest.approx(list(result.interval(figure)), rel=1e-9), told
    assert row.figures["batch_size"] == most.batch_size
    needed = row.figures["host_workers_needed"]
    assert (needed - 1) / most.host_s < most.device_pages_per_s <= needed / most.host_s


def test_runaway_pages_are_in_the_times() -> None:
    device = load_device("H100-SXM")
    page = [(*LETTER, 1, Given.of(90))]
    entry = asked("lighton_ocr_2_1b")
    row = one(compared(page, entry, devices=[device], runaway_share=0.1))
    model = load_cost_model(["engine=vllm"], model="lighton_ocr_2_1b").for_times()
    kinds = [PageKind(page=model.page(*LETTER), output_tokens=90)]
    assert row.figures["page_s"] == pytest.approx(
        compute_throughput(model, device, kinds, runaway_share=0.1).page_s, rel=1e-9
    )
    plain = one(compared(page, entry, devices=[device]))
    assert row.figures["page_s"] > plain.figures["page_s"]
    assert row.figures["decode_tensor_core_flops"] == plain.figures["decode_tensor_core_flops"]


def test_output_beyond_the_positions_is_cut_off_and_counted() -> None:
    """DeepSeek-OCR has 8,192 positions, of which this page's prefill takes 913."""
    row = one(compared([(*LETTER, 2, Given.of(9000)), (*LETTER, 3, Given.of(100))], asked("deepseek_ocr")))
    assert row.figures["pages_cut"] == 2 and row.figures["pages_refused"] == 0
    assert row.figures["output_tokens"] == (2 * (8192 - 913) + 3 * 100) / 5


class Spread:
    """Pages of which half says `steps`, one in ten more than `p90`."""

    def __init__(self, steps: int, p90: int) -> None:
        self.told = Steps({steps: Fraction(1)}, p90)

    def steps(self, _: Asked) -> Steps:
        return self.told


def test_pages_that_one_in_ten_would_cut_off() -> None:
    row = one(compared([(*LETTER, 2, Spread(100, 7280)), (*LETTER, 1, Spread(100, 7279))], asked("deepseek_ocr")))
    assert (row.figures["pages_cut"], row.figures["pages_cut_p90"]) == (0, 2)
    assert "output_tokens_p90" not in row.figures  # no number that all pages have
    assert one(compared([(*LETTER, 2, Spread(100, 300))], asked("deepseek_ocr"))).figures["output_tokens_p90"] == 300


def test_pages_that_a_model_refuses_are_left_out_and_counted() -> None:
    strip = (100, 30000)  # an aspect ratio above 200
    row = one(compared([(*LETTER, 2, Given.of(5)), (*strip, 3, Given.of(5))], asked("qwen2_5_vl_3b")))
    alone = one(compared([(*LETTER, 1, Given.of(5))], asked("qwen2_5_vl_3b")))
    assert (row.figures["pages"], row.figures["pages_refused"]) == (2, 3)
    assert row.figures["total_io_bytes"] == alone.figures["total_io_bytes"]
    both = compared([(*strip, 1, Given.of(5))], asked("qwen2_5_vl_3b"), asked("deepseek_ocr"))
    assert "aspect ratio above 200" in str(both.rows[0].refused) and both.rows[0].figures == {}
    assert both.rows[1].refused is None


class Unknown:
    """Nobody knows what such pages say in the tokens of all models but one."""

    def steps(self, asked: Asked) -> Steps:
        if asked.name == "deepseek_ocr":
            return Steps({50: Fraction(1)})
        raise ModelMeterError("no source")


def test_without_output_tokens_there_is_the_prefill_alone() -> None:
    device = load_device("H100-SXM")
    known, unknown = compared(
        [(*LETTER, 1, Unknown())], asked("deepseek_ocr"), asked("lighton_ocr_2_1b"), devices=[device]
    ).rows
    assert known.refused is None and known.figures["pages_per_s"]
    assert unknown.refused == "no source"
    assert unknown.figures["prefill_tensor_core_flops"] and unknown.figures["ttft_s"]
    for name in ("output_tokens", "decode_tensor_core_flops", "total_io_bytes", "pages_per_s", "alone_s"):
        assert name not in unknown.figures


def test_a_device_that_is_too_small_keeps_the_counts() -> None:
    row, other = compared(
        [(*LETTER, 1, Given.of(5))], asked("qwen2_5_vl_7b"), devices=[load_device("RTX-3070"), load_device("L40S")]
    ).rows
    assert str(row.refused).startswith("device RTX-3070: 1 page at once needs ")
    assert row.figures["fits"] == "no" and row.figures["image_tokens"] == other.figures["image_tokens"]
    assert other.refused is None


def test_a_key_that_one_model_lacks_is_its_reason() -> None:
    rows = compared(
        [(*LETTER, 1, Given.of(5))],
        asked("deepseek_ocr"),
        asked("lighton_ocr_2_1b"),
        overrides=["workload.base_size=640"],
    ).rows
    assert rows[0].refused is None and "workload.base_size does not exist" in str(rows[1].refused)
    with pytest.raises(ModelMeterError, match=r"workload\.base_size does not exist"):
        compared([(*LETTER, 1, Given.of(5))], asked("lighton_ocr_2_1b"), overrides=["workload.base_size=640"])


def test_regions_are_of_the_models_that_read_by_them() -> None:
    """One that reads pages whole stands as without them, unless no model takes them."""
    pages, regions = [(*LETTER, 1, Given.of(5))], ["workload.regions=[[600,400],[800,1200]]"]
    both = (asked("paddleocr_vl"), asked("deepseek_ocr"))
    plain, declared = (compared(pages, *both, overrides=each).rows for each in ([], regions))
    assert declared[0].figures["image_tokens"] == 21 * 14 + 29 * 43
    assert declared[1].refused is None and declared[1].figures == plain[1].figures
    with pytest.raises(ModelMeterError, match=r"workload\.regions does not exist"):
        compared(pages, asked("deepseek_ocr"), overrides=regions)


def test_models_that_differ_in_their_name_alone_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """RolmOCR is taken to have the sizes and limits of Qwen2.5-VL-7B; olmOCR scales a page first."""
    seen: list[str] = []
    answers = rows_module._Row.answers

    def heard(self: Any) -> Any:
        seen.append(self.asked.name)
        return answers(self)

    monkeypatch.setattr(rows_module._Row, "answers", heard)
    names = ("qwen2_5_vl_7b", "rolmocr", "olmocr_2_7b")
    result = compared([(*LETTER, 1, Given.of(5))], *map(asked, names))
    assert seen == ["qwen2_5_vl_7b", "olmocr_2_7b"]
    assert result.rows[0].figures == result.rows[1].figures != result.rows[2].figures
    unconfirmed = [names for each, names in result.assumptions.items() if each.figure == "checkpoint"]
    assert sorted(name for names in unconfirmed for name in names) == ["olmocr_2_7b", "rolmocr"]


def test_modes_are_rows_of_their_own() -> None:
    result = compared([(*LETTER, 1, Given.of(5))], asked("deepseek_ocr"), asked("deepseek_ocr", "tiny"))
    assert [row.settings["mode"] for row in result.rows] == ["gundam", "tiny"]
    assert [row.figures["image_tokens"] for row in result.rows] == [903, 73]
    assert result.own_modes == {"deepseek_ocr": "gundam"}


def test_pages_of_one_layout_are_one() -> None:
    said = [Given.of(1), Given.of(2)]
    pages = Pages.together(
        [
            Pages.of([(1275, 1650, 2, said[0]), (1276, 1650, 3, said[0])]),
            Pages.of([(1275, 1650, 10**12, said[1]), (640, 480, 1, said[1])]),
        ]
    )
    workload = load_cost_model([]).workload
    layouts = pages.by_layout(workload)
    assert layouts == {workload.layout(1275, 1650): {0: 5, 1: 10**12}, workload.layout(640, 480): {1: 1}}
    assert pages.count == 10**12 + 6
    assert [each.weights for each in pages.outputs if isinstance(each, Given)] == [{1: 1}, {2: 1}]
