"""Where the size of a page comes from: an image file, or a text such as ``1275x1650`` or ``A4@200``.

One `PageSize` is what the cost of a page depends on: its width and height in pixels, after the image's
EXIF orientation. Pixels are decoded only to be sure that a file is whole; their values are not used, and
`read_page_size(path, decode=False)` does without.

    >>> parse_size("1275x1650")
    PageSize(source='1275x1650', width=1275, height=1650)
    >>> parse_size("letter@150")
    PageSize(source='letter@150', width=1275, height=1650)

Pillow is imported when a file is read, not with this module.
"""

from __future__ import annotations

import importlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, Final

from modelmeter.errors import ModelMeterError, type_of

if TYPE_CHECKING:
    from PIL import ImageFile
    from PIL.Image import Image

MAX_SIDE: Final = 2**31 - 1
"""Pixels; the longest side that is taken seriously (a signed 32-bit integer, as image formats store it)."""

MAX_PIXELS: Final = 178_956_970
"""Pixels of an image file that is read unless told otherwise: where Pillow's own default refuses, a gibibyte of RGB."""

_EXIF_ORIENTATION: Final = 0x0112
_EXIF_SIDES_SWAPPED: Final = (5, 6, 7, 8)
"""EXIF orientations that turn the image by a quarter; the others flip it or turn it by a half."""

_PREFIX: Final = 16
"""Bytes that tell a file's format."""

FORMATS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "JPEG": ("JpegImagePlugin", "JpegImageFile"),
        "PNG": ("PngImagePlugin", "PngImageFile"),
        "TIFF": ("TiffImagePlugin", "TiffImageFile"),
        "WEBP": ("WebPImagePlugin", "WebPImageFile"),
        "BMP": ("BmpImagePlugin", "BmpImageFile"),
        "GIF": ("GifImagePlugin", "GifImageFile"),
        "JPEG2000": ("Jpeg2KImagePlugin", "Jpeg2KImageFile"),
        "PPM": ("PpmImagePlugin", "PpmImageFile"),
        "AVIF": ("AvifImagePlugin", "AvifImageFile"),
    }
)
"""Formats that are read, by Pillow's names, with its module and class: no other decoder of Pillow sees a file.

Among the others are some that start a program (EPS starts Ghostscript) or are no picture of a page. AVIF is read where
this Pillow can.
"""

_FORMATS: Final = "a PNG, JPEG, WebP, TIFF, BMP, GIF, JPEG 2000, PNM or AVIF file"
"""`FORMATS` in words."""

MAX_DPI: Final = 10_000
"""Pixels an inch."""

PAPERS: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {
        "A0": (8410, 11890),
        "A1": (5940, 8410),
        "A2": (4200, 5940),
        "A3": (2970, 4200),
        "A4": (2100, 2970),
        "A5": (1480, 2100),
        "A6": (1050, 1480),
        "letter": (2159, 2794),
        "legal": (2159, 3556),
        "tabloid": (2794, 4318),
    }
)
"""Width and height of upright sheets in tenths of a millimetre, exactly.

Source: ISO 216; ANSI/ASME Y14.1 and the trade's names of inches: 8.5 x 11, 8.5 x 14, 11 x 17.
"""

_TENTHS_OF_MM_PER_INCH: Final = 254

_TIMES: Final = "[xX×*]"
_SIZE: Final = re.compile(rf"\s*[+-]?[0-9.]+\s*{_TIMES}\s*[+-]?[0-9.]+\s*")
_PAPER: Final = re.compile(r"\s*([A-Za-z]+[0-9]?)(?:@([0-9]+)(?:dpi)?)?\s*", re.IGNORECASE)
_SPELLING: Final = {name.lower(): name for name in PAPERS}
_WHOLE_NUMBER: Final = re.compile(r"[+-]?[0-9]+")
_FRACTION: Final = re.compile(r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+)")


def check_side(who: str, name: str, side: object) -> None:
    """Refuse a page side that is no whole number of pixels from 1 to `MAX_SIDE` (2.0 and True are none)."""
    if isinstance(side, bool) or not isinstance(side, int):
        raise ModelMeterError(f"{who}: {name}={side!r} is {type_of(side)}; give a whole number of pixels as an int.")
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


def is_size(text: str) -> bool:
    """Whether a text has the form of a size: `WIDTHxHEIGHT`, or the name of a paper with or without a resolution."""
    return _SIZE.fullmatch(text) is not None or _paper(text) is not None


