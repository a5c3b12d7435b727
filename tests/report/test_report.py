"""The report: its figures are the cost model's, its three formats agree, and the HTML loads nothing."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from html.parser import HTMLParser
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

import modelmeter.report
from modelmeter.devices import BOUNDS, PageKind, Roofline, bundled_devices, compute_throughput, load_device
from modelmeter.devices.stage_time import StageTimes
from modelmeter.errors import ModelMeterError
from modelmeter.models import DEFAULT_MODEL, MODELS, model_package
from modelmeter.models.common.stage_cost import WITH_TOTAL
from modelmeter.models.deepseek_ocr import MODES, load_cost_model
from modelmeter.page_sizes import PageSize, parse_size
from modelmeter.report.content import Request, build_report
from modelmeter.report.document import Chart, Fold, Quantity, Report, Table, Tree, cell_text
from modelmeter.report.html import report_html
from modelmeter.report.layout_pages import ReportPage
from modelmeter.report.markdown import report_markdown
from modelmeter.report.page_tables import FIGURES
from modelmeter.report.report_json import report_json
from modelmeter.report.throughput_tables import PUBLISHED_FILE

pytestmark = pytest.mark.slow  # whole answers, one after another

STEPS = 5
#: the code that counts are proven for; unless told, a report is of the engine that people serve with
OVERRIDES = ["engine=transformers"]
PAGE = (1275, 1650)
SIZES = ("1275x1650", "600x220", "1200x1500", "1800x3200")  # the first and the third are cut alike
EVIL = "<img src=https://example.org/x onerror=alert(1)>|`*_.png"


def request(pages: Sequence[PageSize], output_tokens: int = STEPS, **changes: Any) -> Request:
    devices = [device for device in bundled_devices() if device.name in ("H100-SXM", "T4", "A10")]
    asked: dict[str, Any] = {
        "model": DEFAULT_MODEL,
        "package": model_package(),
        "overrides": OVERRIDES,
        "subject": "a test",
        "pages": [ReportPage(page, 1, output_tokens) for page in pages],
        "device": load_device("H100-SXM"),
        "chosen": False,
        "devices": devices,
        "prices": {"H100-SXM": 2.5},
    }
    return Request(**(asked | changes))


@dataclass(frozen=True)
class Written:
    """A report and what was written of it."""

    report: Report
    html: str
    markdown: str
    sections: Mapping[str, Any]


def written(report: Report) -> Written:
    document = json.loads(report_json(report))
    assert (document["schema_version"], document["command"]) == (1, "report")
    return Written(report, report_html(report), report_markdown(report), document["sections"])


@pytest.fixture(scope="module")
def one() -> Written:
    return written(build_report(request([PageSize(source=EVIL, width=PAGE[0], height=PAGE[1])])))


@pytest.fixture(scope="module")
def several() -> Written:
    return written(
        build_report(request([parse_size(size) for size in SIZES], overrides=[*OVERRIDES, "workload.max_num=6"]))
    )


def exact(value: Any) -> Any:
    """Integers that JSON wrote as text."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def by(rows: Sequence[Mapping[str, Any]], key: str) -> dict[str, Mapping[str, Any]]:
    return {row[key]: row for row in rows}


# -- the figures ----------------------------------------------------------------------------------------------------


def test_the_stages_are_the_cost_models(one: Written) -> None:
    page = load_cost_model().page(*PAGE, STEPS)
    rows = by(one.sections["stages"]["page"]["rows"], "figure")
    for figure, words, _ in FIGURES:
        shown = {stage: exact(rows[words.strip()][stage]) for stage in WITH_TOTAL}
        assert shown == {stage: getattr(getattr(page, stage), figure) for stage in WITH_TOTAL}
    origins = dict.fromkeys(("roofline on H100-SXM", *(f"bound by {each}" for each in BOUNDS)), "bound")
    origins["time on H100-SXM"] = "estimate"
    assert all(row["origin"].startswith(origins.get(name, "analytic")) for name, row in rows.items())
    assert rows["vector FLOPs"]["origin"] == "analytic; by convention"


