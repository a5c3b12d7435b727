"""Totals are the sums of single pages, exactly; distributions are those of a sorted list."""

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelmeter.corpus import ModelLoader, SizeColumns, corpus_cost, page_costs
from modelmeter.corpus.tally import MAX_LISTED, Cell, LeftOut, Tally, summarise
from modelmeter.corpus.totals import MEASURES, Distribution, Totals
from modelmeter.errors import ModelMeterError
from modelmeter.models.common import StageCost
from modelmeter.models.common.contract import Views
from modelmeter.models.common.stage_cost import WITH_TOTAL
from modelmeter.models.deepseek_ocr import CostModel, PageCost, VisionWorkload

ADDED = (
    "tensor_core_flops", "cuda_core_flops", "io_weight_bytes", "io_activation_bytes", "io_kv_bytes", "kv_added_bytes",
)  # fmt: skip
LARGEST = ("weight_bytes", "activation_peak_bytes", "resident_peak_bytes", "kv_bytes")

sides = st.one_of(st.integers(1, 700), st.integers(1, 6000))
pages_of_groups = st.lists(
    st.tuples(sides, sides, st.sampled_from([0, 1, 2, 7, 500]), st.sampled_from(["a", "b", None])),
    min_size=1,
    max_size=40,
)

LAYOUT_COLUMNS = VisionWorkload.layout_columns


def tally_of(model: CostModel, pages: list[tuple[int, int, int, str | None]], batch_pages: int = 7) -> Tally:
    tally = Tally()
    for start in range(0, len(pages), batch_pages):
        widths, heights, steps, groups = zip(*pages[start : start + batch_pages], strict=True)
        batch = pa.RecordBatch.from_pydict(
            {"source": ["s"] * len(widths), "page_number": range(len(widths)), "width": widths, "height": heights,
             "n": steps, "group": pa.array(groups, pa.string())}
        )  # fmt: skip
        tally.add(summarise(page_costs(batch, model, SizeColumns(output_tokens="n"), figures=False), LAYOUT_COLUMNS))
    return tally


def check(totals: Totals, costs: list[tuple[PageCost, int]]) -> None:
    """Every figure of `totals`, page by page."""
    assert totals.pages == len(costs)
    assert totals.views == sum(cost.layout.num_views_total for cost, _ in costs)
    assert totals.image_tokens == sum(cost.tokens.total for cost, _ in costs)
    assert totals.output_tokens == sum(steps for _, steps in costs)
    for name in WITH_TOTAL:
        stages = [getattr(cost, name) for cost, _ in costs]
        total = getattr(totals, name)
        for figure in ADDED:
            assert getattr(total, figure) == sum(getattr(stage, figure) for stage in stages)
        for figure in LARGEST:
            assert getattr(total, figure) == max(getattr(stage, figure) for stage in stages)
        highest = [stage for stage in stages if stage.activation_peak_bytes == total.activation_peak_bytes]
        assert (total.peak_path, total.peak_operator) in {(stage.peak_path, stage.peak_operator) for stage in highest}


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(pages=pages_of_groups)
def test_totals_are_the_sums_of_single_pages(model: CostModel, pages: list[tuple[int, int, int, str | None]]) -> None:
    cost = corpus_cost(tally_of(model, pages), model)
    singles = [(model.page(width, height, steps), steps) for width, height, steps, _ in pages]
    check(cost.everything.totals, singles)
    for layout, part in cost.layouts.items():
        check(part.totals, [single for single in singles if tuple(single[0].layout) == layout])
    for group, part in cost.groups.items():
        check(part.totals, [single for single, page in zip(singles, pages, strict=True) if page[3] == group])
    assert sum(part.totals.pages for part in cost.layouts.values()) == len(pages)
    assert sum(part.totals.pages for part in cost.groups.values()) == len(pages)
    for name in MEASURES:
        ordered = sorted(MEASURES[name](Totals.of_page(*single)) for single in singles)
        distribution = cost.everything.distribution(name)
        assert (distribution.smallest, distribution.largest) == (ordered[0], ordered[-1])
        assert distribution.total == sum(ordered)
        for percent, value in distribution.percentiles.items():
            # the smallest value that at least that many percent of the pages do not exceed
            assert value == next(
                each for each in ordered if sum(o <= each for o in ordered) * 100 >= percent * len(pages)
            )


def test_the_order_of_the_pages_does_not_matter(model: CostModel) -> None:
    pages = [(100 * i, 2000 - 90 * i, i % 3, "ab"[i % 2]) for i in range(1, 20)]
    assert corpus_cost(tally_of(model, pages), model) == corpus_cost(tally_of(model, pages[::-1], 3), model)


def test_every_stage_figure_is_added_or_the_largest() -> None:
    fields = set(StageCost.__dataclass_fields__)
    assert fields == {*ADDED, *LARGEST, "peak_path", "peak_operator"}