def parse_size(text: str, dpi: int | None = None) -> PageSize:
    """Page size out of ``WIDTHxHEIGHT``, both in pixels, or out of a paper of `PAPERS` at a resolution, ``A4@200``.

    A paper's side is that many pixels an inch, to the nearest whole one, as scanners have it: A4@300 is 2480 x 3508.
    Capitals do not matter; x may be X, × or *, with spaces around it. dpi: of a paper that names none; its source
    names it then. Raises `ModelMeterError` for any other text.
    """
    paper = _paper(text)
    if paper is not None:
        return _paper_size(paper, dpi)
    who = f"page size {_short(text)!r}"
    parts = re.split(_TIMES, text)
    if len(parts) != 2:
        raise ModelMeterError(f"{who} is not WIDTHxHEIGHT; write it as in 1275x1650, or a paper as in A4@200.")
    width, height = (
        _parse_side(who, name, part.strip()) for name, part in zip(("width", "height"), parts, strict=True)
    )
    return PageSize(source=text.strip(), width=width, height=height)


def check_dpi(who: str, dpi: object) -> None:
    """Refuse a resolution that is no whole number from 1 to `MAX_DPI`."""
    if isinstance(dpi, bool) or not isinstance(dpi, int) or not 1 <= dpi <= MAX_DPI:
        raise ModelMeterError(f"{who}: dpi={dpi!r} is no resolution; give a whole number from 1 to {MAX_DPI}.")


def _paper(text: str) -> tuple[str, str | None] | None:
    """(name among `PAPERS`, the digits of its resolution or None) of a text that names a paper, else None."""
    found = _PAPER.fullmatch(text)
    name = found and _SPELLING.get(found[1].lower())
    return (name, found[2]) if found and name else None


def _paper_size(paper: tuple[str, str | None], dpi: int | None) -> PageSize:
    name, digits = paper
    if digits is not None:
        dpi = int(digits[: len(str(MAX_DPI)) + 1])  # more are too many whatever follows
    if dpi is None:
        raise ModelMeterError(f"page size {name} has no resolution; write it as in {name}@200, in pixels an inch.")
    check_dpi(f"page size {name}{'' if digits is None else '@' + _short(digits)}", dpi)
    width, height = (
        (2 * tenths * dpi + _TENTHS_OF_MM_PER_INCH) // (2 * _TENTHS_OF_MM_PER_INCH) for tenths in PAPERS[name]
    )
    return PageSize(source=f"{name}@{dpi}", width=width, height=height)


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


def read_page_sizes(
    path: str | os.PathLike[str], *, decode: bool = True, max_pixels: int = MAX_PIXELS
) -> list[PageSize]:
    """Sizes of the pages in an image file, in pixels, each turned by its EXIF orientation.

    Frames of a TIFF are pages, but for thumbnails and masks (`tiff_pages`); of several, the sources end in ``#page=N``.
    Any other file is one page: of a GIF, WebP or PNG that moves, and of a JPEG that holds several, the first picture.

    Formats are `FORMATS`, told by the file's first bytes whatever its name is. A file is decoded once, since nothing
    less tells a truncated file from a whole one; of a TIFF all that its directories name must be there, and nothing is
    decoded. With decode=False its header is believed: for many files, where one cut off behind its header may pass.

    A page of more than `max_pixels` is refused before any pixel is decoded. Safe in threads: no setting of Pillow is
    changed, and none but `max_pixels` counts.
    """
    if isinstance(max_pixels, bool) or not isinstance(max_pixels, int) or max_pixels < 1:
        raise ModelMeterError(f"page {path}: max_pixels={max_pixels!r} is no number of pixels; give 1 or more.")
    file = Path(path)
    check_regular_file(file)
    who = f"page {file}"
    try:
        with file.open("rb") as stream:
            format_ = _format(stream.read(_PREFIX))
            if format_ is None:
                raise ModelMeterError(f"{who} is not an image in a format that is read; give {_FORMATS}.")
            stream.seek(0)
            if format_ == "TIFF":
                from modelmeter.tiff_pages import read_tiff_pages

                stored = [(page.width, page.height, page.orientation) for page in read_tiff_pages(stream)]
                for width, height, _ in stored:
                    _check_pixels(who, width, height, max_pixels)
            else:
                stored = [_read_image(format_, stream, who, decode, max_pixels)]
    except ModelMeterError:
        raise
    except MemoryError as error:
        raise ModelMeterError(
            f"{who} does not fit into memory; give the page's width and height instead of the file."
        ) from error
    except Exception as error:  # decoders meet damaged data with errors of many kinds
        raise _refusal(who, error) from error
    sizes = [(height, width) if turned in _EXIF_SIDES_SWAPPED else (width, height) for width, height, turned in stored]
    return [
        PageSize(source=str(file) if len(sizes) == 1 else f"{file}#page={number}", width=width, height=height)
        for number, (width, height) in enumerate(sizes, start=1)
    ]