def test_the_times_are_those_of_every_operator(one: Written) -> None:
    model, roofline = load_cost_model(), Roofline(load_device("H100-SXM"))
    page = model.page(*PAGE)

    def seconds(*walks: Any) -> Fraction:
        ticks = sum(each.ticks for walk in walks for each in roofline.operators(walk))
        return Fraction(ticks, roofline.ticks_per_s)

    prefill = seconds(model.stage_walk("prefill", page=page))
    decode = seconds(*(model.stage_walk("decode", context=page.seq_len + step) for step in range(STEPS)))
    rows = by(one.sections["stages"]["page"]["rows"], "figure")
    time = rows["roofline on H100-SXM"]
    assert time["vision"] == float(seconds(model.stage_walk("vision", page=page)))
    assert (time["prefill"], time["decode"]) == (float(prefill), float(decode))
    assert time["total"] == float(prefill + decode)
    for stage in WITH_TOTAL:
        assert sum(rows[f"bound by {bound}"][stage] for bound in BOUNDS) == pytest.approx(1)
        assert rows[f"bound by {BOUNDS[0]}"][f"{stage}_unit"] == "1"  # a share: from 0 to 1


def test_estimated_times_are_those_of_the_devices_kernels(one: Written) -> None:
    times = StageTimes(load_cost_model(), load_device("H100-SXM"))
    layout = times.model.workload.layout(*PAGE)
    prefill, decode = times.stage("prefill", layout), times.decode(times.model.seq_len(layout), STEPS)
    row = by(one.sections["stages"]["page"]["rows"], "figure")["time on H100-SXM"]
    for stage, time in (("prefill", prefill), ("decode", decode), ("total", prefill + decode)):
        assert (row[stage], row[f"{stage}_low"], row[f"{stage}_high"]) == (time.value, time.low, time.high)
    step = times.step(times.model.seq_len(layout) + STEPS - 1, generated=STEPS - 1)
    rows = one.sections["modules"]["kernel_classes"]["rows"]
    for stage, time in (("prefill", prefill), ("decode step", step)):
        seconds = {row["kernel_class"]: row["seconds"] for row in rows if row["stage"] == stage}
        assert seconds == pytest.approx(dict(time.by_class))
        assert sum(row["count"] for row in rows if row["stage"] == stage) == time.launches
    for stage, time in (("prefill", prefill), ("decode_step", step)):
        tree = one.sections["modules"][stage]["modules"]
        assert sum(node["seconds"] for node in tree) == pytest.approx(time.value)


def test_a_device_without_constants_has_its_roofline() -> None:
    devices = [load_device("CPU-Xeon-8480")]
    report = build_report(request([parse_size("600x220")], device=devices[0], devices=[], chosen=True))
    sections = written(report).sections
    rows = by(sections["stages"]["page"]["rows"], "figure")
    assert "time on CPU-Xeon-8480" not in rows
    columns = sections["modules"]["kernel_classes"]["columns"]
    assert columns["seconds"]["origin"] == "bound: at least"
    prefill = [row["seconds"] for row in sections["modules"]["kernel_classes"]["rows"] if row["stage"] == "prefill"]
    assert sum(prefill) == pytest.approx(rows["roofline on CPU-Xeon-8480"]["prefill"])
    assert sections["overview"]["texts"][0].count("no constants of") == 1
    assert by(sections["overview"]["figures"]["items"], "key")["pages_per_day"]["value"] == "no time"


def test_all_pages_are_the_sum_of_the_pages(several: Written) -> None:
    model = load_cost_model(["workload.max_num=6"])
    pages = [model.page(*(int(side) for side in size.split("x")), STEPS) for size in SIZES]
    rows = by(several.sections["stages"]["all_pages"]["rows"], "figure")
    for figure, words, _ in FIGURES[:6]:
        for stage in WITH_TOTAL:
            assert exact(rows[words.strip()][stage]) == sum(getattr(getattr(page, stage), figure) for page in pages)
    for figure, words, _ in FIGURES[6:9]:
        assert rows[words.strip()]["total"] == max(getattr(page.total, figure) for page in pages)
    assert "KV cache at the end" not in rows
    layouts = by(several.sections["pages"]["layouts"]["rows"], "crops")
    assert {crops: row["pages"] for crops, row in layouts.items()} == {"2 x 3": 2, "none": 1, "1 x 2": 1}
    figures = by(several.sections["overview"]["figures"]["items"], "key")
    assert figures["image_tokens"]["value"] == sum(page.tokens.total for page in pages)
    assert figures["tensor_core_flops"]["value"] == sum(page.total.tensor_core_flops for page in pages)


