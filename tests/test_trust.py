"""docs/trust.md has the figures of the reports, as `python -m tests.trust` writes them."""

import pytest

from tests import trust


@pytest.mark.parametrize("name", trust.BLOCKS)
def test_the_figures_are_the_reports(name: str) -> None:
    found = trust.block(name).search(trust.PAGE.read_text(encoding="utf-8"))
    assert found is not None
    assert found[2].strip() == trust.BLOCKS[name]()


def test_the_tables_are_read_whole() -> None:
    assert len(trust.kernels().splitlines()) == 10
    assert trust.stages().count("\n") == 2 and "`PASS_ERROR`" not in trust.stages()
    assert "held out" in trust.misses() and "assumed" in trust.misses()
