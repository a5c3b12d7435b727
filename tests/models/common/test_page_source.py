"""What stands for a page in Python: sides, image files, PDFs; and what does not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelmeter import load_cost_model
from modelmeter.errors import ModelMeterError
from tests.conftest import WritePdf


@pytest.fixture(scope="module")
def cost_model() -> Any:
    return load_cost_model(["workload=gundam"])


def test_a_file_is_the_page_that_it_holds(cost_model: Any, tmp_path: Path) -> None:
    Image.new("L", (600, 1800)).save(tmp_path / "scan.png")
    for path in (tmp_path / "scan.png", str(tmp_path / "scan.png")):
        assert cost_model.page(path, output_tokens=7) == cost_model.page(600, 1800, 7)
        assert cost_model.pages(path, 7) == [cost_model.page(600, 1800, 7)]


def test_a_size_in_words_is_a_page(cost_model: Any) -> None:
    assert cost_model.page("1275 x 1650") == cost_model.page("letter@150") == cost_model.page(1275, 1650)
    with pytest.raises(ModelMeterError, match="page size A4 has no resolution; write it as in A4@200"):
        cost_model.page("a4")


def test_a_pdf_has_pages(cost_model: Any, write_pdf: WritePdf) -> None:
    letter, wide = "/MediaBox [0 0 612 792]", "/MediaBox [0 0 1000 300]"
    one = write_pdf(letter, name="one.pdf")
    assert cost_model.page(one) == cost_model.page(1224, 1584)  # 144 dpi are two pixels a point
    two = write_pdf(letter, wide, name="two.pdf")
    assert cost_model.pages(two, dpi=72) == [cost_model.page(612, 792), cost_model.page(1000, 300)]
    with pytest.raises(ModelMeterError, match=r"page: '.*two.pdf' has 2 pages; pages\('.*'\) gives a list"):
        cost_model.page(two)


def test_numpys_integers_are_sides(cost_model: Any) -> None:
    sizes = np.array([[1275, 1650]], dtype=np.int32)
    assert cost_model.page(*sizes[0]) == cost_model.page(1275, 1650)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((1275,), r"page: \(1275, …\) has no height beside it; give width and height .* page\(1275, 1650\), or"),
        (((1275, 1650),), r"page: \(1275, 1650\) has no height beside it; give width and height"),
        ((None,), "page: None has no height beside it"),
        (("1275", "1650"), "page: width='1275' and height='1650' are texts; give whole numbers of pixels"),
        ((1275, "1650"), "page: height='1650' is a str; give a whole number of pixels as an int"),
        ((1275.0, 1650), "page: width=1275.0 is a float"),
        ((np.float64(1275), 1650), "page: width=.*1275.0.* is a float64"),
        ((True, 1650), "page: width=True is a bool"),
        ((np.int64(0), 1650), "page: width=0 is not positive"),
        (
            ("a.png", 1000),
            "page: 1000 is given beside 'a.png', which has a height of its own; .* say output_tokens=1000 if it is",
        ),
        (("nowhere.png",), "page nowhere.png does not exist; check the path"),
    ],
)
def test_what_is_no_page_is_refused_by_name(cost_model: Any, arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(ModelMeterError, match=words):
        cost_model.page(*arguments)


def test_pages_are_of_a_file(cost_model: Any) -> None:
    with pytest.raises(ModelMeterError, match="pages: 1275 is an int; give the path of an image file or a PDF"):
        cost_model.pages(1275)
