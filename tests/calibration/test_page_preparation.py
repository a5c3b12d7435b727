"""What preparing a page takes: every step is run as often as said, on pictures of the right sizes."""

from pathlib import Path

import pytest
from PIL import Image

from modelmeter.calibration import page_preparation
from modelmeter.calibration.page_preparation import drawn_page, measure
from modelmeter.errors import ModelMeterError
from modelmeter.models.common.contract import Views
from modelmeter.page_sizes import read_page

WHOLE = Views(name="whole", count=1, height=40, width=50, columns=1, rows=1, tokens=1)
TILES = Views(name="tiles", count=6, height=8, width=16, columns=3, rows=2, tokens=6)


def test_a_page_becomes_its_views(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    tensor = page_preparation._tensor

    def watched(view: Image.Image) -> object:
        made = tensor(view)
        shapes.append(made.shape)  # type: ignore[attr-defined]
        return made

    monkeypatch.setattr(page_preparation, "_tensor", watched)
    reads = []

    def read() -> Image.Image:
        reads.append(1)
        return Image.new("RGB", (120, 90))

    made = measure("page", read, (WHOLE, TILES), repeats=3)
    assert len(reads) == 3
    assert shapes == [(3, 40, 50), *[(3, 8, 16)] * 6] * 3
    assert (made.width, made.height, made.rendered) == (120, 90, False)
    assert made.read_s >= 0 and made.resize_s > 0 and made.tensors_s > 0
    assert made.seconds == made.read_s + made.resize_s + made.tensors_s == 1 / made.pages_per_s


def test_tiles_show_their_part_of_the_page() -> None:
    page = Image.new("RGB", (30, 20))
    page.paste((255, 0, 0), (20, 10, 30, 20))  # the last of three columns and two rows
    *others, last = page_preparation._views(page, TILES)
    assert last.getpixel((8, 4)) == (255, 0, 0)
    assert {each.getpixel((4, 4)) for each in others} == {(0, 0, 0)}


def test_values_go_from_minus_one_to_one() -> None:
    made = page_preparation._tensor(Image.new("RGB", (2, 2), (0, 255, 51)))
    assert made[:, 0, 0].tolist() == pytest.approx([-1, 1, -0.6])  # type: ignore[index]


def test_a_drawn_page_is_the_same_every_time() -> None:
    first, second = drawn_page(31, 17)(), drawn_page(31, 17)()
    assert (first.size, first.mode) == ((31, 17), "RGB")
    assert first.tobytes() == second.tobytes()


def test_a_file_is_read_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("L", (8, 5)).save(tmp_path / "page.jpg", exif=exif)
    page = read_page(tmp_path / "page.jpg")
    assert (page.size, page.mode) == ((5, 8), "RGB")
    with pytest.raises(ModelMeterError, match="more pixels than max_pixels=39: 8 x 5"):
        read_page(tmp_path / "page.jpg", max_pixels=39)
    (tmp_path / "none.png").write_bytes(b"none")
    with pytest.raises(ModelMeterError, match="is not an image in a format that is read"):
        read_page(tmp_path / "none.png")
