"""What stands for a page in Python: two sides in pixels, a size as the command line takes it, or a file of pages."""

from __future__ import annotations

import os
from operator import index
from typing import Any

from modelmeter.errors import ModelMeterError, shown, type_of
from modelmeter.page_sizes import PageSize, check_side, is_size, parse_size, read_page_sizes
from modelmeter.pdf_pages import DEFAULT_DPI, is_pdf, read_pdf_page_sizes

#: the path of an image file or a PDF, or a size such as "1275x1650" or "A4@200"
Source = str | os.PathLike[str]


def read_pages(source: Source, dpi: int = DEFAULT_DPI) -> list[PageSize]:
    """The pages of an image file, a TIFF or a PDF, this one's rendered at `dpi`; or the one of a size in words."""
    if not isinstance(source, str | os.PathLike):
        raise ModelMeterError(f"pages: {shown(source)} is {type_of(source)}; give the path of an image file or a PDF.")
    if isinstance(source, str) and is_size(source):
        return [parse_size(source)]
    return read_pdf_page_sizes(source, dpi) if is_pdf(source) else read_page_sizes(source)


def read_sides(width: Any, height: Any) -> tuple[int, int]:
    """Width and height of a page that was given otherwise than as two `int`s: by a file, or by numpy's integers.

    Raises `ModelMeterError` for what is no page, and for a file of several.
    """
    if isinstance(width, str | os.PathLike):
        name = shown(os.fspath(width))
        if isinstance(height, str):
            raise ModelMeterError(
                f"page: width={name} and height={shown(height)} are texts; give whole numbers of pixels, as in "
                "page(1275, 1650)."
            )
        if height is not None:
            raise ModelMeterError(
                f"page: {shown(height)} is given beside {name}, which has a height of its own; leave it out, and "
                f"say output_tokens={shown(height)} if it is decode steps."
            )
        sizes = read_pages(width)
        if len(sizes) > 1:
            raise ModelMeterError(f"page: {name} has {len(sizes):,} pages; pages({name}) gives a list of their costs.")
        return sizes[0].width, sizes[0].height
    if height is None:
        whole = f"({shown(width)}, …)" if isinstance(width, int) else shown(width)
        raise ModelMeterError(
            f"page: {whole} has no height beside it; give width and height in pixels, as in page(1275, 1650), or the "
            'path of an image file, as in page("scan.png").'
        )
    return _side("width", width), _side("height", height)


def _side(name: str, side: Any) -> int:
    """A whole number of any type, a numpy integer among them, as an `int`."""
    try:
        whole = side if isinstance(side, bool) else index(side)
    except TypeError:
        whole = side
    check_side("page", name, whole)
    return int(whole)
