"""Page sizes out of PDFs that the tests write by hand."""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modelmeter.errors import ModelMeterError
from modelmeter.page_sizes import PageSize
from modelmeter.pdf_pages import is_pdf, pixels, read_pdf_page_sizes

WritePdf = Callable[..., Path]
LETTER = "/MediaBox [0 0 612 792]"


def sizes(path: Path, dpi: int = 144) -> list[tuple[int, int]]:
    return [(page.width, page.height) for page in read_pdf_page_sizes(path, dpi)]


BOXES = {  # page, page tree's root, pixels at 144 dpi: two a point
    "letter": (LETTER, "", (1224, 1584)),
    "box_off_the_origin": ("/MediaBox [-100 50 100 350]", "", (400, 600)),
    "corners_swapped": ("/MediaBox [612 792 0 0]", "", (1224, 1584)),
    "turned": (f"{LETTER} /Rotate 90", "", (1584, 1224)),
    "turned_back": (f"{LETTER} /Rotate -90", "", (1584, 1224)),
    "turned_over": (f"{LETTER} /Rotate 180", "", (1224, 1584)),
    "turned_more_than_once": (f"{LETTER} /Rotate 450", "", (1584, 1224)),
    "cropped": (f"{LETTER} /CropBox [100 100 400 300]", "", (600, 400)),
    "cropped_and_turned": (f"{LETTER} /CropBox [100 100 400 300] /Rotate 270", "", (400, 600)),
    "crop_beyond_the_page": (f"{LETTER} /CropBox [-50 -50 306 1000]", "", (612, 1584)),
    "inherited": ("", f"{LETTER} /CropBox [0 0 300 200] /Rotate 90", (400, 600)),
    "own_box_before_the_inherited": ("/MediaBox [0 0 50 60]", LETTER, (100, 120)),
    "no_box": ("", "", (1224, 1584)),
    "empty_box": ("/MediaBox [0 0 0 0]", "", (1224, 1584)),
    "other_boxes_do_not_count": (
        f"{LETTER} /TrimBox [0 0 9 9] /BleedBox [0 0 8 8] /ArtBox [0 0 7 7]",
        "",
        (1224, 1584),
    ),
    "user_unit_is_not_applied": (f"{LETTER} /UserUnit 2", "", (1224, 1584)),
}


@pytest.mark.parametrize("page, inherited, size", BOXES.values(), ids=BOXES)
def test_boxes(write_pdf: WritePdf, page: str, inherited: str, size: tuple[int, int]) -> None:
    assert sizes(write_pdf(page, inherited=inherited)) == [size]


ROUNDING = {  # points, dpi, pixels
    "half_a_pixel_is_one": ("100.25", 144, 201),  # 200.5
    "a_little_is_one": ("100.01", 144, 201),  # 200.02
    "nearly_whole": ("100.495", 144, 201),  # 200.99
    "whole": ("100.5", 144, 201),
    "a_thousandth_is_none": ("100.0004", 144, 200),  # 200.0008
    "more_than_a_thousandth_is_one": ("100.0006", 144, 201),  # 200.0012
    "150_dpi": ("792", 150, 1650),  # a product of floats gives 1650.0000000000002
    "300_dpi": ("792", 300, 3300),
    "a4": ("595.276", 144, 1191),  # 1190.552
    "a4_height": ("841.89", 200, 2339),  # 2338.58
    "less_than_a_pixel": ("0.0001", 72, 1),
}


@pytest.mark.parametrize("points, dpi, expected", ROUNDING.values(), ids=ROUNDING)
def test_rounding(write_pdf: WritePdf, points: str, dpi: int, expected: int) -> None:
    assert sizes(write_pdf(f"/MediaBox [0 0 {points} 72]"), dpi) == [(expected, dpi)]
    assert sizes(write_pdf(f"/MediaBox [0 0 72 {points}]"), dpi) == [(dpi, expected)]


def test_pixels_are_rounded_up_from_the_exact_product() -> None:
    assert 792.0 * (150 / 72) > 1650
    assert pixels(792.0, 150) == 1650


def test_every_page_has_its_own_size_and_source(write_pdf: WritePdf) -> None:
    path = write_pdf("/MediaBox [0 0 50 60]", f"{LETTER} /Rotate 90", LETTER)
    assert read_pdf_page_sizes(path, 72) == [
        PageSize(source=f"{path}#page=1", width=50, height=60),
        PageSize(source=f"{path}#page=2", width=792, height=612),
        PageSize(source=f"{path}#page=3", width=612, height=792),
    ]


