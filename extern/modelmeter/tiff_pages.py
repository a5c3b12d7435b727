"""The pages of a TIFF file: its directories, without its pixels.

A scan of several pages is a TIFF with a directory for each. A directory that says it is a reduced picture of another
(a thumbnail, a level of a pyramid) or a mask is no page. Every strip or tile that a page's directory names must lie in
the file, and be as many as its rows and columns need; where the pixels are not compressed their bytes must be enough.
So a truncated file is told without its decoder, libtiff, which writes lines of its own to standard error.

Source: TIFF 6.0 (Adobe, 1992), sections 2 and 15; BigTIFF (Aware Systems, 2007).
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO, Final

MAX_PIECES: Final = 1 << 20
"""Strips or tiles of a page."""

_SHARED: Final = 1 << 20
"""Bytes that directories may name more than once."""

_NEW_SUBFILE_TYPE: Final = 254
_SUBFILE_TYPE: Final = 255
_WIDTH: Final = 256
_HEIGHT: Final = 257
_BITS_PER_SAMPLE: Final = 258
_COMPRESSION: Final = 259
_PHOTOMETRIC: Final = 262
_STRIP_OFFSETS: Final = 273
_ORIENTATION: Final = 274
_SAMPLES_PER_PIXEL: Final = 277
_ROWS_PER_STRIP: Final = 278
_STRIP_BYTE_COUNTS: Final = 279
_PLANAR_CONFIGURATION: Final = 284
_TILE_WIDTH: Final = 322
_TILE_HEIGHT: Final = 323
_TILE_OFFSETS: Final = 324
_TILE_BYTE_COUNTS: Final = 325
_TAGS: Final = frozenset(
    {_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _WIDTH, _HEIGHT, _BITS_PER_SAMPLE, _COMPRESSION, _PHOTOMETRIC, _STRIP_OFFSETS}
    | {_ORIENTATION, _SAMPLES_PER_PIXEL, _ROWS_PER_STRIP, _STRIP_BYTE_COUNTS, _PLANAR_CONFIGURATION, _TILE_WIDTH}
    | {_TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTE_COUNTS}
)

#: letter of `struct` by the type of a field: BYTE, SHORT, LONG, LONG8
_LETTERS: Final = {1: "B", 3: "H", 4: "L", 16: "Q"}

_REDUCED_OR_MASK: Final = 0b101
"""Bits 0 and 2 of NewSubfileType."""

_OLD_REDUCED: Final = 2
"""SubfileType of a reduced picture."""

_UNCOMPRESSED: Final = 1
_OLD_JPEG: Final = 6
_YCBCR: Final = 6
_SEPARATE_PLANES: Final = 2


@dataclass(frozen=True, kw_only=True)
class TiffPage:
    """A page's sides in pixels as they are stored, and its orientation (1 to 8, as in EXIF; others turn nothing)."""

    width: int
    height: int
    orientation: int


_Fields = dict[int, tuple[int, ...]]


def read_tiff_pages(stream: BinaryIO) -> list[TiffPage]:
    """The pages of a TIFF or BigTIFF in the order of its directories; at least one.

    Raises ValueError for a file that is truncated or damaged.
    """
    size = stream.seek(0, os.SEEK_END)
    directories = _Directories(stream, size).read()
    pages = [fields for fields in directories if _is_page(fields)] or directories[:1]
    for fields in pages:
        _check_pieces(fields, size)
    return [
        TiffPage(width=_one(fields, _WIDTH), height=_one(fields, _HEIGHT), orientation=_one(fields, _ORIENTATION, 1))
        for fields in pages
    ]


