"""A corpus of a model with numerous layouts: what is added up, written, gone on with, and sent to other processes."""

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from modelmeter.corpus import CorpusOptions, ModelLoader, run_corpus
from modelmeter.corpus import run as run_module
from modelmeter.corpus.run import row_schema
from modelmeter.models.common.totals import Totals
from tests.toy_model import CostModel, load_cost_model
from tests.toy_model.workload import Workload


def write_sizes(path: Path, pages: int = 200) -> list[tuple[int, int]]:
    sizes = [(1 + index * 7919 % 2500, 1 + index * 104729 % 2500) for index in range(pages)]
    path.write_text("width,height\n" + "".join(f"{width},{height}\n" for width, height in sizes))
    return sizes


@pytest.fixture(scope="module")
def load_model() -> ModelLoader[CostModel]:
    return ModelLoader(partial(load_cost_model, ["execution=serving"]))


def test_totals_are_sums_over_pages(tmp_path: Path, load_model: ModelLoader[CostModel]) -> None:
    sizes = write_sizes(tmp_path / "sizes.csv")
    cost = run_corpus([str(tmp_path / "sizes.csv")], load_model)
    pages = [(Totals.of_page(load_model().page(*size), 0), 1) for size in sizes]
    assert cost.everything.totals == Totals.of_pages(pages)
    assert len(cost.layouts) > 150
    assert all(load_model().workload.layout_of(layout) == layout for layout in cost.layouts)


def test_a_run_goes_on_where_it_stopped(
    tmp_path: Path, load_model: ModelLoader[CostModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        write_sizes(tmp_path / f"{name}.csv", 60)
    sources = [str(tmp_path / f"{name}.csv") for name in ("a", "b", "c")]
    options = CorpusOptions(rows=tmp_path / "rows.parquet", resume=tmp_path / "resume")
    whole = run_corpus(sources, load_model, CorpusOptions(rows=tmp_path / "whole.parquet"))
    read, stopped = run_module.read_item, []

    def read_two(*arguments: Any, **named: Any) -> Any:
        stopped.append(1)
        if len(stopped) == 3:
            raise KeyboardInterrupt
        return read(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "read_item", read_two)
        with pytest.raises(KeyboardInterrupt):
            run_corpus(sources, load_model, options)
    assert run_corpus(sources, load_model, options) == whole
    rows = pq.read_table(tmp_path / "rows.parquet")
    assert rows.equals(pq.read_table(tmp_path / "whole.parquet"))
    assert rows.schema.equals(row_schema(Workload.layout_columns))


def test_how_to_load_it_can_be_sent(load_model: ModelLoader[CostModel]) -> None:
    sent = pickle.loads(pickle.dumps(load_model))
    assert sent().page(500, 700) == load_model().page(500, 700)