def test_every_figure_of_the_overview_has_its_key_its_unit_and_its_origin(several: Written) -> None:
    figures = by(several.sections["overview"]["figures"]["items"], "key")
    assert {key: (item.get("value_unit", ""), item["origin"]) for key, item in figures.items()} == {
        "pages": ("", "given"),
        "image_tokens": ("", "analytic"),
        "tensor_core_flops": ("FLOPs", "analytic"),
        "device_memory_bytes": ("B", "analytic; reserve assumed"),
        "page_alone_s": ("s", "estimate"),
        "pages_per_day": ("", "estimate"),
        "all_pages_s": ("s", "estimate"),
        "cost_per_1000_pages": ("", "estimate; price given"),
    }
    for key in ("page_alone_s", "pages_per_day", "all_pages_s", "cost_per_1000_pages"):
        assert figures[key]["value_low"] < figures[key]["value"] < figures[key]["value_high"]


def test_the_overview_says_what_it_is_of_and_the_answer(one: Written) -> None:
    overview = one.sections["overview"]
    setup = {item["key"]: (item["value"], item["origin"]) for item in overview["setup"]["items"]}
    assert setup == {
        "model": ("DeepSeek-OCR", "deepseek_ocr"),
        "mode": ("gundam", ""),
        "engine": ("transformers", "execution transformers"),
        "dtype": ("bfloat16", ""),
        "device": ("H100-SXM", "none was named"),
        "decode_steps": ("5", "6 output tokens"),
    }
    model = load_cost_model()
    kinds = [PageKind(page=model.page(*PAGE), output_tokens=STEPS)]
    whole, alone = (
        compute_throughput(model, load_device("H100-SXM"), kinds, price_per_hour=2.5, batch_size=batch)
        for batch in (None, 1)
    )
    figures = by(overview["figures"]["items"], "key")
    for key, name, result in (
        ("page_alone_s", "page_latency_s", alone),
        ("pages_per_day", "pages_per_day", whole),
        ("cost_per_1000_pages", "cost_per_1000_pages", whole),
    ):
        shown = figures[key]
        assert (shown["value"], shown["value_low"], shown["value_high"]) == result.interval(name)
    answer = overview["texts"][0]
    for words in (
        f"{model.page(*PAGE).tokens.total} image tokens",
        "so it fits",
        f"Alone it takes {Quantity(*alone.interval('page_latency_s')[:1], 's', estimate=True).text} (",
        f"With {whole.batch_size:,} pages at once",
        f"limited by the {whole.limited_by}",
        "At 2.5 an hour, 1000 pages cost",
    ):
        assert words in answer


def test_costs_stand_before_drawings_and_sections_in_the_order_of_the_questions(several: Written) -> None:
    assert list(several.sections)[:6] == ["overview", "devices", "modes", "pages", "stages", "modules"]
    blocks = list(several.sections["pages"])
    assert blocks.index("layouts") < blocks.index("page_1")


def test_layouts_are_drawn_the_commonest_first_and_folded_beyond_six() -> None:
    sizes = ["600x220", *("600x1300", "1300x600", "1300x1300", "1300x2000", "2000x1300", "700x3000", "3000x700")]
    pages = [ReportPage(parse_size(size), 3 if size == "2000x1300" else 1, 0) for size in sizes]
    asked = replace(request([]), pages=pages, devices=[], prices={})
    report = build_report(asked)
    section = next(each for each in report.sections if each.key == "pages")
    drawings = [block.key for block in section.blocks if isinstance(block, Chart)]
    (fold,) = (block for block in section.blocks if isinstance(block, Fold))
    layouts = written(report).sections["pages"]["layouts"]["rows"]
    assert (layouts[0]["pages"], layouts[0]["first"], len(layouts)) == (3, "2000x1300", 8)
    assert drawings == [f"page_{number}" for number in range(1, 7)]
    assert (fold.title, [each.key for each in fold.charts]) == ("2 more layouts", ["page_7", "page_8"])
    assert written(report).sections["pages"]["page_1"]["title"] == "3 pages, such as 2000x1300"
    assert written(report).sections["pages"]["page_8"]["data"]["views"]
    assert "<summary>2 more layouts</summary>" in report_html(report)


