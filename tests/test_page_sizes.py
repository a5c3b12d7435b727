"""Page sizes out of image files and of texts; every file is made by the test that reads it."""

import errno
import os
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFile, ImageOps, features

from modelmeter.errors import ModelMeterError
from modelmeter.page_sizes import MAX_PIXELS, PAPERS, PageSize, parse_size, read_page_size, read_page_sizes

FORMATS = ["png", "jpg", "tiff", "webp", "bmp", "gif"]
EXIF_FORMATS = ["png", "jpg", "tiff", "webp"]
ORIENTATION_TAG = 0x0112


def noise(width: int, height: int) -> Image.Image:
    """Pixels that no format can compress away, the same on every run."""
    state, values = 12345, bytearray()
    for _ in range(width * height * 3):
        state = (state * 1103515245 + 12345) % 2**31
        values.append(state >> 16 & 0xFF)
    return Image.frombytes("RGB", (width, height), bytes(values))


whole_and_header = pytest.mark.parametrize("decode", [True, False], ids=["decoded", "header"])


@whole_and_header
@pytest.mark.parametrize("suffix", FORMATS)
def test_size_of_a_file(tmp_path: Path, suffix: str, decode: bool) -> None:
    path = tmp_path / f"page.{suffix}"
    noise(37, 23).save(path)
    assert read_page_size(path, decode=decode) == PageSize(source=str(path), width=37, height=23)
    assert read_page_size(str(path), decode=decode) == read_page_size(path, decode=decode)


@whole_and_header
@pytest.mark.parametrize("suffix", EXIF_FORMATS)
@pytest.mark.parametrize(
    "orientation, size",
    [
        *((upright, (37, 23)) for upright in (1, 2, 3, 4)),
        *((turned, (23, 37)) for turned in (5, 6, 7, 8)),
    ],
)
def test_orientation_is_applied(
    tmp_path: Path, suffix: str, orientation: int, size: tuple[int, int], decode: bool
) -> None:
    path = tmp_path / f"page.{suffix}"
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    noise(37, 23).save(path, exif=exif)
    page = read_page_size(path, decode=decode)
    assert (page.width, page.height) == size
    with Image.open(path) as image:
        assert ImageOps.exif_transpose(image).size == size


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "page.jpg"
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    noise(37, 23).save(path, exif=exif)
    assert read_page_size(path) == PageSize(source=str(path), width=37, height=23)


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


@whole_and_header
def test_a_png_may_carry_its_orientation_behind_its_pixels(tmp_path: Path, decode: bool) -> None:
    path, exif = tmp_path / "page.png", Image.Exif()
    exif[ORIENTATION_TAG] = 6
    noise(37, 23).save(path)
    data = path.read_bytes()
    end = data.index(b"IEND") - 4
    path.write_bytes(data[:end] + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + data[end:])
    assert read_page_size(path, decode=decode) == PageSize(source=str(path), width=23, height=37)


@pytest.mark.parametrize("suffix, turned", [*((each, False) for each in FORMATS), *((e, True) for e in EXIF_FORMATS)])
def test_of_a_header_alone_no_pixel_is_decoded(
    tmp_path: Path, suffix: str, turned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, exif = tmp_path / f"page.{suffix}", Image.Exif()
    exif[ORIENTATION_TAG] = 6
    noise(37, 23).save(path, **({"exif": exif} if turned else {}))

    def load(self: Image.Image) -> None:
        raise AssertionError("decoded")

    for kind in (Image.Image, ImageFile.ImageFile, type(Image.open(path))):
        monkeypatch.setattr(kind, "load", load)
    assert read_page_size(path, decode=False).width == (23 if turned else 37)
    if suffix == "tiff":  # never decoded: libtiff tells of damage on standard error
        assert read_page_size(path).width == (23 if turned else 37)
        return
    with pytest.raises(ModelMeterError, match="decoded"):
        read_page_size(path)


def test_a_file_cut_off_behind_its_header_passes_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "page.jpg"
    noise(64, 48).save(path)
    path.write_bytes(path.read_bytes()[:-100])
    assert read_page_size(path, decode=False) == PageSize(source=str(path), width=64, height=48)
    with pytest.raises(ModelMeterError, match="truncated"):
        read_page_size(path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_cut_header_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"page.{suffix}"
    noise(64, 48).save(path)
    data = path.read_bytes()
    for kept in range(16):
        path.write_bytes(data[:kept])
        with pytest.raises(ModelMeterError, match=r"page\.\w+ is (truncated|not an image|empty)"):
            read_page_size(path, decode=False)


def test_a_png_without_its_end_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    noise(64, 48).save(path)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ModelMeterError, match=r"truncated or damaged .*ends before its end mark"):
        read_page_size(path, decode=False)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    whole, path = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    noise(64, 48).save(whole)
    data = whole.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ModelMeterError, match=r"cut\.\w+ is (truncated or damaged \(\w+: .*\)|not an image)"):
        read_page_size(path)