def test_counts_beyond_64_bits_are_exact() -> None:
    stage = StageCost(tensor_core_flops=10**19 + 1, io_weight_bytes=3, kv_bytes=7, kv_added_bytes=7)
    cost = SimpleNamespace(
        views=(Views("page", 1, 8, 8, 1, 1, 1),), tokens=SimpleNamespace(total=1), **dict.fromkeys(WITH_TOTAL, stage)
    )
    model: Any = SimpleNamespace(layout_cost=lambda layout, steps: cost, workload=None)
    tally = Tally(Counter({Cell(None, (1, 1, 1), 0): 10**12 + 1}))
    totals = corpus_cost(tally, model).everything.totals
    assert totals.total.tensor_core_flops == (10**19 + 1) * (10**12 + 1)
    assert (totals.total.kv_bytes, totals.total.kv_added_bytes) == (7, 7 * (10**12 + 1))


DISTRIBUTIONS = {  # pages by value: smallest, 50 %, 90 %, 99 %, largest; ranks by hand
    "one_page": ({5: 1}, (5, 5, 5, 5, 5)),
    "two_pages": ({5: 1, 9: 1}, (5, 5, 9, 9, 9)),
    "three_pages": ({5: 1, 6: 1, 9: 1}, (5, 6, 9, 9, 9)),
    # ranks 50, 90 and 99 of a hundred
    "hundred": ({1: 49, 2: 1, 3: 39, 4: 1, 5: 8, 6: 1, 7: 1}, (1, 2, 4, 6, 7)),
    "below_the_rank": ({1: 50, 2: 39, 3: 11}, (1, 1, 3, 3, 3)),
    "unordered": ({9: 1, 1: 99}, (1, 1, 1, 1, 9)),
}


@pytest.mark.parametrize("pages_by_value, values", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_distributions(pages_by_value: dict[int, int], values: tuple[int, ...]) -> None:
    distribution = Distribution.of_values(pages_by_value)
    assert (distribution.smallest, *distribution.percentiles.values(), distribution.largest) == values
    assert list(distribution.percentiles) == [50, 90, 99]


# -- the tally -------------------------------------------------------------------------------------------------------


def costs_of(model: CostModel, widths: list[int], **more: Any) -> pa.RecordBatch:
    columns = {"source": ["s"] * len(widths), "page_number": range(1, len(widths) + 1), "width": widths}
    return page_costs(pa.RecordBatch.from_pydict(columns | {"height": widths} | more), model)


def test_a_tally_survives_json(model: CostModel) -> None:
    tally = tally_of(model, [(1275, 1650, 5, "é"), (600, 600, 0, None), (1275, 1650, 5, "é")])
    tally.add(summarise(costs_of(model, [0, 5]), LAYOUT_COLUMNS))
    assert Tally.from_json(json.loads(json.dumps(tally.as_json()))) == tally
    assert (tally.counted, tally.left_out) == (4, 1)


def test_left_out_pages_are_counted_and_the_first_listed(model: CostModel) -> None:
    tally = Tally()
    for _ in range(3):
        tally.add(summarise(costs_of(model, [0] * 700 + [5]), LAYOUT_COLUMNS))
    assert (tally.counted, tally.left_out, len(tally.listed)) == (3, 2100, MAX_LISTED)
    assert tally.listed[0] == LeftOut("s", 1, "width 0 is not positive")
    assert tally.listed[700] == LeftOut("s", 1, "width 0 is not positive")
    many = Tally()
    many.add(summarise(costs_of(model, [0] * 2500), LAYOUT_COLUMNS))
    assert (many.counted, many.left_out, len(many.listed)) == (0, 2500, MAX_LISTED)


def test_a_page_left_out_says_where_it_is() -> None:
    assert str(LeftOut("a.csv", 3, "width is missing")) == "a.csv#3: width is missing"
    assert str(LeftOut("a.csv", None, "is empty")) == "a.csv: is empty"
    assert str(LeftOut("./a.png", None, "page a.png is empty")) == "page a.png is empty"
    assert str(LeftOut("a.png", None, "page a.png is empty")) == "page a.png is empty"


def test_no_page_at_all(model: CostModel) -> None:
    with pytest.raises(ModelMeterError, match="there is no page to count; give images, PDFs, or tables"):
        corpus_cost(Tally(), model)
    tally = Tally()
    tally.add(summarise(costs_of(model, [0, -1]), LAYOUT_COLUMNS))
    with pytest.raises(ModelMeterError, match=r"\(2 left out; the first: s#1: width 0 is not positive\)"):
        corpus_cost(tally, model)


def test_too_many_groups_are_refused(load_model: ModelLoader[CostModel], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelmeter.corpus.tally.MAX_CELLS", 3)
    tally = Tally()
    tally.add(summarise(costs_of(load_model(), [5, 5, 5], group=["a", "b", "c"]), LAYOUT_COLUMNS))
    with pytest.raises(ModelMeterError, match=r"more than 3 different groups, .* group by a column with fewer values"):
        tally.add(summarise(costs_of(load_model(), [5], group=["d"]), LAYOUT_COLUMNS))


def test_equal_peaks_are_named_the_same_whatever_the_times() -> None:
    first = StageCost(activation_peak_bytes=5, peak_path="first")
    pages = [(replace(Totals(), total=first), 1), (replace(Totals(), total=replace(first, peak_path="second")), 9)]
    assert Totals.of_pages(pages).total.peak_path == "first"