def test_what_is_read_as_a_pdf(write_pdf: WritePdf, tmp_path: Path) -> None:
    (tmp_path / "other.PDF").write_text("something")
    (tmp_path / "other.png").write_text("something")
    assert is_pdf(write_pdf(LETTER, name="page.png"))
    assert is_pdf(tmp_path / "other.PDF")
    assert not is_pdf(tmp_path / "other.png")


def rc4(key: bytes, data: bytes) -> bytes:
    state, j, out = list(range(256)), 0, bytearray()
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    i = j = 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


def encryption(user_password: bytes) -> str:
    """Trailer entries of a PDF that `user_password` opens: ISO 32000-1, 7.6.3.3, algorithms 2 and 4."""
    padding = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
    owner, identity, permissions = b"O" * 32, b"I" * 16, (-4).to_bytes(4, "little", signed=True)
    key = hashlib.md5((user_password + padding)[:32] + owner + permissions + identity).digest()[:5]
    user = rc4(key, padding)
    entries = f"/Filter /Standard /V 1 /R 2 /P -4 /O <{owner.hex()}> /U <{user.hex()}>"
    return f"/Encrypt << {entries} >> /ID [<{identity.hex()}> <{identity.hex()}>]"


def test_encryption_without_a_password_is_read(write_pdf: WritePdf) -> None:
    assert sizes(write_pdf(LETTER, trailer=encryption(b""))) == [(1224, 1584)]


def test_a_password_is_named(write_pdf: WritePdf) -> None:
    path = write_pdf(LETTER, trailer=encryption(b"secret"))
    with pytest.raises(ModelMeterError, match=r"page\.pdf is locked by a password; save a copy without one\."):
        read_pdf_page_sizes(path)


def test_no_page(write_pdf: WritePdf) -> None:
    with pytest.raises(ModelMeterError, match="is locked by a password"):
        read_pdf_page_sizes(write_pdf(LETTER, trailer=encryption(b"secret")))
    with pytest.raises(ModelMeterError, match=r"page\.pdf is no PDF, is damaged or has no page; make or copy"):
        read_pdf_page_sizes(write_pdf())


@pytest.mark.parametrize("kept", [9, 60, 200, 300])
def test_a_truncated_file_is_refused(write_pdf: WritePdf, kept: int) -> None:
    path = write_pdf(LETTER)
    data = path.read_bytes()
    assert len(data) > 320
    path.write_bytes(data[:kept])
    with pytest.raises(ModelMeterError, match=r"page\.pdf is no PDF, is damaged or has no page"):
        read_pdf_page_sizes(path)


def test_a_page_that_is_not_there_is_refused(write_pdf: WritePdf) -> None:
    path = write_pdf(LETTER, LETTER)
    path.write_bytes(path.read_bytes().replace(b"[3 0 R 4 0 R]", b"[3 0 R 9 0 R]"))
    with pytest.raises(ModelMeterError, match=r"page\.pdf#page=2 is damaged"):
        read_pdf_page_sizes(path)


def test_a_page_without_area_is_refused(write_pdf: WritePdf) -> None:
    path = write_pdf(LETTER, f"{LETTER} /CropBox [1000 1000 1100 1100]")
    with pytest.raises(ModelMeterError, match=r"page\.pdf#page=2 has no area: its CropBox lies outside its MediaBox\."):
        read_pdf_page_sizes(path)


def test_not_a_pdf(tmp_path: Path) -> None:
    path = tmp_path / "page.pdf"
    path.write_text("a text with the wrong name")
    with pytest.raises(ModelMeterError, match=r"page\.pdf is no PDF"):
        read_pdf_page_sizes(path)


@pytest.mark.parametrize("dpi", [0, -72, 10_001, 72.0, True, "72"])
def test_resolutions_that_are_refused(write_pdf: WritePdf, dpi: int) -> None:
    with pytest.raises(ModelMeterError, match=r"is no resolution; give a whole number from 1 to 10000"):
        read_pdf_page_sizes(write_pdf(LETTER), dpi)


def test_files_that_are_no_files(tmp_path: Path) -> None:
    for read in (is_pdf, read_pdf_page_sizes):
        with pytest.raises(ModelMeterError, match="does not exist"):
            read(tmp_path / "none.pdf")
        with pytest.raises(ModelMeterError, match="is a directory"):
            read(tmp_path)


def test_without_pypdfium2_the_extra_is_named(write_pdf: WritePdf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    with pytest.raises(ModelMeterError, match=r"needs pypdfium2; pip install pypdfium2"):
        read_pdf_page_sizes(write_pdf(LETTER))