# Bytes at the end that hold no pixel and that Pillow does not read: IEND's checksum, GIF's end marks.
UNREAD_TAILS = {"png": 4, "jpg": 0, "tiff": 0, "webp": 0, "bmp": 0, "gif": 2}


@pytest.mark.parametrize("suffix, unread", UNREAD_TAILS.items(), ids=UNREAD_TAILS)
def test_every_cut_into_the_pixels_is_refused(tmp_path: Path, suffix: str, unread: int) -> None:
    whole, path = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    noise(16, 12).save(whole)
    data = whole.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of some cut TIFF directories before it fails on them
        for kept in range(len(data) - unread):
            path.write_bytes(data[:kept])
            with pytest.raises(ModelMeterError, match=r"cut\.\w+ is (truncated|not an image|empty)"):
                read_page_size(path)


def test_damaged_png_that_is_long_enough_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    noise(64, 48).save(path)
    data = bytearray(path.read_bytes())
    data[-20] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ModelMeterError, match=r"page\.png is truncated or damaged"):
        read_page_size(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError, match=r"page .*nothing\.png does not exist; check the path"):
        read_page_size(tmp_path / "nothing.png")


def test_path_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelMeterError, match=r"does not exist"):
        read_page_size(tmp_path / "file" / "page.png")


@pytest.mark.parametrize("path", ["a" * 5000, "a\0b"], ids=["too_long", "null_byte"])
def test_impossible_path(path: str) -> None:
    with pytest.raises(ModelMeterError, match=r"cannot be opened \(.*\); check the path and its permissions\."):
        read_page_size(path)


def test_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page.png"
    noise(4, 4).save(path)

    def refusing(file: Path, *_: object) -> object:  # file permissions would not stop root
        raise PermissionError(errno.EACCES, "Permission denied", str(file))

    monkeypatch.setattr(Path, "open", refusing)
    with pytest.raises(ModelMeterError, match=r"cannot be opened \(.*Permission denied.*\); check the path and its "):
        read_page_size(path)


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    path.touch()
    with pytest.raises(ModelMeterError, match=r"page\.png is empty \(0 bytes\); make or copy"):
        read_page_size(path)


def test_not_an_image(tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    path.write_text("a text with the wrong name\n" * 50)
    with pytest.raises(ModelMeterError, match=r"page\.png is not an image in a format that is read; give a PNG"):
        read_page_size(path)


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError, match=r"is a directory; give an image file"):
        read_page_size(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ModelMeterError, match=r"pipe\.png is no regular file"):
        read_page_size(tmp_path / "pipe.png")