def read_page_size(path: str | os.PathLike[str], *, decode: bool = True, max_pixels: int = MAX_PIXELS) -> PageSize:
    """`read_page_sizes` for a file that holds one page; of a TIFF with several, the first."""
    return read_page_sizes(path, decode=decode, max_pixels=max_pixels)[0]


def read_page(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Image:
    """The decoded page of an image file, in RGB and upright; of a TIFF with several, the first.

    Formats and refusals are those of `read_page_sizes`.
    """
    from PIL import ImageOps

    file = Path(path)
    check_regular_file(file)
    who = f"page {file}"
    try:
        with file.open("rb") as stream:
            format_ = _format(stream.read(_PREFIX))
            if format_ is None:
                raise ModelMeterError(f"{who} is not an image in a format that is read; give {_FORMATS}.")
            with _open_image(format_, stream) as image:
                _check_pixels(who, *image.size, max_pixels)
                return ImageOps.exif_transpose(image).convert("RGB")
    except ModelMeterError:
        raise
    except MemoryError as error:
        raise ModelMeterError(f"{who} does not fit into memory; give a smaller one.") from error
    except Exception as error:  # decoders meet damaged data with errors of many kinds
        raise _refusal(who, error) from error


def _format(prefix: bytes) -> str | None:
    """The format among `FORMATS` of a file that begins so. Pillow's plugin of that format is imported then."""
    from PIL import Image  # here: sizes given as numbers need no Pillow

    for format_, (module, _) in FORMATS.items():
        importlib.import_module(f"PIL.{module}")
        _, accepts = Image.OPEN[format_]
        if accepts is not None and accepts(prefix) is True:
            return format_
    return None


def _open_image(format_: str, stream: BinaryIO) -> ImageFile.ImageFile:
    """The image of a stream by the class of one format.

    Not `PIL.Image.open`, which holds the size against a limit that all threads of the process share, and warns.
    """
    module, class_name = FORMATS[format_]
    stream.seek(0)
    image: ImageFile.ImageFile = getattr(importlib.import_module(f"PIL.{module}"), class_name)(stream)
    return image


def _read_image(format_: str, stream: BinaryIO, who: str, decode: bool, max_pixels: int) -> tuple[int, int, int]:
    """Width and height as stored, and the EXIF orientation."""
    from PIL.Image import Image as AnyImage

    with _open_image(format_, stream) as image:
        width, height = image.size
        _check_pixels(who, width, height, max_pixels)
        if decode:
            image.verify()  # checksums and end marks, which decoding may pass over
    with _open_image(format_, stream) as image:
        if decode:
            image.draft(image.mode, (1, 1))  # a JPEG at an eighth: read to its end, without memory for all its pixels
            image.load()
        elif format_ == "PNG" and "exif" not in image.info:
            late = _png_exif(stream)
            if late is not None:
                image.info["exif"] = late
        # The method of the base class: a PNG's own decodes the pixels to reach what stands behind them.
        return width, height, AnyImage.getexif(image).get(_EXIF_ORIENTATION, 1)


def _check_pixels(who: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ModelMeterError(
            f"{who} has more pixels than max_pixels={max_pixels}: {width} x {height}; raise the limit "
            "(--max-pixels), or give the page's width and height instead of the file."
        )


def _refusal(who: str, error: Exception) -> ModelMeterError:
    from PIL import Image

    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        # inside the decoders of WebP and GIF, which hold a canvas against Pillow's limit before there is a size
        return ModelMeterError(
            f"{who} is larger than Pillow decodes of this format; give the page's width and height instead of the file."
        )
    return ModelMeterError(
        f"{who} is truncated or damaged ({type(error).__name__}: {_short(str(error), 200)}); make or copy the file "
        "anew."
    )


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
        size = "" if file.suffix else ", or write a size as in 1275x1650 or A4@200"
        raise ModelMeterError(
            f"{who} does not exist; check the path (it is relative to {Path.cwd()}){size}."
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error  # the error itself says the path again
        raise ModelMeterError(f"{who} cannot be opened ({reason}); check the path and its permissions.") from error
    if stat.S_ISDIR(status.st_mode):
        raise ModelMeterError(f"{who} is a directory; give an image file, or all of its pages to modelmeter corpus.")
    if not stat.S_ISREG(status.st_mode):
        raise ModelMeterError(f"{who} is no regular file; give an image file.")
    if status.st_size == 0:
        raise ModelMeterError(f"{who} is empty (0 bytes); make or copy the file anew.")


def _short(text: str, longest: int = 40) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


def _digits(number: int) -> str:
    """A number for a message: written out while it is short, else its length in bits."""
    return str(number) if number.bit_length() <= 128 else f"a number of {number.bit_length()} bits"
