"""Where the size of a page comes from: an image file, or a text such as ``1275x1650``.

One `PageSize` is what the cost of a page depends on: its width and height in pixels, after the image's
EXIF orientation. Pixels are decoded only to be sure that a file is whole; their values are not used, and
`read_page_size(path, decode=False)` does without.

    >>> parse_size("1275x1650")
    PageSize(source='1275x1650', width=1275, height=1650)

Pillow is imported when a file is read, not with this module.
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from modelmeter.errors import ModelMeterError

if TYPE_CHECKING:
    from PIL import Image

MAX_SIDE: Final = 2**31 - 1
"""Pixels; the longest side that is taken seriously (a signed 32-bit integer, as image formats store it)."""

_EXIF_ORIENTATION: Final = 0x0112
_EXIF_SIDES_SWAPPED: Final = (5, 6, 7, 8)
"""EXIF orientations that turn the image by a quarter; the others flip it or turn it by a half."""

_TIFF_SIDES: Final = (256, 257)
"""TIFF's tags ImageWidth and ImageLength."""

_WHOLE_NUMBER: Final = re.compile(r"[+-]?[0-9]+")
_FRACTION: Final = re.compile(r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+)")


def check_side(who: str, name: str, side: object) -> None:
    """Refuse a page side that is no whole number of pixels from 1 to `MAX_SIDE` (2.0 and True are none)."""
    if isinstance(side, bool) or not isinstance(side, int):
        raise ModelMeterError(
            f"{who}: {name}={side!r} is a {type(side).__name__}; give a whole number of pixels as an int."
        )
    if side <= 0:
        raise ModelMeterError(f"{who}: {name}={_digits(side)} is not positive; a page has 1 pixel or more a side.")
    if side > MAX_SIDE:
        raise ModelMeterError(
            f"{who}: {name} is {_digits(side)}, more than {MAX_SIDE} (2**31 - 1) pixels; no image has such a side."
        )


@dataclass(frozen=True, kw_only=True)
class PageSize:
    """A page as it is read by a person: width and height in pixels, and where they come from."""

    source: str
    width: int
    height: int

    def __post_init__(self) -> None:
        check_side(f"page {self.source}", "width", self.width)
        check_side(f"page {self.source}", "height", self.height)


def parse_size(text: str) -> PageSize:
    """Page size out of ``WIDTHxHEIGHT``, both in pixels."""
    who = f"page size {_short(text)!r}"
    parts = re.split("[xX]", text.strip())
    if len(parts) != 2:
        raise ModelMeterError(f"{who} is not WIDTHxHEIGHT; write it as in 1275x1650.")
    width, height = (_parse_side(who, name, part) for name, part in zip(("width", "height"), parts, strict=True))
    return PageSize(source=text.strip(), width=width, height=height)


def _parse_side(who: str, name: str, text: str) -> int:
    if _FRACTION.fullmatch(text):
        raise ModelMeterError(f"{who}: {name} {_short(text)} is fractional; give a whole number of pixels.")
    if not _WHOLE_NUMBER.fullmatch(text):
        raise ModelMeterError(f"{who}: {name} {_short(text)!r} is no number; write the size as in 1275x1650.")
    # Ten digits hold every allowed side; int() would refuse thousands of them with a text of its own.
    side = int(text) if len(text.lstrip("+-0")) <= 10 else 0
    if side <= 0 or side > MAX_SIDE:
        raise ModelMeterError(f"{who}: {name} {_short(text)} is out of range; a side has 1 to {MAX_SIDE} pixels.")
    return side