def test_other_formats_are_refused_whatever_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", run)
    saved = {suffix: tmp_path / f"page.{suffix}" for suffix in ("eps", "tga", "pcx", "ico", "sgi", "dds", "pdf")}
    for path in saved.values():
        noise(16, 16).save(path)
    contents = {suffix: path.read_bytes() for suffix, path in saved.items()}
    contents["eps_alone"] = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n1 showpage\n%%EOF\n"
    contents["fits"] = b"SIMPLE  =                    T / file".ljust(2880)
    contents["psd"] = b"8BPS\0\1" + bytes(60)
    contents["wmf"] = b"\xd7\xcd\xc6\x9a\0\0" + bytes(60)
    contents["heic"] = b"\0\0\0\x18ftypheic" + bytes(60)
    for content in contents.values():
        for name in ("page.png", "page.jpg", "page.eps"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(
                ModelMeterError, match=r"is not an image in a format .*; give a PNG, JPEG, WebP, TIFF, "
            ):
                read_page_size(tmp_path / name)


def test_formats_are_told_by_content(tmp_path: Path) -> None:
    suffixes = [*FORMATS, "jp2", "ppm", "pgm", "mpo", *(["avif"] if features.check("avif") else [])]
    for suffix in suffixes:
        noise(37, 23).convert("L" if suffix == "pgm" else "RGB").save(tmp_path / f"a.{suffix}")
        (tmp_path / f"a.{suffix}").rename(tmp_path / "page.eps")
        for decode in (True, False):
            page = read_page_size(tmp_path / "page.eps", decode=decode)
            assert (page.width, page.height) == (37, 23), suffix


def test_only_decoders_of_the_list_are_imported(tmp_path: Path) -> None:
    noise(9, 8).save(tmp_path / "page.jpg")
    code = (
        f"import sys; from modelmeter.page_sizes import read_page_size; read_page_size({str(tmp_path / 'page.jpg')!r});"
        "print(*(name for name in sys.modules if name.startswith('PIL.') and name.endswith('Plugin')))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["PIL.JpegImagePlugin"]


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_pictures_that_move_are_one_page(tmp_path: Path, suffix: str) -> None:
    frames = [noise(37, 23).rotate(turn) for turn in (0, 90)]
    frames[0].save(tmp_path / f"page.{suffix}", save_all=True, append_images=frames[1:])
    assert read_page_sizes(tmp_path / f"page.{suffix}") == [read_page_size(tmp_path / f"page.{suffix}")]


def test_frames_of_a_tiff_are_pages_with_sides_and_orientations_of_their_own(tmp_path: Path) -> None:
    path, exif = tmp_path / "scan.tiff", Image.Exif()
    exif[ORIENTATION_TAG] = 6
    turned = noise(30, 20)
    turned.encoderinfo = {"exif": exif}
    noise(37, 23).save(path, save_all=True, append_images=[turned, noise(5, 6)])
    for decode in (True, False):
        assert read_page_sizes(path, decode=decode) == [
            PageSize(source=f"{path}#page=1", width=37, height=23),
            PageSize(source=f"{path}#page=2", width=20, height=30),
            PageSize(source=f"{path}#page=3", width=5, height=6),
        ]
    with pytest.raises(ModelMeterError, match=r"scan\.tiff has more pixels than max_pixels=850: 37 x 23"):
        read_page_sizes(path, max_pixels=850)


# -- the limit -------------------------------------------------------------------------------------------------------


@whole_and_header
@pytest.mark.parametrize("suffix", [*FORMATS, "jp2"])
def test_the_limit_is_on_the_size_of_the_header(tmp_path: Path, suffix: str, decode: bool) -> None:
    path = tmp_path / f"page.{suffix}"
    noise(21, 10).save(path)
    assert read_page_size(path, decode=decode, max_pixels=210).width == 21
    with pytest.raises(ModelMeterError, match=rf"page\.{suffix} has more pixels than max_pixels=209: 21 x 10; raise "):
        read_page_size(path, decode=decode, max_pixels=209)


@pytest.mark.parametrize("limit", [0, -1, True, 2.5, None])
def test_a_limit_that_is_none(limit: Any) -> None:
    with pytest.raises(ModelMeterError, match=r"page x: max_pixels=.* is no number of pixels; give 1 or more"):
        read_page_size("x", max_pixels=limit)


def test_the_default_is_where_pillow_refuses() -> None:
    assert MAX_PIXELS == 2 * (1024**3 // 4 // 3) == 178_956_970
    assert Image.MAX_IMAGE_PIXELS == MAX_PIXELS // 2


def empty_image(path: Path, width: int, height: int) -> None:
    """A picture whose pixels are all zero: few bytes for many pixels."""
    if path.suffix == ".png":
        header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x01\0\0\0\0"
        rows = zlib.compressobj(1)
        data = b"".join(rows.compress(bytes(1 + -(-width // 8))) for _ in range(height)) + rows.flush()
        chunks = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    else:
        Image.new("1", (width, height)).save(path, compression="group4")


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_between_the_limits_of_pillow_nothing_warns(tmp_path: Path, suffix: str) -> None:
    """145 million pixels, as a page of OmniDocBench: Pillow warns from 89 million."""
    path = tmp_path / f"page.{suffix}"
    empty_image(path, 12_000, 12_083)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_page_size(path) == PageSize(source=str(path), width=12_000, height=12_083)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_a_raised_limit_goes_beyond_pillows_own(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"page.{suffix}"
    empty_image(path, 20_000, 20_000)
    with pytest.raises(ModelMeterError, match="has more pixels than max_pixels=178956970: 20000 x 20000; raise"):
        read_page_size(path)
    assert read_page_size(path, decode=suffix == "tiff", max_pixels=500_000_000).height == 20_000


def test_threads_each_have_their_limit(tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    noise(100, 100).save(path)
    before, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)

    def read(number: int) -> bool:
        limit = 10_000 if number % 2 else 9_999
        try:
            return read_page_size(path, max_pixels=limit, decode=number % 3 == 0).width == 100 and limit == 10_000
        except ModelMeterError as error:
            return f"max_pixels={limit}:" in str(error) and limit == 9_999
        finally:
            assert before == Image.MAX_IMAGE_PIXELS

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(read, range(400)))
    assert list(warnings.filters) == filters


@pytest.mark.parametrize(
    "text, width, height",
    [
        ("1275x1650", 1275, 1650),
        ("1X20000", 1, 20000),
        (" 640x480\n", 640, 480),
        ("2147483647x1", 2147483647, 1),
        ("007x+08", 7, 8),
        ("000000000000640x1", 640, 1),
        ("1275 x 1650", 1275, 1650),
        ("1275×1650", 1275, 1650),
        ("1275 * 1650", 1275, 1650),
    ],
)
def test_parse_size(text: str, width: int, height: int) -> None:
    assert parse_size(text) == PageSize(source=text.strip(), width=width, height=height)


@pytest.mark.parametrize(
    "text, source, width, height",  # the pixels that scanners and tables of paper sizes give
    [
        ("A4@300", "A4@300", 2480, 3508),
        ("a4@72DPI", "A4@72", 595, 842),
        ("A3@300dpi", "A3@300", 3508, 4961),
        ("A5@300", "A5@300", 1748, 2480),
        ("A6@300", "A6@300", 1240, 1748),
        ("LETTER@200", "letter@200", 1700, 2200),
        (" letter@300 ", "letter@300", 2550, 3300),
        ("legal@200", "legal@200", 1700, 2800),
        ("tabloid@100", "tabloid@100", 1100, 1700),
    ],
)
def test_a_paper_is_a_size(text: str, source: str, width: int, height: int) -> None:
    assert parse_size(text) == PageSize(source=source, width=width, height=height)
    assert parse_size(text, 10) == parse_size(text)
    name, _, dpi = source.partition("@")
    assert parse_size(name, int(dpi)) == parse_size(text)


@pytest.mark.parametrize("larger, smaller", [(f"A{number}", f"A{number + 1}") for number in range(6)])
def test_a_sheet_of_the_a_series_is_two_of_the_next(larger: str, smaller: str) -> None:
    (width, height), (half, same) = PAPERS[larger], PAPERS[smaller]
    assert (half, same) == (height // 20 * 10, width)  # whole millimetres, in tenths of them


REFUSED_TEXTS = {
    "zero": ("0x480", "page size '0x480': width 0 is out of range; a side has 1 to 2147483647 pixels"),
    "negative": ("640x-480", "page size '640x-480': height -480 is out of range"),
    "too_large": ("2147483648x1", "width 2147483648 is out of range"),
    "absurd": ("1x" + "9" * 9000, "height 9{40}… is out of range"),
    "absurdly_negative": ("1x-" + "9" * 9000, "height -9{39}… is out of range"),
    "fraction": (
        "640.5x480",
        r"page size '640.5x480': width 640.5 is fractional; give a whole number of pixels",
    ),
    "whole_fraction": ("640x480.0", "height 480.0 is fractional"),
    "word": ("axb", "width 'a' is no number; write the size as in 1275x1650"),
    "exponent": ("1e3x5", "width '1e3' is no number"),
    "underscore": ("1_000x5", "width '1_000' is no number"),
    "two_spaces_in_a_number": ("6 40 x 480", "width '6 40' is no number"),
    "paper_alone": ("A4", "page size A4 has no resolution; write it as in A4@200, in pixels an inch."),
    "no_paper": ("A7@200", "page size 'A7@200' is not WIDTHxHEIGHT; write it as in 1275x1650, or a paper as in A4@200"),
    "no_resolution": ("letter@0", "page size letter@0: dpi=0 is no resolution; give a whole number from 1 to 10000"),
    "resolution_beyond": ("A4@" + "9" * 9000, "dpi=999999 is no resolution"),
    "other_digits": ("٦٤٠x480", "width '٦٤٠' is no number"),
    "no_height": ("640x", "height '' is no number"),
    "one_number": ("640", "page size '640' is not WIDTHxHEIGHT; write it as in 1275x1650"),
    "three_numbers": ("1x2x3", "page size '1x2x3' is not WIDTHxHEIGHT"),
    "empty": ("", "page size '' is not WIDTHxHEIGHT"),
}


@pytest.mark.parametrize("text, message", REFUSED_TEXTS.values(), ids=REFUSED_TEXTS)
def test_parse_size_refuses(text: str, message: str) -> None:
    with pytest.raises(ModelMeterError, match=message):
        parse_size(text)


@pytest.mark.parametrize(
    "width, message",
    [
        (0, "page here: width=0 is not positive"),
        (-(10**9000), "width=a number of 29898 bits is not positive"),
        (2.0, r"width=2\.0 is a float; give a whole number of pixels"),
        (True, "width=True is a bool"),
        ("5", "width='5' is a str"),
        (2**31, r"width is 2147483648, more than 2147483647 \(2\*\*31 - 1\) pixels"),
        (10**9000, "width is a number of 29898 bits, more than"),
    ],
    ids=["zero", "negative", "float", "bool", "text", "too_large", "absurd"],
)
def test_page_size_refuses(width: object, message: str) -> None:
    with pytest.raises(ModelMeterError, match=message):
        PageSize(source="here", width=width, height=5)  # type: ignore[arg-type]


def test_page_size_is_frozen() -> None:
    page = parse_size("4x5")
    with pytest.raises(FrozenInstanceError):
        page.width = 5  # type: ignore[misc]


def test_module_stays_light() -> None:
    code = "import sys, modelmeter.page_sizes; print(*{'PIL', 'torch', 'transformers'} & set(sys.modules))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