def test_pages_of_one_layout_may_say_more_or_less() -> None:
    said = {5: 2, 11: 1}
    pages = [ReportPage(parse_size("600x220"), times, steps) for steps, times in said.items()]
    report = build_report(replace(request([]), pages=pages, devices=[]))
    sections, model = written(report).sections, load_cost_model()
    costs = {steps: model.page(600, 220, steps) for steps in said}
    (row,) = sections["pages"]["layouts"]["rows"]
    assert (row["pages"], row["decode_steps"]) == (3, 7)
    assert row["tensor_core_flops"] == pytest.approx(
        sum(times * costs[steps].total.tensor_core_flops for steps, times in said.items()) / 3
    )
    total = by(sections["stages"]["all_pages"]["rows"], "figure")["tensor-core FLOPs"]["decode"]
    assert total == sum(times * costs[steps].decode.tensor_core_flops for steps, times in said.items())
    assert (
        sections["modules"]["decode_step"]["title"]
        == f"Decode step 5 of 5, with {costs[5].seq_len + 4} tokens before it"
    )
    kind = PageKind(page=costs[5], output_tokens=said, count=3)
    result = compute_throughput(model, load_device("H100-SXM"), [kind])
    assert by(sections["overview"]["figures"]["items"], "key")["pages_per_day"]["value"] == result.pages_per_day
    assert by(sections["overview"]["setup"]["items"], "key")["decode_steps"]["value"] == "5 to 11"


def test_a_document_goes_into_the_page_that_needs_most(several: Written) -> None:
    model = load_cost_model(["workload.max_num=6"])
    needs = {size: model.vram(*(int(side) for side in size.split("x")), STEPS).total_bytes for size in SIZES}
    largest = max(needs, key=lambda size: needs[size])
    assert several.sections["stages"]["page"]["title"] == f"One page: {largest}"
    needed = by(several.sections["memory"]["device_memory"]["items"], "key")["total_bytes"]
    assert (needed["value"], needed["origin"]) == (needs[largest], "analytic; reserve assumed")


