"""reports/compare.md: the commands that it shows print that."""

import numpy as np
import pytest

from benchmarks import compare_models


@pytest.mark.slow
def test_the_bundled_pages_stand_there_as_they_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", compare_models.COLUMNS)
    assert compare_models.bundled() in compare_models.REPORT.read_text(encoding="utf-8")


def test_the_sizes_are_those_of_scans() -> None:
    table = compare_models.sizes(1000)
    widths, heights = (np.asarray(table.column(name)) for name in ("width", "height"))
    assert table.num_rows == 1000 and compare_models.sizes(1000).equals(table)
    assert 800 < widths.min() < widths.max() < 2630 and 1060 < heights.min() < heights.max() < 3615
    assert ((heights / widths > 1.2) & (heights / widths < 1.51)).all()
