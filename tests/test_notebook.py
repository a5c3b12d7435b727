"""The notebooks of `examples/` run, and give what is committed with them."""

from pathlib import Path

import nbformat
import pytest

from tests.notebook import NOTEBOOKS, executed, texts

MIB = 2**20


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_it_gives_what_it_shows(path: Path) -> None:
    shown = nbformat.read(path, as_version=4)
    given = executed(path)
    assert texts(given) == texts(shown), "make notebooks writes the outputs anew; read the difference"
    pictures = [[kind for each in cell.get("outputs", ()) for kind in each.get("data", ())] for cell in given.cells]
    assert any("image/png" in kinds for kinds in pictures)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_it_is_light_and_says_nothing_of_the_machine(path: Path) -> None:
    assert path.stat().st_size < MIB / 4
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec"} and all(not cell.metadata for cell in notebook.cells)
    assert all(cell.outputs or "import" in cell.source for cell in notebook.cells if cell.cell_type == "code")


def test_there_is_one() -> None:
    assert [path.name for path in NOTEBOOKS] == ["a_page.ipynb"]