def modules(nodes: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for node in nodes:
        yield node
        yield from modules(node["modules"])


@pytest.mark.parametrize("stage", ["prefill", "decode_step"])
def test_the_modules_sum_to_the_stage(one: Written, stage: str) -> None:
    model = load_cost_model()
    page = model.page(*PAGE, STEPS)
    cost = page.prefill if stage == "prefill" else model.step(page.seq_len + STEPS - 1)
    tree = one.sections["modules"][stage]["modules"]
    figures = ("tensor_core_flops", "cuda_core_flops", "io_bytes", "io_weight_bytes")
    for figure in figures:
        assert sum(exact(node[figure]) for node in tree) == getattr(cost, figure)
    for node in modules(tree):
        for figure in figures[:3]:
            parts = [*node["modules"], *node["run_here"]]
            assert sum(exact(part[figure]) for part in parts) == exact(node[figure]), node["module"]
    assert sum(node["share"] for node in tree) == pytest.approx(1)


def test_modules_alike_are_folded(one: Written) -> None:
    names = {node["module"]: node for node in modules(one.sections["modules"]["prefill"]["modules"])}
    assert "0-1, 3-4, 6-7, 9-10 (8 ×)" in names
    assert "1-11 (11 ×)" in names
    assert names["1-11 (11 ×)"]["operators"] % 11 == 0


def test_the_operators_by_kind_sum_to_the_stages(one: Written) -> None:
    model = load_cost_model()
    page = model.page(*PAGE, STEPS)
    rows = one.sections["modules"]["operators"]["rows"]
    for stage, cost in (("prefill", page.prefill), ("decode step", model.step(page.seq_len + STEPS - 1))):
        for figure in ("tensor_core_flops", "cuda_core_flops", "io_bytes"):
            assert sum(exact(row[figure]) for row in rows if row["stage"] == stage) == getattr(cost, figure)


def test_the_roofline_has_every_operator_that_computes(one: Written) -> None:
    device, model = load_device("H100-SXM"), load_cost_model()
    data = one.sections["roofline"]["roofline"]["data"]
    records = list(model.stage_walk("prefill", page=model.page(*PAGE)).records())
    computing = [record for record in records if record.tensor_core_flops + record.cuda_core_flops]
    points = [point for point in data["points"] if point["stage"] == "prefill"]
    assert sum(point["times"] for point in points) == len(computing)
    assert data["bytes_per_s"] == float(device.bandwidth)
    assert data["roofs_flops_per_s"] == {"bf16": 989.5e12, "fp32, vector": 67e12}
    times = StageTimes(model, device)
    seconds = sum(
        time
        for record, time in times.operators(model.stage_walk("prefill", page=model.page(*PAGE)))
        if record.tensor_core_flops + record.cuda_core_flops
    )
    assert sum(point["seconds"] for point in points) == pytest.approx(seconds)


def test_the_roofline_names_the_longest_kernels_in_the_picture(one: Written) -> None:
    data = one.sections["roofline"]["roofline"]["data"]
    named, others = data["points"][: data["named"]], data["points"][data["named"] :]
    assert data["named"] == 10
    for stage in ("prefill", "decode step"):
        longest = [point["seconds"] for point in named if point["stage"] == stage]
        assert len(longest) == 5 and longest == sorted(longest, reverse=True)
        assert max(point["seconds"] for point in others if point["stage"] == stage) <= longest[-1]
    picture = re.sub(r"<title>.*?</title>", "", one.html[one.html.index('id="roofline-roofline"') :])
    words = re.findall(r"<text[^>]*>([^<]*)</text>", picture[: picture.index("</svg>")])
    numbers = re.findall(r'<text class="number"[^>]*>([^<]*)</text>', picture[: picture.index("</svg>")])
    for number, point in enumerate(named, start=1):
        assert numbers.count(str(number)) == 2  # beside the point, and before its name
        assert any(point["path"][-20:] in text for text in words), point["path"]


def test_the_live_set_reaches_the_peak_and_its_holders_are_it(one: Written) -> None:
    page = load_cost_model().page(*PAGE, STEPS)
    data = one.sections["memory"]["live_set_prefill"]["data"]
    assert max(data["live_bytes"]) == data["peak_bytes"] == page.prefill.activation_peak_bytes
    assert (data["peak_path"], data["peak_operator"]) == (page.prefill.peak_path, page.prefill.peak_operator)
    assert data["end_s"] is None and "no device was named" in one.sections["memory"]["live_set_prefill"]["caption"]
    step = one.sections["memory"]["live_set_decode_step"]["data"]
    assert max(step["live_bytes"]) == step["peak_bytes"] == page.decode.activation_peak_bytes
    holders = one.sections["memory"]["holders"]
    assert sum(row["bytes"] for row in holders["rows"]) == page.prefill.resident_peak_bytes
    assert f"all have {page.prefill.resident_peak_bytes:,} B" in holders["note"]


def test_with_a_device_memory_is_drawn_over_its_time() -> None:
    report = build_report(request([parse_size("600x220")], output_tokens=0, devices=[], prices={}, chosen=True))
    chart = written(report).sections["memory"]["live_set_prefill"]
    model = load_cost_model()
    times = StageTimes(model, load_device("H100-SXM"))
    operators = times.operators(model.stage_walk("prefill", page=model.page(600, 220)))
    assert chart["data"]["end_s"] == pytest.approx(list(accumulate(seconds for _, seconds in operators)))
    assert "over the time that the device's kernels take, one after another (estimate)" in chart["caption"]
    largest = model.peak_holders("prefill", 600, 220)[0]  # and none of its size beside it
    picture = report_html(report)
    picture = picture[picture.index('id="memory-live_set_prefill"') :]
    module = re.sub(r"\b\d+\b", "*", largest.path)
    words = f"{module} {largest.operator.removeprefix('aten.').removesuffix('.default')}"
    assert words in picture[: picture.index("</svg>")]


def test_what_costs_are_broken_down_by() -> None:
    asked = {"output_tokens": 0, "devices": [], "prices": {}}
    for by_, blocks in {
        ("operator",): {"operators"},
        ("kernel-class",): {"kernel_classes"},
        ("module", "operator"): {"prefill", "operators"},
    }.items():
        sections = written(build_report(request([parse_size("600x220")], by=by_, **asked))).sections
        assert set(sections["modules"]) - {"title", "texts"} == blocks
    with pytest.raises(ModelMeterError, match="costs are not broken down by kernel; "):
        build_report(request([parse_size("600x220")], by=("kernel",), **asked))


def test_every_mode_is_its_own_cost_model(one: Written) -> None:
    rows = {row["mode"].split()[0]: row for row in one.sections["modes"]["modes"]["rows"]}
    assert list(rows) == list(MODES)
    for mode, row in rows.items():
        model = load_cost_model([f"workload={mode}"])
        page = model.page(*PAGE, STEPS)
        assert row["image_tokens"] == page.tokens.total
        assert row["prefill_flops"] == page.prefill.tensor_core_flops
        assert row["io_bytes"] == page.total.io_bytes
        assert row["activation_peak_bytes"] == page.total.activation_peak_bytes
        assert row["device_memory_bytes"] == model.vram(*PAGE, STEPS).total_bytes
    assert [row["mode"] for row in rows.values() if "this report" in row["mode"]] == ["gundam (this report)"]


def test_a_workload_of_ones_own_stands_before_the_modes(several: Written) -> None:
    names = [row["mode"] for row in several.sections["modes"]["modes"]["rows"]]
    assert names == ["gundam, max_num=6 (this report)", *MODES]


def test_a_mode_as_its_engine_sets_it_is_that_mode() -> None:
    report = build_report(request([parse_size("600x220")], overrides=["engine=vllm"], devices=[], prices={}))
    sections = written(report).sections
    names = [row["mode"] for row in sections["modes"]["modes"]["rows"]]
    assert names == [f"{mode} (this report)" if mode == "gundam" else mode for mode in MODES]
    assert by(sections["overview"]["setup"]["items"], "key")["mode"]["value"] == "gundam, max_num=6 of engine=vllm"


def test_every_device_is_its_throughput(one: Written) -> None:
    model = load_cost_model()
    kinds = [PageKind(page=model.page(*PAGE, STEPS), output_tokens=STEPS)]
    rows = by(one.sections["devices"]["devices"]["rows"], "device")
    assert set(rows) == {"H100-SXM (this report)", "T4", "A10"}
    result = compute_throughput(model, load_device("H100-SXM"), kinds, price_per_hour=2.5)
    row = rows["H100-SXM (this report)"]
    assert (row["fits"], row["batch_size"]) == ("yes", result.batch_size)
    day = result.interval("pages_per_day")
    assert (row["pages_per_day"], row["pages_per_day_low"], row["pages_per_day_high"]) == day
    assert (row["limited_by"], row["prefill_mostly"]) == (result.limited_by, result.mostly("prefill"))
    assert row["cost_per_1000_pages"] == result.cost_per_1000_pages
    assert rows["A10"]["cost_per_1000_pages"] is None
    assert rows["T4"]["batch_size"] is None
    (reason,) = one.sections["devices"]["devices_without"]["items"]
    assert reason["label"] == "T4" and "no matmul peak for bf16" in reason["value"]


def test_memory_follows_the_device_and_says_what_decides() -> None:
    overrides = ["execution=serving", "runtime.load=float32_on_device"]
    devices = [load_device(name) for name in ("CPU-Xeon-8480", "RTX-3070", "L4")]
    whole = written(
        build_report(request([parse_size("1275x1650")], device=devices[0], devices=devices[1:], overrides=overrides))
    )
    sections, model = whole.sections, load_cost_model(overrides)
    need = by(sections["memory"]["device_memory"]["items"], "key")
    assert need["reserve_bytes"]["value"] == 0  # a CPU's
    assert need["resident_peak_bytes"]["label"] == "peak of load, beside the weights as they stay"
    assert need["resident_peak_bytes"]["value"] == model.load_bytes
    rows = by(sections["devices"]["devices"]["rows"], "device")
    fits = {name.split()[0]: row["fits"] for name, row in rows.items()}
    assert fits == {"CPU-Xeon-8480": "yes", "RTX-3070": "no", "L4": "yes"}
    assert (rows["L4"]["memory_bytes"], rows["L4"]["memory_gib"]) == (23034 * 2**20, "22.49 GiB")
    assert "crops (up to 9 crops; engines 6)" in whole.markdown
    holders = sections["memory"]["holders"]
    assert sum(row["bytes"] for row in holders["rows"]) == model.page(1275, 1650, STEPS).prefill.resident_peak_bytes


def test_a_card_that_only_the_reserve_rules_out_is_told_so() -> None:
    report = build_report(request([parse_size("1275x1650")], output_tokens=0, devices=[load_device("RTX-3070")]))
    row = by(written(report).sections["devices"]["devices"]["rows"], "device")["RTX-3070"]
    assert row["fits"] == "the reserve alone decides: it fits with runtime.reserve_bytes=1059640320 or less"


def test_every_assumption_and_the_whole_configuration_are_listed(one: Written) -> None:
    model, device = load_cost_model(), load_device("H100-SXM")
    texts = {row["text"] for row in one.sections["assumptions"]["assumptions"]["rows"]}
    kinds = [PageKind(page=model.page(*PAGE, STEPS), output_tokens=STEPS)]
    timed = compute_throughput(model, device, kinds)
    assert texts >= {each.text for each in model.assumptions()} | set(timed.assumptions())
    rows = one.sections["assumptions"]["assumptions"]["rows"]
    assert {row["label"] for row in rows if row["figure"] == "times: io_weight_bytes"} == {"experts_hit=uniform"}
    configuration = {row["key"]: row["value"] for row in one.sections["configuration"]["configuration"]["rows"]}
    assert configuration["workload.base_size"] == "1024"
    assert configuration["workload.crop_mode"] == "true"
    assert configuration["decoder.hidden_size"] == str(model.config.decoder.hidden_size)
    assert {item["label"] for item in one.sections["configuration"]["versions"]["items"]} > {"Python", "modelmeter"}


def test_without_decode_steps_there_is_no_decode(one: Written) -> None:
    report = build_report(request([parse_size("600x220")], output_tokens=0, devices=[], prices={}))
    sections = written(report).sections
    assert "decode_step" not in sections["modules"] and "live_set_decode_step" not in sections["memory"]
    assert "No decode steps were given (--output-tokens)" in sections["overview"]["texts"][0]
    assert by(sections["stages"]["page"]["rows"], "figure")["roofline on H100-SXM"]["decode"] == 0
    assert "no cost" in sections["devices"]["devices"]["note"]


def test_the_engine_is_the_one_that_people_serve_with_unless_told() -> None:
    asked = {"devices": [], "prices": {}}
    default = build_report(request([parse_size("600x220")], overrides=[], **asked))
    engine = "vllm" if "vllm" in model_package().EXECUTIONS else "best"
    assert f"Engine: {engine}, the default here" in report_markdown(default)
    told = report_markdown(build_report(request([parse_size("600x220")], overrides=["engine=best"], **asked)))
    assert "Engine: best: the least that any could take, so rates are at most these" in told
    assert "pages a day on H100-SXM (bound: at most): " in told
    assert "it is at most " in told and "Alone it takes at least " in told and "Times are bounds" in told
    assert "a page alone on H100-SXM (bound: at least): " in told


def test_nothing_is_said_of_a_day_of_pages_that_say_nothing() -> None:
    report = build_report(request([parse_size("600x220")], output_tokens=0, prices={}))
    sections = written(report).sections
    items = by(sections["overview"]["figures"]["items"], "key")
    assert items["pages_per_day"]["value"] == "no output tokens were given"
    assert {row["pages_per_day"] for row in sections["devices"]["devices"]["rows"]} == {None}


def test_a_batch_of_pages_is_refused() -> None:
    with pytest.raises(ModelMeterError, match="batch_size=2 makes one pass of several pages"):
        build_report(request([parse_size("600x220")], overrides=[*OVERRIDES, "runtime.batch_size=2"]))


# -- the formats ----------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What an HTML page would load, and the cells of its tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.rows: list[list[str]] = []
        self.scripts = 0
        self._cell: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "srcset", "href", "data", "poster", "action", "background", "xlink:href"):
                self.loads.append(value or "")
            assert not name.startswith("on"), (tag, name)
        self.scripts += tag == "script"
        if tag == "tr":
            self.rows.append([])
        if tag == "td" or ("scope", "row") in attrs:
            self._cell = []

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.rows[-1].append("".join(self._cell).strip())
            self._cell = None


