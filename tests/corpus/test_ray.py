"""The same corpus on Ray Data, and `PageCosts` handed to its `map_batches`."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from modelmeter.corpus import CorpusOptions, PageCosts, SizeColumns, page_costs, run_corpus
from modelmeter.errors import ModelMeterError
from modelmeter.models.deepseek_ocr import load_cost_model

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="not run: ray is not installed")
LOAD = partial(load_cost_model, ["workload.max_num=6"])


pytestmark = pytest.mark.xdist_group("ray")  # one Ray at a time


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="not run: ray is not installed")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()
    monkeypatch.undo()


def sizes(pages: int) -> dict[str, list[Any]]:
    return {
        "width": [i * 7919 % 3000 if i % 10 else -i for i in range(pages)],
        "height": [1 + i * 104729 % 3000 for i in range(pages)],
        "kind": ["abc"[i % 3] for i in range(pages)],
    }


@needs_ray
def test_results_and_rows_are_those_of_the_local_engine(tmp_path: Path, ray: Any) -> None:
    (tmp_path / "in").mkdir()
    Image.new("L", (700, 900)).save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").touch()
    (tmp_path / "a.csv").write_text("width,height,kind\n600,600,a\n0,5,b\n")
    pq.write_table(pa.table(sizes(500)), tmp_path / "a.parquet", row_group_size=60)
    sources = [str(tmp_path / name) for name in ("in", "a.csv", "a.parquet")]
    local = CorpusOptions(group="kind", batch_pages=50, rows=tmp_path / "local.parquet")
    on_ray = replace(local, engine="ray", rows=tmp_path / "ray.parquet")
    expected = run_corpus(sources, LOAD, local)
    assert expected.left_out == 52
    assert run_corpus(sources, LOAD, on_ray) == expected
    assert pq.read_table(tmp_path / "ray.parquet").equals(pq.read_table(tmp_path / "local.parquet"))
    assert run_corpus(sources, LOAD, replace(on_ray, rows=None)) == expected


@needs_ray
def test_strict_holds_on_ray(tmp_path: Path, ray: Any) -> None:
    (tmp_path / "a.csv").write_text("width,height\n0,5\n")
    options = CorpusOptions(engine="ray", strict=True, rows=tmp_path / "out" / "rows.parquet")
    with pytest.raises(ModelMeterError, match=r"a\.csv#1: width 0 is not positive"):
        run_corpus([str(tmp_path / "a.csv")], LOAD, options)
    assert list((tmp_path / "out").iterdir()) == []


@needs_ray
def test_a_wrong_request_is_the_same_error_on_ray(tmp_path: Path, ray: Any) -> None:
    (tmp_path / "a.csv").write_text("wide,height\n1,5\n")
    with pytest.raises(ModelMeterError) as caught:
        run_corpus([str(tmp_path / "a.csv")], LOAD, CorpusOptions(engine="ray"))
    assert str(caught.value) == f'{tmp_path}/a.csv: there is no column width; did you mean "wide"?'


@needs_ray
def test_page_costs_in_map_batches(tmp_path: Path, ray: Any) -> None:
    table = pa.table(sizes(300))
    costs = PageCosts(LOAD, SizeColumns(output_tokens=5))
    made = ray.data.from_arrow(table).map_batches(costs, batch_format="pyarrow", batch_size=64)
    made.write_parquet(tmp_path / "costs")
    expected = page_costs(table.combine_chunks().to_batches()[0], LOAD(), SizeColumns(output_tokens=5))
    rows = pq.read_table(tmp_path / "costs").select(expected.schema.names)
    key = [("width", "ascending"), ("height", "ascending")]
    assert rows.sort_by(key).equals(pa.Table.from_batches([expected]).sort_by(key))


def test_standard_input_is_refused_on_ray() -> None:
    with pytest.raises(ModelMeterError, match=r"standard input \(-\) cannot be read on Ray"):
        run_corpus(["-"], LOAD, CorpusOptions(engine="ray"))


def test_without_ray_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    (tmp_path / "a.csv").write_text("width,height\n1,5\n")
    with pytest.raises(ModelMeterError, match=r"engine=ray needs Ray; pip install 'ray\[data\]'"):
        run_corpus([str(tmp_path / "a.csv")], LOAD, CorpusOptions(engine="ray"))


def test_page_costs_as_spark_calls_it() -> None:
    """mapInArrow hands over an iterator of record batches, and the function has been pickled by value."""
    import pickle

    function: Callable[..., Iterator[pa.RecordBatch]] = pickle.loads(pickle.dumps(PageCosts(LOAD).stream))
    batches = pa.table(sizes(30)).to_batches(max_chunksize=7)
    assert [len(made) for made in function(iter(batches))] == [7, 7, 7, 7, 2]
