"""Page sizes out of image files and of texts; every file is made by the test that reads it."""

import errno
import os
import subprocess
import sys
import warnings
import zlib
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from PIL import Image, ImageFile, ImageOps

from modelmeter.errors import ModelMeterError
from modelmeter.page_sizes import PageSize, parse_size, read_page_size

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
    with pytest.raises(ModelMeterError, match=r"page\.png is not an image that Pillow can read; give a PNG"):
        read_page_size(path)


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(ModelMeterError, match=r"is a directory; give an image file"):
        read_page_size(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ModelMeterError, match=r"pipe\.png is no regular file"):
        read_page_size(tmp_path / "pipe.png")


# Pillow warns above its limit and raises above twice the limit: 21 x 10 = 210 pixels.
@whole_and_header
@pytest.mark.parametrize("limit", [209, 105, 104, 10], ids=["warns", "still_warns", "raises", "raises_far"])
def test_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, decode: bool) -> None:
    path = tmp_path / "page.png"
    noise(21, 10).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    message = rf"page\.png is refused as a decompression bomb: .*MAX_IMAGE_PIXELS = {limit} pixels"
    with warnings.catch_warnings(record=True) as seen, pytest.raises(ModelMeterError, match=message):
        warnings.simplefilter("always")
        read_page_size(path, decode=decode)
    assert not seen


def test_an_image_at_the_bomb_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page.png"
    noise(21, 10).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 210)
    assert read_page_size(path) == PageSize(source=str(path), width=21, height=10)


def test_bomb_warnings_are_errors_only_while_reading(tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    noise(4, 4).save(path)
    before = list(warnings.filters)
    read_page_size(path)
    assert list(warnings.filters) == before


@pytest.mark.parametrize(
    "text, width, height",
    [
        ("1275x1650", 1275, 1650),
        ("1X20000", 1, 20000),
        (" 640x480\n", 640, 480),
        ("2147483647x1", 2147483647, 1),
        ("007x+08", 7, 8),
        ("000000000000640x1", 640, 1),
    ],
)
def test_parse_size(text: str, width: int, height: int) -> None:
    assert parse_size(text) == PageSize(source=text.strip(), width=width, height=height)


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
    "inner_space": ("640 x 480", "width '640 ' is no number"),
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
