"""The sizes of a corpus, read once: the pages that the corpus of any model counts."""

from pathlib import Path
from typing import Any

import pytest

from modelmeter.corpus import CorpusOptions, ModelLoader, SizeColumns, run_corpus
from modelmeter.corpus.sizes import read_sizes
from modelmeter.errors import ModelMeterError


def test_equal_pages_are_one_with_their_number(tmp_path: Path) -> None:
    table = tmp_path / "pages.csv"
    table.write_text(
        "width,height,n,steps,kind\n100,200,3,5,a\n100,200,4,5,a\n100,200,1,6,a\n7,9,0,5,b\n100,200,2,5,b\n"
    )
    columns = SizeColumns(count="n", output_tokens="steps")
    sizes = read_sizes([str(table)], CorpusOptions(columns=columns, group="kind", batch_pages=2))
    rows = zip(sizes.groups, sizes.widths, sizes.heights, sizes.steps, sizes.counts, strict=True)
    assert sorted(rows) == [("a", 100, 200, 5, 7), ("a", 100, 200, 6, 1), ("b", 100, 200, 5, 2)]


def test_they_are_what_a_corpus_counts(write_parquet: Any, load_model: ModelLoader[Any], tmp_path: Path) -> None:
    path = write_parquet({"width": [1275.0, 612.0, None, -3.0], "height": [1650.0, 792.0, 5.0, 5.0]}, row_group_size=2)
    options = CorpusOptions(columns=SizeColumns(unit="points", dpi=144))
    sizes = read_sizes([path], options)
    cost = run_corpus([path], load_model, options)
    assert sorted(zip(sizes.widths.tolist(), sizes.heights.tolist(), strict=True)) == [(1224, 1584), (2550, 3300)]
    assert (sizes.left_out, [str(each) for each in sizes.listed]) == (
        cost.left_out,
        [str(each) for each in cost.listed],
    )
    assert sum(sizes.counts) == cost.everything.totals.pages


def test_no_page_is_an_error(tmp_path: Path) -> None:
    table = tmp_path / "pages.csv"
    table.write_text("width,height\n0,200\n")
    with pytest.raises(ModelMeterError, match=r"no page to count \(1 left out; the first: .*width 0 is not positive"):
        read_sizes([str(table)], CorpusOptions())
    table.write_text("width,height\n")
    with pytest.raises(ModelMeterError, match="no page to count; give images"):
        read_sizes([str(table)], CorpusOptions())
