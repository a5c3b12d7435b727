"""MinerU2.5's page of several passes: its layout, then each declared region; all of it the sum of its passes."""

import json
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelmeter import load_cost_model
from modelmeter.cli.main import main
from modelmeter.comparison import operator_sums
from modelmeter.devices import PageKind, Roofline, compute_throughput, load_device
from modelmeter.devices.decode import decode_time
from modelmeter.errors import ModelMeterError
from modelmeter.models import model_package
from modelmeter.models.common.components import page_components
from modelmeter.models.common.merged_grid import MergedGrid
from modelmeter.models.common.stage_cost import LARGEST, STAGES, SUMS
from modelmeter.models.qwen2_vl import MODES

PAGE = (1275, 1650)
SIDES = ((1000, 60), (480, 620), (300, 24))
#: two of them with a place, and one without
REGIONS = "workload.regions=[[1000,60,140,90],[480,620,120,200],[300,24]]"
FEW = ("vision.depth=2", "decoder.num_hidden_layers=2", "decoder.vocab_size=1000")
PEAKS = ("activation_peak_bytes", *LARGEST)


def load(*overrides: str) -> Any:
    return load_cost_model([*FEW, *overrides], model="mineru2_5")


def alone(steps: tuple[int, ...], *overrides: str) -> list[Any]:
    """The passes as pages of their own, each with its decode steps."""
    layout, region = load(*overrides), load("workload=region", *overrides)
    sizes = zip((layout, *[region] * len(SIDES)), (PAGE, *SIDES), steps, strict=True)
    return [model.page(*size, count) for model, size, count in sizes]


SETTINGS = {
    "default": (),
    "three pages": ("runtime.batch_size=3",),
    "eager, float32": ("runtime.attention=eager", "runtime.dtype=float32"),
    "serving": ("execution=serving",),
}