@pytest.mark.parametrize("which", ["one", "several"])
def test_the_html_loads_nothing_and_is_small(which: str, request: pytest.FixtureRequest) -> None:
    text = request.getfixturevalue(which).html
    page = Page(text)
    assert page.scripts == 1
    assert page.loads and all(load.startswith("#") or load == "data:," for load in page.loads)
    assert "@import" not in text and "url(" not in text
    script = text[text.index("<script>") :]
    assert not re.search(r"fetch|XMLHttpRequest|import\(|WebSocket", script)
    assert len(text.encode()) < 3_000_000


def test_a_name_is_never_markup(one: Written) -> None:
    assert EVIL not in one.html
    assert html.escape(EVIL) in one.html.replace("&#34;", "&quot;")
    assert r"\<img src=https" in one.markdown


def tables(report: Report) -> Iterator[Table]:
    for section in report.sections:
        for block in section.blocks:
            if isinstance(block, Table):
                yield block


@pytest.mark.parametrize("which", ["one", "several"])
def test_html_and_markdown_show_the_same_cells(which: str, request: pytest.FixtureRequest) -> None:
    shown: Written = request.getfixturevalue(which)
    in_html = {tuple(row) for row in Page(shown.html).rows}
    unescaped = re.sub(r"\\([\\`*_<|#\[\]])", r"\1", shown.markdown.replace("&nbsp;", ""))
    plain = unescaped.replace("`", "")
    checked = 0
    for table in tables(shown.report):
        for row in table.rows:
            cells = [cell_text(cell).strip() for cell in row]
            assert tuple(cells) in in_html, (table.key, cells)
            assert f"| {' | '.join(cells)} |".replace("`", "") in plain, (table.key, cells)
            checked += 1
    assert checked > 100