class _Directories:
    """Reads the chain of directories of a file of `size` bytes."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream = stream
        self.size = size
        #: bytes that directories and their fields may still take, so that many cannot all name the same large ones
        self.allowed = size + _SHARED
        head = self._at(0, 8)
        self.order = "<" if head.startswith(b"II") else ">"
        version, *rest = struct.unpack(f"{self.order}2xHHH", head)
        self.big = version == 43
        if version not in (42, 43) or (self.big and rest != [8, 0]):
            raise ValueError("its header is none of a TIFF file")

    def read(self) -> list[_Fields]:
        directories: list[_Fields] = []
        seen: set[int] = set()
        place = self._number(8, "Q") if self.big else self._number(4, "L")
        while place:
            if place in seen:
                raise ValueError("its directories lead back to one that was read")
            seen.add(place)
            fields, place = self._directory(place)
            directories.append(fields)
        if not directories:
            raise ValueError("it has no directory")
        return directories

    def _directory(self, place: int) -> tuple[_Fields, int]:
        """The fields of the directory at a place, those of `_TAGS`, and the place of the next one."""
        count_letter, count_bytes, entry, inline = ("Q", 8, "HHQ", 8) if self.big else ("H", 2, "HHL", 4)
        count = self._number(place, count_letter)
        length = struct.calcsize(f"={entry}") + inline
        self._take(count * length)
        data = self._at(place + count_bytes, count * length)
        fields: _Fields = {}
        for start in range(0, len(data), length):
            tag, type_, number = struct.unpack_from(f"{self.order}{entry}", data, start)
            letter = _LETTERS.get(type_)
            if tag not in _TAGS or letter is None:
                continue
            if number > MAX_PIECES:
                raise ValueError(f"its tag {tag} has {number} values, more than {MAX_PIECES}")
            values = f"{self.order}{number}{letter}"
            taken = struct.calcsize(values)
            field = data[start + length - inline : start + length]
            if taken > inline:
                self._take(taken)
                field = self._at(struct.unpack(f"{self.order}{'Q' if self.big else 'L'}", field)[0], taken)
            fields[tag] = struct.unpack_from(values, field)
        letter = "Q" if self.big else "L"
        return fields, self._number(place + count_bytes + len(data), letter)

    def _take(self, length: int) -> None:
        self.allowed -= length
        if self.allowed < 0:
            raise ValueError("its directories name more data than there is in the file")

    def _number(self, place: int, letter: str) -> int:
        number: int = struct.unpack(f"{self.order}{letter}", self._at(place, struct.calcsize(f"={letter}")))[0]
        return number

    def _at(self, place: int, length: int) -> bytes:
        if place + length > self.size:
            raise ValueError(f"it ends before its byte {place + length}")
        self.stream.seek(place)
        return self.stream.read(length)


def _is_page(fields: _Fields) -> bool:
    return not (_one(fields, _NEW_SUBFILE_TYPE, 0) & _REDUCED_OR_MASK or _one(fields, _SUBFILE_TYPE, 1) == _OLD_REDUCED)


def _one(fields: _Fields, tag: int, default: int | None = None) -> int:
    values = fields.get(tag, ())
    if values:
        return values[0]
    if default is None:
        raise ValueError(f"a directory has no tag {tag}")
    return default


def _check_pieces(fields: _Fields, size: int) -> None:
    """Refuse a page whose strips or tiles are too few, or are not all in a file of `size` bytes."""
    width, height = _one(fields, _WIDTH), _one(fields, _HEIGHT)
    if not width * height:
        raise ValueError("a page has no area")
    offsets, counts = fields.get(_STRIP_OFFSETS, ()), fields.get(_STRIP_BYTE_COUNTS, ())
    pieces = -(-height // max(1, min(height, _one(fields, _ROWS_PER_STRIP, height))))
    if not offsets and _TILE_OFFSETS in fields:
        offsets, counts = fields[_TILE_OFFSETS], fields.get(_TILE_BYTE_COUNTS, ())
        wide, high = max(1, _one(fields, _TILE_WIDTH)), max(1, _one(fields, _TILE_HEIGHT))
        pieces = -(-width // wide) * -(-height // high)
    samples = _one(fields, _SAMPLES_PER_PIXEL, 1)
    if _one(fields, _PLANAR_CONFIGURATION, 1) == _SEPARATE_PLANES:
        pieces *= samples
    compression = _one(fields, _COMPRESSION, _UNCOMPRESSED)
    if compression == _OLD_JPEG:  # may lie in one piece that other tags name
        pieces = len(offsets)
    if len(offsets) < pieces or (counts and len(counts) < pieces):
        raise ValueError(f"a page has {len(offsets)} of its {pieces} strips or tiles")
    lengths = counts or (0,) * len(offsets)
    if any(offset + length > size for offset, length in zip(offsets, lengths, strict=False)):
        raise ValueError("it ends before its pixels do")
    if compression == _UNCOMPRESSED and counts and _one(fields, _PHOTOMETRIC, 0) != _YCBCR:
        bits = fields.get(_BITS_PER_SAMPLE, (1,))
        needed = height * -(-width * (sum(bits) if len(bits) == samples else bits[0] * samples) // 8)
        if sum(counts) < needed:
            raise ValueError(f"a page has {sum(counts)} of its {needed} bytes")