def read_page_size(path: str | os.PathLike[str], *, decode: bool = True, max_pixels: int | None = None) -> PageSize:
    """Size of the image in a file, in pixels, turned by its EXIF orientation; the first frame of several.

    The file is decoded once, since nothing less tells a truncated file from a whole one. With decode=False its
    header is believed: for many files, where one cut off behind its header may pass. An image whose header says
    more than `max_pixels` is refused; by default that is Pillow's limit against decompression bombs
    (`PIL.Image.MAX_IMAGE_PIXELS`), as an error, not a warning.
    """
    from PIL import Image, UnidentifiedImageError  # here: sizes given as numbers need no Pillow

    file = Path(path)
    check_regular_file(file)
    who = f"page {file}"
    with warnings.catch_warnings(), _pixel_limit(max_pixels):
        warnings.simplefilter("ignore")  # Pillow warns of damage, and then fails on it or reads on
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with file.open("rb") as stream:
                if decode:
                    with Image.open(stream) as image:
                        image.verify()  # checksums and end marks, which decoding may pass over
                    stream.seek(0)
                with Image.open(stream) as image:
                    if decode:
                        image.load()
                        width, height = image.size
                        # After load(): some formats (TIFF) turn the image there and drop the orientation.
                        turned = image.getexif().get(_EXIF_ORIENTATION) in _EXIF_SIDES_SWAPPED
                    else:
                        width, height, turned = _read_header(image, stream)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            if max_pixels is not None:
                raise ModelMeterError(
                    f"{who} has more pixels than max_pixels={max_pixels}; raise the limit, or give the page's width "
                    "and height instead of the file."
                ) from error
            raise ModelMeterError(
                f"{who} is refused as a decompression bomb: it has more than "
                f"PIL.Image.MAX_IMAGE_PIXELS = {Image.MAX_IMAGE_PIXELS} pixels; give a smaller image, "
                "or the page's width and height instead of the file."
            ) from error
        except UnidentifiedImageError as error:
            raise ModelMeterError(
                f"{who} is not an image that Pillow can read; give a PNG, JPEG, TIFF or WebP file."
            ) from error
        except Exception as error:  # decoders meet damaged data with errors of many kinds
            raise ModelMeterError(
                f"{who} is truncated or damaged ({type(error).__name__}: {error}); make or copy the file anew."
            ) from error
    if turned:
        width, height = height, width
    return PageSize(source=str(file), width=width, height=height)


@contextmanager
def _pixel_limit(max_pixels: int | None) -> Iterator[None]:
    """Pillow's own limit, which is a name in its module, set to another number while a file is read."""
    from PIL import Image

    if max_pixels is None:
        yield
        return
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _read_header(image: Image.Image, stream: BinaryIO) -> tuple[int, int, bool]:
    """Width and height as stored, and whether the orientation swaps them; no pixel is decoded."""
    from PIL.Image import Image as AnyImage

    width, height = image.size
    if image.format == "TIFF":  # Pillow has turned the size, and not yet dropped the orientation
        width, height = (image.tag_v2[tag] for tag in _TIFF_SIDES)  # type: ignore[attr-defined]
    if image.format == "PNG" and "exif" not in image.info:
        late = _png_exif(stream)
        if late is not None:
            image.info["exif"] = late
    # The method of the base class: a PNG's own decodes the pixels to reach what stands behind them.
    return width, height, AnyImage.getexif(image).get(_EXIF_ORIENTATION) in _EXIF_SIDES_SWAPPED


def _png_exif(stream: BinaryIO) -> bytes | None:
    """The contents of a PNG's eXIf chunk, which may stand behind its pixels; other chunks are passed over."""
    stream.seek(8)
    while len(head := stream.read(8)) == 8:
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"eXIf":
            return stream.read(length)
        if kind == b"IEND":
            return None
        stream.seek(length + 4, os.SEEK_CUR)
    raise EOFError("it ends before its end mark")


def check_regular_file(file: Path) -> None:
    """Refuse a path that is no readable, regular file with something in it."""
    who = f"page {file}"
    try:
        status = file.stat()
        if stat.S_ISREG(status.st_mode):
            file.open("rb").close()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelMeterError(f"{who} does not exist; check the path (it is relative to {Path.cwd()}).") from error
    except (OSError, ValueError) as error:
        raise ModelMeterError(f"{who} cannot be opened ({error}); check the path and its permissions.") from error
    if stat.S_ISDIR(status.st_mode):
        raise ModelMeterError(f"{who} is a directory; give an image file, or all of its pages to modelmeter corpus.")
    if not stat.S_ISREG(status.st_mode):
        raise ModelMeterError(f"{who} is no regular file; give an image file.")
    if status.st_size == 0:
        raise ModelMeterError(f"{who} is empty (0 bytes); make or copy the file anew.")


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}…"


def _digits(number: int) -> str:
    """A number for a message: written out while it is short, else its length in bits."""
    return str(number) if number.bit_length() <= 128 else f"a number of {number.bit_length()} bits"