def test_json_has_the_values_behind_every_cell(one: Written) -> None:
    for section in one.report.sections:
        for block in section.blocks:
            if not isinstance(block, Table):
                continue
            rows = one.sections[section.key][block.key]["rows"]
            assert len(rows) == len(block.rows)
            for shown, row in zip(rows, block.rows, strict=True):
                for column, cell in zip(block.columns, row, strict=True):
                    if isinstance(cell, Quantity):
                        assert exact(shown[column.key]) == cell.value
                        assert shown.get(f"{column.key}_unit", "") == cell.unit
                    else:
                        assert shown[column.key] == (cell.strip() if cell else cell)


def test_every_title_is_in_every_format(one: Written) -> None:
    plain = one.markdown.replace("\\", "")
    for section in one.report.sections:
        assert f"## {section.title}\n" in plain
        assert f'-title">{section.title}</h2>' in one.html
        assert one.sections[section.key]["title"] == section.title
        for block in section.blocks:
            if isinstance(block, Tree | Table):
                assert f"### {block.title}".replace("\\", "") in plain
                assert f"<h3>{html.escape(block.title)}</h3>" in one.html.replace("&#34;", "&quot;")


def test_quantities_in_words() -> None:
    assert [Quantity(*each, estimate=True).text for each in ((0.0356412, "s"), (58.1, "s"), (388522.1,))] == [
        "35.6 ms",
        "58.1 s",
        "389,000",
    ]
    words = {
        Quantity(56_094_720, "B"): "56.09 MB",
        Quantity(0, "FLOPs"): "0 FLOPs",
        Quantity(2005): "2,005",
        Quantity(0.0156, "s"): "15.60 ms",
        Quantity(0.2082, "1"): "20.8 %",
        Quantity(0.00001, "1"): "< 0.01 %",
        Quantity(989.5e12, "FLOP/s"): "989.5 TFLOP/s",
    }
    assert {quantity.text: quantity for quantity in words} == {text: quantity for quantity, text in words.items()}
    assert Quantity(56_094_720, "B").digits == "56,094,720 B"


def test_no_model_is_named() -> None:
    folder = Path(modelmeter.report.__file__).parent
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in ("", ".pyc")]
    files.remove(PUBLISHED_FILE)  # data: of which models published figures are
    sources = "".join(path.read_text(encoding="utf-8") for path in files)
    assert not any(name in sources for name in MODELS)
    assert "deepseek" not in sources.lower()