@pytest.mark.parametrize("overrides", SETTINGS.values(), ids=SETTINGS)
def test_a_page_is_the_sum_of_its_passes(overrides: tuple[str, ...]) -> None:
    model = load(REGIONS, *overrides)
    page = model.page(*PAGE, 70)
    # 36 x 2, 17 x 22 and 12 x 1 tokens: 72, 374 and 12 of 458
    shares = (0, 70 * 72 // 458, 70 * 446 // 458 - 70 * 72 // 458, 70 - 70 * 446 // 458)
    assert [steps for _, steps in page.passes(70)] == list(shares) == [0, 11, 57, 2]
    passes = alone(shares, *overrides)
    for stage in (*STAGES, "total"):
        for figure in (*SUMS, "io_bytes"):
            assert getattr(getattr(page, stage), figure) == sum(
                getattr(getattr(each, stage), figure) for each in passes
            ), (stage, figure)
        for figure in PEAKS:
            assert getattr(getattr(page, stage), figure) == max(
                getattr(getattr(each, stage), figure) for each in passes
            ), (stage, figure)
    assert page.seq_len == sum(each.seq_len for each in passes) == 1369 + 458 + 4 * 30
    assert page.tokens.by_view() == {"layout": 1369, "regions": 458}
    assert page.prefill.peak_path.startswith("layout.") and page.decode.peak_path.startswith("regions.")


def test_the_walk_of_a_page_is_its_passes_one_after_another() -> None:
    model = load(REGIONS)
    page = model.page(*PAGE, 70)
    passes = alone((0, 11, 57, 2))
    for stage in ("vision", "prefill"):
        walk, cost = model.stage_walk(stage, page=page), getattr(page, stage)
        assert (walk.tensor_core_flops, walk.peak_bytes) == (cost.tensor_core_flops, cost.activation_peak_bytes)
        assert (walk.peak_path, walk.peak_operator) == (cost.peak_path, cost.peak_operator)
        records = list(walk.records())
        assert sum(each.bytes_read + each.bytes_written for each in records) == cost.io_bytes
        assert {each.path.split(".visual")[0].split(".layers")[0] for each in records if "layers.0" in each.path} == (
            {"layout", "regions.0", "regions.1", "regions.2"} if stage == "prefill" else set()
        )
    roofline = Roofline(load_device("A100-80G"))
    models = [load(), *[load("workload=region")] * 3]
    parts = zip(models, passes, (0, 11, 57, 2), strict=True)
    assert decode_time(roofline, model, page, 70) == sum(
        (decode_time(roofline, one, each, steps) for one, each, steps in parts),
        start=decode_time(roofline, model, page, 0),
    )
    components = page_components(model, page, 70)
    for stage in ("prefill", "decode"):
        parts_flops = sum(each.tensor_core_flops for each in components[stage].values())
        assert parts_flops == getattr(page, stage).tensor_core_flops
    decoded = [each for (stage, *_), each in operator_sums(model, page, 70).items() if stage == "decode"]
    assert sum(each.cost.tensor_core_flops for each in decoded) == page.decode.tensor_core_flops


@pytest.mark.parametrize("stage", STAGES)
def test_who_holds_the_peak_is_in_the_largest_pass(stage: str) -> None:
    model = load(REGIONS)
    holders = model.peak_holders(stage, *PAGE, 70)
    assert sum(each.nbytes for each in holders) == getattr(model.page(*PAGE, 70), stage).resident_peak_bytes


def test_shares_of_the_output_may_be_declared() -> None:
    model = load(REGIONS, "workload.output_shares=[20,0,30,10]")
    page = model.page(*PAGE, 60)
    assert [steps for _, steps in page.passes(60)] == [20, 0, 30, 10]
    labels = {each.figure: each.label for each in model.assumptions()}
    assert (labels["layout"], labels["output_tokens"]) == ("regions declared", "shares declared")
    passes = alone((20, 0, 30, 10))
    assert page.decode.tensor_core_flops == sum(each.decode.tensor_core_flops for each in passes)
    assert page.decode.kv_bytes == passes[0].decode.kv_bytes  # the longest, and now of 20 steps


def test_a_pass_may_not_run_past_the_models_positions_and_the_longest_output_does_not() -> None:
    model = load(REGIONS, "decoder.max_position_embeddings=1500")
    with pytest.raises(ModelMeterError, match=r"404 tokens of prompt and image and output_tokens=\d+ exceed"):
        model.page(*PAGE, 1400)
    tokens = model.longest_output(10**12, *PAGE)
    assert max(each.seq_len + steps for each, steps in model.page(*PAGE, tokens).passes(tokens)) == 1500
    with pytest.raises(ModelMeterError, match="exceed"):
        model.page(*PAGE, tokens + 2)


def resized_by_need(width: int, height: int) -> tuple[int, int]:
    """What the published client does to a region: padding to a ratio of 50, then an edge of at least 28."""
    if max(width, height) / min(width, height) > 50:
        width, height = (width, ceil(width / 50)) if width > height else (ceil(height / 50), height)
    if min(width, height) < 28:
        scale = 28 / min(width, height)
        width, height = ceil(width * scale), ceil(height * scale)
    return width, height


def test_a_region_is_resized_as_the_published_client_does() -> None:
    workload = MODES["region"]
    rng = np.random.default_rng(7)
    sides = np.concatenate((rng.integers(1, 60, (4000, 2)), rng.integers(1, 4000, (4000, 2))))
    sides[::5, 0] *= 40
    widths, heights = sides.T
    scaled = np.stack(workload.all_scaled(widths, heights), 1)
    expected = [resized_by_need(*size) for size in sides.tolist()]
    assert scaled.tolist() == [list(size) for size in expected]
    assert [workload.scaled(*size) for size in sides.tolist()] == expected
    indices, layouts = workload.layouts(widths, heights)
    assert [layouts[index] for index in indices] == [workload.layout(*size) for size in sides.tolist()]
    tokens = [each.columns * each.rows for each in layouts]
    assert min(tokens) >= 4 and max(tokens) <= 2048


def test_pages_that_a_region_is_not_within_are_refused_one_by_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = load(REGIONS)
    with pytest.raises(ModelMeterError, match=r"regions\[0\]=\[1000, 60, 140, 90\], which reaches to 1140 x 150, is"):
        model.page(1139, 2000)
    assert model.page(1140, 820).layout == MergedGrid(37, 37)
    indices, layouts = model.workload.layouts([1140, 1139, 5000], [820, 820, 819])
    assert [layouts[index] for index in indices] == [(37, 37), (0, 0), (0, 0)]
    table = tmp_path / "pages.csv"
    table.write_text("width,height\n1275,1650\n900,900\n")
    assert main(["corpus", str(table), "--model", "mineru2_5", REGIONS]) == 0
    told = capsys.readouterr()
    assert "workload.regions reach to 1140 x 820 pixels, which is not within the page" in told.err
    assert "regions declared" in told.out


WRONG = {
    "outside": ([REGIONS], "page 1000x1000: layout: workload.regions[0]=[1000, 60, 140, 90], which reaches to 1140 x"),
    "no layout": (["workload=region", REGIONS], "take workload=layout, or give a region as a page"),
    "a side of 0": (["workload.regions=[[0,5]]"], "is no region; give [width, height] or"),
    "text": (["workload.regions=[[a,5]]"], "workload.regions[0][0]='a' is no whole number"),
    "no list": (["workload.regions=5"], "workload.regions=5 is neither a list of regions nor a table of them"),
}


@pytest.mark.parametrize(("overrides", "message"), WRONG.values(), ids=WRONG)
def test_wrong_regions_are_refused_on_the_command_line(
    overrides: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["page", "1000x1000", "--model", "mineru2_5", *overrides]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_every_output_says_that_regions_are_declared(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    given = ["1275x1650", "--model", "mineru2_5", REGIONS, "--output-tokens", "70"]
    assert main(["page", *given]) == 0
    text = capsys.readouterr().out
    assert (
        "4: the page as 1036 x 1036, tokens 37 x 37; regions as 1008 x 56, 476 x 616, 336 x 28 (regions declared)"
        in text
    )
    assert "+ 4 x 30 prompt (assumed) = 1947 prefill" in text
    assert "output  70 decode steps, so 74 tokens with those of 4 prefills (shared by image tokens)" in text
    assert main(["throughput", *given, "--device", "A100-80G"]) == 0
    assert "(regions declared)" in " ".join(capsys.readouterr().out.split())
    report = tmp_path / "report.json"
    assert main(["report", *given, "--format", "json", "-o", str(report)]) == 0
    content = json.loads(report.read_text())
    assert "regions declared" in json.dumps(content["sections"]["pages"]["layouts"]["columns"])
    views = content["sections"]["pages"]["page_1"]["data"]["views"]
    assert [each["name"] for each in views] == ["layout", "regions", "regions", "regions"]
    assert views[1]["place"] == [140, 90, 1000, 60] and views[3]["place"] is None


def test_throughput_takes_the_sum_of_the_passes() -> None:
    model = load(REGIONS, "engine=best")
    device = load_device("A100-80G")
    page = model.page(*PAGE)
    made = compute_throughput(model, device, [PageKind(page=page, output_tokens=70)], batch_size=4)
    roofline = Roofline(device)
    prefill = float(roofline.stage(model.stage_walk("prefill", page=page)).seconds)
    assert made.prefill_s == pytest.approx(prefill, rel=1e-9)
    assert made.steps_s == pytest.approx(decode_time(roofline, model.batched(4), page, 70).seconds, rel=1e-9)
    assert (made.output_tokens, made.pages) == (70, 1)
    assert made.memory.cache_bytes == 4 * model.step(374 + 30 + 57 - 1).kv_bytes  # of the longest pass that decodes


def test_the_real_modules_run_one_pass() -> None:
    package = model_package("qwen2_vl")
    with pytest.raises(ModelMeterError, match="each region as a page with workload=region"):
        package.whole_model(load(REGIONS))
