"""`page_costs`: every row is what the cost model says of that page, and what is no page says why."""

import pickle
import re
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelmeter.corpus import ModelLoader, PageCosts, SizeColumns, page_costs
from modelmeter.corpus.page_costs import cost_schema, layout_schema
from modelmeter.errors import ModelMeterError
from modelmeter.models.common import StageCost
from modelmeter.models.common.contract import Views
from modelmeter.models.common.request import Request
from modelmeter.models.deepseek_ocr import CostModel, VisionWorkload, load_cost_model
from modelmeter.pdf_pages import pixels

sides = st.one_of(st.integers(1, 700), st.integers(1, 6000), st.integers(1, 2**31 - 1))

COLUMNS = VisionWorkload.layout_columns


def batch(**columns: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def expected_row(model: CostModel, width: int, height: int, steps: int) -> dict[str, Any]:
    page = model.page(width, height, steps)
    row: dict[str, Any] = {"width_px": width, "height_px": height, "views": page.layout.num_views_total}
    row |= {"crop_columns": page.layout.w_crop, "crop_rows": page.layout.h_crop, "decode_steps": steps}
    row |= {"image_tokens": page.tokens.total, "kv_bytes": page.total.kv_bytes, "error": None}
    for name in ("vision", "prefill", "decode"):
        stage = getattr(page, name)
        for figure in ("tensor_core_flops", "cuda_core_flops", "io_bytes"):
            row[f"{name}_{figure}"] = Decimal(getattr(stage, figure))
        row[f"{name}_activation_peak_bytes"] = stage.activation_peak_bytes
    return row


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(pages=st.lists(st.tuples(sides, sides, st.sampled_from([0, 1, 2, 500])), max_size=20))
def test_every_row_is_the_cost_of_its_page(model: CostModel, pages: list[tuple[int, int, int]]) -> None:
    widths, heights, steps = (
        pa.array(column, pa.int64()) for column in (zip(*pages, strict=True) if pages else [[]] * 3)
    )
    costs = page_costs(batch(width=widths, height=heights, n=steps), model, SizeColumns(output_tokens="n"))
    assert costs.schema.names == ["width", "height", "n", *cost_schema(COLUMNS).names]
    rows = costs.select(cost_schema(COLUMNS).names).to_pylist()
    assert rows == [expected_row(model, *page) for page in pages]


def test_without_figures_there_are_layouts_only(model: CostModel) -> None:
    costs = page_costs(batch(width=[1275], height=[1650]), model, figures=False)
    assert costs.select(layout_schema(COLUMNS).names).to_pylist() == [
        {"width_px": 1275, "height_px": 1650, "views": 7, "crop_columns": 2, "crop_rows": 3, "decode_steps": 0,
         "error": None}
    ]  # fmt: skip


SIDES = {  # what stands in the column, pixels or the error's words
    "int": (pa.array([1275]), 1275),
    "small_int": (pa.array([200], pa.uint8()), 200),
    "float": (pa.array([1275.0]), 1275),
    "half_float": (pa.array(np.array([1024.0], np.float16)), 1024),
    "decimal": (pa.array([Decimal("1275.00")]), 1275),
    "text": (pa.array([" 1275 "]), 1275),
    "text_float": (pa.array(["1275.0"]), 1275),
    "text_exponent": (pa.array(["1.275e3"]), 1275),
    "large_text": (pa.array(["1275"], pa.large_string()), 1275),
    "text_view": (pa.array(["1275"], pa.string_view()), 1275),
    "dictionary": (pa.array(["1275"]).dictionary_encode(), 1275),
    "largest": (pa.array([2**31 - 1]), 2**31 - 1),
    "missing": (pa.array([None], pa.int64()), "width is missing"),
    "nothing": (pa.array([None]), "width is missing"),
    "empty_text": (pa.array([""]), "width  is no number"),
    "not_a_number": (pa.array([float("nan")]), "width nan is no number"),
    "nan_text": (pa.array(["nan"]), "width nan is no number"),
    "word": (pa.array(["wide"]), "width wide is no number"),
    "underscore": (pa.array(["1_000"]), "width 1_000 is no number"),
    "decimal_comma": (pa.array(["595,28"]), "width 595,28 has a comma; write 595.28 with a point, and thousands wi"),
    "thousands": (pa.array([" 1,275 "]), "width  1,275  has a comma; write"),
    "two_numbers": (pa.array(["12 75"]), "width 12 75 is no number"),
    "other_digits": (pa.array(["٣"]), "width ٣ is no number"),
    "zero": (pa.array([0]), "width 0 is not positive"),
    "negative": (pa.array([-5]), "width -5 is not positive"),
    "too_large": (pa.array([2**31]), "width 2147483648 is more than 2147483647 pixels"),
    "beyond_int64": (pa.array([2**64 - 1], pa.uint64()), "is more than 2147483647 pixels"),
    "infinite": (pa.array([float("inf")]), "width inf is more than"),
    "huge_text": (pa.array(["9" * 400]), "width 9{40}… is more than"),
}


@pytest.mark.parametrize("column, expected", SIDES.values(), ids=SIDES)
def test_sides(model: CostModel, column: pa.Array, expected: int | str) -> None:
    row = page_costs(batch(width=column, height=[5]), model).to_pylist()[0]
    if isinstance(expected, int):
        assert (row["width_px"], row["error"]) == (expected, None)
    else:
        assert re.search(expected, row["error"])
        assert {row[name] for name in cost_schema(COLUMNS).names if name != "error"} == {None}


def test_a_bad_page_does_not_touch_its_neighbours(model: CostModel) -> None:
    costs = page_costs(batch(width=[None, 1275, 0], height=[5, 1650, 5], name=["a", "b", "c"]), model)
    good = page_costs(batch(width=[1275], height=[1650], name=["b"]), model)
    assert costs.slice(1, 1).equals(good)
    assert costs.column("error").to_pylist() == ["width is missing", None, "width 0 is not positive"]


def test_the_first_reason_is_told(model: CostModel) -> None:
    costs = page_costs(batch(width=[-1], height=[-2], n=[-3]), model, SizeColumns(output_tokens="n"))
    assert costs.column("error").to_pylist() == ["width -1 is not positive"]


def test_errors_that_came_with_the_batch_stay(model: CostModel) -> None:
    costs = page_costs(batch(width=[1275, 1275, 0], height=[5, 5, 5], error=["cut off", None, "no file"]), model)
    assert costs.column("error").to_pylist() == ["cut off", None, "no file"]
    assert costs.column("views").is_null().to_pylist() == [True, False, True]
    assert costs.schema.names.count("error") == 1


POINTS = [612.0, 595.276, 0.001, 841.89, 36000.0, 419.53]


@pytest.mark.parametrize("dpi", [72, 144, 150, 200])
def test_points_become_pixels_as_the_pages_of_pdfs_do(model: CostModel, dpi: int) -> None:
    costs = page_costs(batch(width=POINTS, height=[792.0] * len(POINTS)), model, SizeColumns(unit="points", dpi=dpi))
    assert costs.column("width_px").to_pylist() == [pixels(each, dpi) for each in POINTS]
    assert costs.column("width").to_pylist() == POINTS


def test_points_beyond_the_largest_side(model: CostModel) -> None:
    costs = page_costs(batch(width=[2.0**30], height=[1]), model, SizeColumns(unit="points", dpi=300))
    assert costs.column("error").to_pylist() == ["width 1073741824.0 is more than 2147483647 pixels"]


def test_a_fraction_of_a_pixel_puts_the_unit_in_doubt(model: CostModel) -> None:
    with pytest.raises(ModelMeterError, match=r"height 841\.89 is a fraction of a pixel; .* say --unit points"):
        page_costs(batch(width=[612.0, 595.0], height=[792.0, 841.89]), model)


TOKENS = {
    "missing": (pa.array([None], pa.int64()), "n is missing"),
    "negative": (pa.array([-1]), "n -1 is no number of output tokens"),
    "fraction": (pa.array([1.5]), "n 1.5 is no number of output tokens"),
    "word": (pa.array(["many"]), "n many is no number of output tokens"),
    "too_many": (pa.array([8000]), "context: .* output_tokens=8000 exceed .* may be up to 7279"),
}


@pytest.mark.parametrize("column, expected", TOKENS.values(), ids=TOKENS)
@pytest.mark.parametrize("figures", [True, False])
def test_output_tokens(model: CostModel, column: pa.Array, expected: str, figures: bool) -> None:
    columns = SizeColumns(output_tokens="n")
    costs = page_costs(batch(width=[1275], height=[1650], n=column), model, columns, figures=figures)
    assert re.search(expected, costs.column("error")[0].as_py())
    assert costs.column("views").null_count == 1


def test_a_page_that_the_model_cannot_run_does_not_touch_its_neighbours(model: CostModel) -> None:
    sizes = batch(width=[600, 1275, 600], height=[600, 1650, 600], n=[7500, 7500, 3])
    costs = page_costs(sizes, model, SizeColumns(output_tokens="n"))
    assert costs.column("views").to_pylist() == [1, None, 1]
    assert costs.column("error")[1].as_py().startswith("context: ")


REFUSED = {
    "no_column": ({"wide": [1], "height": [1]}, SizeColumns(), 'there is no column width; did you mean "wide"'),
    "no_tokens": ({"width": [1], "height": [1]}, SizeColumns(output_tokens="n"), "there is no column n; the options"),
    "bools": ({"width": [True], "height": [1]}, SizeColumns(), "column width holds bool; name one that holds numbers"),
    "lists": ({"width": [[1]], "height": [1]}, SizeColumns(), "column width holds list"),
    "taken": ({"width": [1], "height": [1], "views": [1]}, SizeColumns(), "column views is there already, .* rename"),
}


@pytest.mark.parametrize("columns, names, message", REFUSED.values(), ids=REFUSED)
def test_refused(model: CostModel, columns: dict[str, Any], names: SizeColumns, message: str) -> None:
    with pytest.raises(ModelMeterError, match=message):
        page_costs(batch(**columns), model, names)


BAD_COLUMNS = {
    "unit": ({"unit": "pixel"}, 'unit=pixel is unknown; did you mean "pixels"'),
    "dpi": ({"dpi": 0}, "dpi=0 is no resolution; give a whole number from 1 to 10000"),
    "dpi_fraction": ({"dpi": 72.0}, r"dpi=72\.0 is no resolution"),
    "tokens": ({"output_tokens": -1}, "output_tokens=-1 is neither a number of 0 or more nor a column's name"),
    "tokens_bool": ({"output_tokens": True}, "output_tokens=True is neither"),
}


@pytest.mark.parametrize("arguments, message", BAD_COLUMNS.values(), ids=BAD_COLUMNS)
def test_bad_columns(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelMeterError, match=message):
        SizeColumns(**arguments)


def test_pages_are_counted_one_by_one() -> None:
    two = load_cost_model(["runtime.batch_size=2"])
    with pytest.raises(ModelMeterError, match=r"runtime\.batch_size=2, .* leave it at 1"):
        page_costs(batch(width=[1], height=[1]), two)


# -- as an object for engines ----------------------------------------------------------------------------------------


def test_it_travels_without_its_model() -> None:
    costs = PageCosts(partial(load_cost_model, ["workload=base"]), SizeColumns(output_tokens=7))
    sizes = batch(width=[1275, 640], height=[1650, 640])
    here = costs(sizes)
    arrived = pickle.loads(pickle.dumps(costs))
    assert len(pickle.dumps(costs)) < 2000
    assert arrived(sizes).equals(here)
    assert here.column("decode_steps").to_pylist() == [7, 7]
    assert here.column("views").to_pylist() == [1, 1]


def test_the_model_is_made_once() -> None:
    made = []

    def load() -> CostModel:
        made.append(1)
        return load_cost_model(["workload=tiny"])

    costs = PageCosts(load)
    assert not made
    for _ in range(3):
        costs(batch(width=[5], height=[6]))
    assert made == [1]


def test_tables_and_iterators(load_model: ModelLoader[CostModel]) -> None:
    costs = PageCosts(load_model)
    sizes = [batch(width=[1275], height=[1650]), batch(width=[600], height=[600])]
    whole = costs(pa.Table.from_batches(sizes))
    assert isinstance(whole, pa.Table)
    assert whole.equals(pa.Table.from_batches(list(costs.stream(iter(sizes)))))
    assert whole.schema == costs.schema(sizes[0].schema)
    empty = costs(pa.table({"width": pa.array([], pa.int64()), "height": pa.array([], pa.int64())}))
    assert (empty.num_rows, empty.schema) == (0, whole.schema)


# -- figures beyond 64 bits ------------------------------------------------------------------------------------------


@dataclass
class Giant:
    """A model of one layout whose page costs `stage` in every stage."""

    stage: StageCost
    batch_size: int = 1
    request = Request()

    @property
    def workload(self) -> Any:
        def layouts(widths: Any, heights: Any) -> Any:
            return np.zeros(len(widths), np.int64), [(1, 1, 1)]

        return SimpleNamespace(layout_columns=COLUMNS, layouts=layouts)

    def layout_cost(self, layout: Any, output_tokens: int = 0) -> Any:
        stages = dict.fromkeys(("vision", "prefill", "decode", "total"), self.stage)
        return SimpleNamespace(tokens=SimpleNamespace(total=1), views=(Views("page", 1, 8, 8, 1, 1, 1),), **stages)


GIANT = StageCost(tensor_core_flops=10**30 + 1, io_weight_bytes=2**70 + 1, activation_peak_bytes=2**63 - 1)


def test_flops_and_traffic_beyond_64_bits_are_exact() -> None:
    row = page_costs(batch(width=[5], height=[5]), Giant(GIANT)).to_pylist()[0]
    assert int(row["vision_tensor_core_flops"]) == 10**30 + 1
    assert int(row["decode_io_bytes"]) == 2**70 + 1
    assert row["vision_activation_peak_bytes"] == 2**63 - 1


@pytest.mark.parametrize("figure", ["kv_bytes", "activation_peak_bytes"])
def test_memory_beyond_64_bits_is_refused(figure: str) -> None:
    with pytest.raises(ModelMeterError, match=rf"{figure}=9223372036854775808 does not fit into int64"):
        page_costs(batch(width=[5], height=[5]), Giant(replace(GIANT, **{figure: 2**63})))


def test_figures_beyond_38_digits_are_refused() -> None:
    with pytest.raises(ModelMeterError, match=r"vision_tensor_core_flops=10{38} does not fit into decimal128\(38, 0\)"):
        page_costs(batch(width=[5], height=[5]), Giant(replace(GIANT, tensor_core_flops=10**38)))
