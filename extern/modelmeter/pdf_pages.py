"""Where the pages of a PDF get their sizes: their boxes in points, rendered at a resolution.

A page is as large as its CropBox within its MediaBox (both may be inherited), turned by /Rotate. PDFium reads them.
Pixels are points x dpi / 72, rounded up as MuPDF rounds: what exceeds a whole pixel by no more than a thousandth adds
none. MuPDF renders the pages in the published PDF script, at 144 dpi. pypdfium2's own `render` rounds up
the product of two floats instead, and so makes 1275 x 1651 pixels of a US letter page at 150 dpi, not 1275 x 1650.

Left out: /UserUnit, which PDFium does not read (MuPDF multiplies the page by it). A page without a usable MediaBox has
612 x 792 points, as in both.

pypdfium2 is imported when a file is read, not with this module.
"""

from __future__ import annotations

import math
import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from modelmeter.errors import ModelMeterError
from modelmeter.page_sizes import PageSize, check_dpi, check_regular_file

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT_DPI: Final = 144
"""Pixels an inch. Source: `pdf_to_images_high_quality` of the published PDF script."""

POINTS_PER_INCH: Final = 72

ROUNDING_SLACK: Final = Fraction(1, 1000)
"""Pixels. Source: `fz_round_rect` of MuPDF (source/fitz/geometry.c)."""


def is_pdf(path: str | os.PathLike[str]) -> bool:
    """Whether a regular file is to be read as a PDF: it says so in its first bytes, or in its name."""
    file = Path(path)
    check_regular_file(file)
    with file.open("rb") as stream:
        return stream.read(5) == b"%PDF-" or file.suffix.lower() == ".pdf"


def read_pdf_page_sizes(path: str | os.PathLike[str], dpi: int = DEFAULT_DPI) -> list[PageSize]:
    """Sizes of all pages of a PDF file in pixels at `dpi`, in the order of its pages; sources end in ``#page=N``."""
    file = Path(path)
    check_regular_file(file)
    who = f"page {file}"
    check_dpi(who, dpi)
    try:
        import pypdfium2
    except ImportError as error:
        raise ModelMeterError(
            f"{who} is a PDF, and reading one needs pypdfium2; pip install pypdfium2, "
            "or give the page's width and height in pixels."
        ) from error
    with file.open("rb") as stream, _document(stream, who) as document:
        sizes: list[PageSize] = []
        for index in range(len(document)):
            source = f"{file}#page={index + 1}"
            try:
                width, height = document.get_page_size(index)
            except pypdfium2.PdfiumError as error:
                raise ModelMeterError(f"page {source} is damaged ({error}); make or copy the file anew.") from error
            if not width * height:
                raise ModelMeterError(f"page {source} has no area: its CropBox lies outside its MediaBox.")
            sizes.append(PageSize(source=source, width=pixels(width, dpi), height=pixels(height, dpi)))
        return sizes


def render_pdf_page(path: str | os.PathLike[str], index: int, dpi: int = DEFAULT_DPI) -> Image:
    """Page `index`, from 0, of a PDF as a picture at `dpi`; refusals are those of `read_pdf_page_sizes`."""
    import pypdfium2

    who = f"page {path}#page={index + 1}"
    with Path(path).open("rb") as stream, _document(stream, who) as document:
        try:
            page = document[index]
            picture: Image = page.render(scale=dpi / POINTS_PER_INCH).to_pil().convert("RGB")
        except pypdfium2.PdfiumError as error:
            raise ModelMeterError(f"{who} is damaged ({error}); make or copy the file anew.") from error
        return picture


def _document(stream: BinaryIO, who: str) -> Any:
    """The open document of a stream."""
    import pypdfium2

    # PDFium keeps the error of an earlier file where it finds no page: leave one that tells nothing
    pypdfium2.raw.FPDF_LoadMemDocument(b"", 0, None)
    try:
        return pypdfium2.PdfDocument(stream)
    except pypdfium2.PdfiumError as error:
        if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
            raise ModelMeterError(f"{who} is locked by a password; save a copy without one.") from error
        raise ModelMeterError(f"{who} is no PDF, is damaged or has no page; make or copy the file anew.") from error


def pixels(points: float, dpi: int) -> int:
    """Whole pixels that `points` take at `dpi`, as MuPDF rounds.

    >>> pixels(595.276, 144), pixels(792.0, 150)
    (1191, 1650)
    """
    return max(1, math.ceil(Fraction(points) * dpi / POINTS_PER_INCH - ROUNDING_SLACK))
