"""TIFF directories, written by hand: what is a page, and what is damage."""

import io
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modelmeter.errors import ModelMeterError
from modelmeter.page_sizes import read_page_sizes
from modelmeter.tiff_pages import TiffPage, read_tiff_pages

#: a gray page of 4 x 3 pixels, a byte each, in two strips of two rows and one
PAGE = {256: 4, 257: 3, 258: 8, 259: 1, 262: 1, 273: "strips", 277: 1, 278: 2, 279: "lengths"}


def tiff(*pages: Mapping[int, Any], order: str = "<", big: bool = False, last: int = 0) -> bytes:
    """A file with these directories, the strips of all of them behind its header. last: where the last one leads."""
    letter, entry, header = ("Q", "HHQQ", 16) if big else ("L", "HHLL", 8)
    pixels = bytes(range(12))
    arrays = header + len(pixels)
    lengths = struct.pack(f"{order}2{letter}", 8, 4)
    strips = struct.pack(f"{order}2{letter}", header, header + 8)
    data = bytearray(pixels + strips + lengths)
    known = {"strips": (2, arrays), "lengths": (2, arrays + len(strips))}
    places = []
    for page in pages:
        places.append(header + len(data))
        data += struct.pack(f"{order}{'Q' if big else 'H'}", len(page))
        for tag, value in sorted(page.items()):
            count, number = known.get(value, value) if isinstance(value, str | tuple) else (1, value)
            data += struct.pack(f"{order}{entry}", tag, 16 if big else 4, count, number)
        places.append(header + len(data))
        data += bytes(8 if big else 4)
    chain = [*places[2::2], last] if places else []
    for place, following in zip(places[1::2], chain, strict=True):
        struct.pack_into(f"{order}{letter}", data, place - header, following)
    first = places[0] if places else 0
    mark = b"II" if order == "<" else b"MM"
    front = struct.pack(f"{order}HHHQ", 43, 8, 0, first) if big else struct.pack(f"{order}HL", 42, first)
    return mark + front + bytes(data)


def pages_of(content: bytes) -> list[TiffPage]:
    return read_tiff_pages(io.BytesIO(content))


def page(width: int = 4, height: int = 3, orientation: int = 1) -> TiffPage:
    return TiffPage(width=width, height=height, orientation=orientation)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True], ids=["classic", "big"])
def test_every_directory_is_a_page(order: str, big: bool) -> None:
    narrow = PAGE | {256: 2, 274: 6}
    assert pages_of(tiff(PAGE, narrow, PAGE, order=order, big=big)) == [page(), page(2, 3, 6), page()]


def test_thumbnails_masks_and_levels_are_no_pages() -> None:
    reduced, part, mask, old = ({254: 1}, {254: 2}, {254: 4}, {255: 2})
    small = PAGE | {256: 1, 257: 3}
    assert pages_of(tiff(small | reduced, PAGE, PAGE | part, small | mask, small | old)) == [page(), page()]
    assert pages_of(tiff(small | reduced, small | reduced)) == [page(1, 3)], "a file has a page"


def test_of_pages_that_are_not_compressed_the_bytes_are_counted() -> None:
    assert pages_of(tiff(PAGE | {259: 5, 256: 400})) == [page(400, 3)], "compressed: no telling"
    assert pages_of(tiff(PAGE | {256: 32, 258: 1})) == [page(32, 3)], "12 bytes hold 3 rows of 32 bits"
    with pytest.raises(ValueError, match="a page has 12 of its 15 bytes"):
        pages_of(tiff(PAGE | {256: 33, 258: 1}))


DAMAGED = {
    "no_directory": (tiff(), "it has no directory"),
    "circle": (tiff(PAGE, PAGE, last=36), "lead back to one that was read"),
    "leads_out": (tiff(PAGE, last=999), "it ends before its byte 1001"),
    "no_width": (tiff({tag: value for tag, value in PAGE.items() if tag != 256}), "has no tag 256"),
    "no_area": (tiff(PAGE | {257: 0}), "a page has no area"),
    "strip_outside": (tiff(PAGE | {273: (1, 5000), 278: 3, 279: 12}), "ends before its pixels do"),
    "too_few_strips": (tiff(PAGE | {278: 1}), "has 2 of its 3 strips"),
    "too_few_tiles": (tiff({256: 64, 257: 64, 322: 16, 323: 16, 324: "strips", 325: "lengths"}), "2 of its 16 strips"),
    "array_outside": (tiff(PAGE | {273: (2, 5000)}), "it ends before its byte 5008"),
    "array_too_long": (tiff(PAGE | {273: (2**31, 8)}), "tag 273 has 2147483648 values, more than"),
    "no_tiff": (b"II\x2a\x01" + bytes(40), "its header is none of a TIFF file"),
    "big_of_no_kind": (b"II\x2b\0\x04\0\0\0" + bytes(40), "its header is none of a TIFF file"),
}


@pytest.mark.parametrize("content, message", DAMAGED.values(), ids=DAMAGED)
def test_damage_is_told(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pages_of(content)


def test_directories_cannot_all_name_the_same_large_data() -> None:
    """Each of many directories names all strips anew: the work would grow with the square of the file."""
    content = tiff(*[PAGE | {273: (10_000, 8), 279: (10_000, 8), 259: 5}] * 1000)
    with pytest.raises(ValueError, match="name more data than there is in the file"):
        pages_of(content)


def frames(suffix: str) -> Iterator[tuple[str, Sequence[Image.Image]]]:
    for mode in ("1", "L", "RGB", "RGBA", "CMYK", "I;16"):
        yield f"{mode}{suffix}", [Image.new(mode, (70, 50)), Image.new(mode, (50, 70))]


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "group4", "jpeg"])
def test_what_pillow_writes_is_whole(tmp_path: Path, compression: str | None) -> None:
    tried = 0
    for name, images in frames(".tiff"):
        if (compression == "group4") != name.startswith("1") or (compression == "jpeg" and not name.startswith("RGB.")):
            continue
        path = tmp_path / name
        images[0].save(path, save_all=True, append_images=images[1:], compression=compression)
        assert [(each.width, each.height) for each in read_page_sizes(path)] == [(70, 50), (50, 70)]
        tried += 1
    assert tried


def test_libtiff_writes_no_line(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((200, 200), 80).save(buffer, "TIFF", compression="tiff_adobe_deflate")
    for number in range(4):
        data = bytearray(buffer.getvalue())
        data[1000 + 500 * number : 1400 + 500 * number] = bytes(400)
        (tmp_path / f"{number}.tiff").write_bytes(data)
    (tmp_path / "cut.tiff").write_bytes(buffer.getvalue()[:-3000])
    command = [sys.executable, "-m", "modelmeter", "page", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"error: page {tmp_path}/cut.tiff is truncated or damaged (ValueError: it ends ")


def test_a_refusal_in_the_words_of_a_page(tmp_path: Path) -> None:
    (tmp_path / "scan.tif").write_bytes(tiff(PAGE | {257: 0}))
    with pytest.raises(ModelMeterError, match=r"scan\.tif is truncated or damaged \(ValueError: a page has no area\)"):
        read_page_sizes(tmp_path / "scan.tif")
