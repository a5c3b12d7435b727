"""Where the pages of a corpus come from: image files and PDFs, folders of them, and tables of sizes.

`list_items` cuts the sources into items, in an order that does not change while the files do not; `read_item` reads
one item as record batches with the columns of `raw_schema`, a bounded number of pages at a time. What cannot be read
is a row with a text in `error`: only a request that is wrong for every file (a column that is not there, a path that
does not exist, a folder without pages) raises `ModelMeterError`.

Of an image only the header is read, no pixel is decoded: a file cut off behind its header passes for whole.
"""

from __future__ import annotations

import csv
import glob
import gzip
import io
import json
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modelmeter.corpus.page_costs import column_named
from modelmeter.errors import ModelMeterError
from modelmeter.files import encodable
from modelmeter.page_sizes import read_page_size
from modelmeter.pdf_pages import DEFAULT_DPI, read_pdf_page_sizes

STDIN: Final = "-"

#: pages of one record batch
BATCH_PAGES: Final = 1 << 16

#: image files of one item
FILES_AT_ONCE: Final = 256

IMAGE_SUFFIXES: Final = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif"}
    | {".tiff", ".webp"}
)
TABLE_KINDS: Final = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}

#: the group of pages in files, when pages are grouped by the folder that holds them
FOLDER: Final = "folder"


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What to read of a source.

    width, height, output_tokens, group: columns of tables; the last two may be None. group="folder" groups image
    files and PDFs by their folder. dpi: of PDFs. max_pixels: images with more are reported, not read.
    """

    width: str = "width"
    height: str = "height"
    output_tokens: str | None = None
    group: str | None = None
    dpi: int = DEFAULT_DPI
    max_pixels: int | None = None
    batch_pages: int = BATCH_PAGES


@dataclass(frozen=True, kw_only=True)
class Item:
    """A piece of a source that is read in one go: image files, a PDF, a table, or a row group of one."""

    kind: str
    paths: tuple[str, ...]
    row_group: int = 0
    error: str | None = None

    def fingerprint(self) -> str:
        """Text that changes with the names, sizes and times of its files."""
        parts = [self.kind, str(self.row_group)]
        for path in self.paths:
            try:
                status = os.stat(path)
                parts.append(f"{path}\0{status.st_size}\0{status.st_mtime_ns}")
            except OSError:
                parts.append(f"{path}\0unreadable")
        return "\0\0".join(parts)


# -- from sources to items -------------------------------------------------------------------------------------------


def list_items(sources: Sequence[str]) -> Iterator[Item]:
    """The items of all sources in order; wrong sources raise before the first one is listed."""
    if not sources:
        raise ModelMeterError("corpus: there is no source; give a folder, files, a glob, or - for standard input.")
    if list(sources).count(STDIN) > 1:
        raise ModelMeterError("corpus: standard input (-) is given twice, and can be read once.")
    for source in sources:
        if os.path.isdir(source):
            found = next(files_of(source), None)
        else:
            found = source
            for path in files_of(source):
                _kind(path)
        if found is None:
            raise ModelMeterError(
                f"corpus: folder {source} holds no image and no PDF ({', '.join(sorted(IMAGE_SUFFIXES))}, .pdf); "
                "for tables in it give a glob, as in 'folder/*.parquet'."
            )
    return _items(path for source in sources for path in files_of(source))


def _items(paths: Iterable[str]) -> Iterator[Item]:
    images: list[str] = []
    for path in paths:
        kind = _kind(path)
        if kind == "image":
            images.append(path)
        if images and (kind != "image" or len(images) == FILES_AT_ONCE):
            yield Item(kind="images", paths=tuple(images))
            images = []
        if kind == "parquet":
            yield from _row_groups(path)
        elif kind == "folder":
            yield Item(kind="unreadable", paths=(path,), error="cannot be listed; check its permissions")
        elif kind != "image":
            yield Item(kind=kind, paths=(path,))
    if images:
        yield Item(kind="images", paths=tuple(images))


def files_of(source: str) -> Iterator[str]:
    """The files that a source stands for, a folder's in the order of their names; "-" for standard input."""
    if source == STDIN or os.path.isfile(source):
        yield source
    elif os.path.isdir(source):
        yield from _walk(source)
    elif glob.has_magic(source):
        found = False
        for path in sorted(glob.iglob(source, recursive=True)):
            if os.path.isfile(path):
                found = True
                yield path
        if not found:
            raise ModelMeterError(f"corpus: no file matches {source}; check the pattern.")
    elif os.path.exists(source):
        raise ModelMeterError(f"corpus: {source} is neither a file nor a folder.")
    else:
        raise ModelMeterError(f"corpus: {source} does not exist; check the path (it is relative to {Path.cwd()}).")


def input_files(source: str) -> Iterator[str]:
    """What no output may replace: the files that a source stands for, and the tables that lie in a folder."""
    if not os.path.isdir(source):
        yield from () if source == STDIN else files_of(source)
        return
    for folder, _, names in os.walk(source):
        for name in names:
            if _suffix(name) in {*IMAGE_SUFFIXES, *TABLE_KINDS, ".pdf"}:
                yield os.path.join(folder, name)


def _walk(folder: str) -> Iterator[str]:
    """Images and PDFs below a folder, the names of one folder at a time held; and folders that cannot be listed.

    Links to folders are not followed.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        yield folder
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)
        elif _suffix(entry.name) in IMAGE_SUFFIXES | {".pdf"}:
            yield entry.path


def _suffix(path: str) -> str:
    return os.path.splitext(path.removesuffix(".gz"))[1].lower()


def _kind(path: str) -> str:
    suffix = _suffix(path)
    if path == STDIN:
        return "stdin"
    if suffix in IMAGE_SUFFIXES:
        return "image"
    if suffix == ".pdf":
        return "pdf"
    if suffix in TABLE_KINDS:
        return TABLE_KINDS[suffix]
    if os.path.isdir(path):
        return "folder"
    raise ModelMeterError(
        f"corpus: {path} is of no known kind; give images, PDFs, or tables whose names end in "
        f"{', '.join(TABLE_KINDS)} (the first four may be .gz too)."
    )


def _row_groups(path: str) -> Iterator[Item]:
    try:
        with pq.ParquetFile(path) as file:
            count = file.num_row_groups
    except (pa.ArrowException, OSError) as error:
        yield Item(kind="unreadable", paths=(path,), error=f"is no whole Parquet file ({_line(error)})")
        return
    for number in range(count):
        yield Item(kind="parquet", paths=(path,), row_group=number)


# -- from an item to record batches ----------------------------------------------------------------------------------


def read_item(item: Item, options: ReadOptions) -> Iterator[pa.RecordBatch]:
    """The pages of an item: source, page_number (from 1), width, height, and error; group, output_tokens if asked."""
    path = item.paths[0]
    if item.kind == "images":
        yield _read_images(item.paths, options)
    elif item.kind == "pdf":
        yield _read_pdf(path, options)
    elif item.kind == "unreadable":
        yield _batch(path, [(None, None, None, None, None, item.error)], options)
    elif item.kind == "parquet":
        yield from _read_parquet(path, item.row_group, options)
    else:
        yield from _read_text(path, item.kind, options)


#: page_number, width, height, group, output tokens, error
_Row = tuple[int | None, Any, Any, str | None, Any, str | None]


def _batch(source: str | Sequence[str], rows: Sequence[_Row], options: ReadOptions) -> pa.RecordBatch:
    sources = [source] * len(rows) if isinstance(source, str) else source
    numbers, widths, heights, groups, tokens, errors = zip(*rows, strict=True) if rows else ((),) * 6
    columns = {
        "source": _string_array(sources),
        "page_number": pa.array(numbers, pa.int64()),
        "width": pa.array(widths),
        "height": pa.array(heights),
    }
    if options.group is not None:
        columns["group"] = _string_array(groups)
    if options.output_tokens is not None:
        columns["output_tokens"] = pa.array(tokens)
    columns["error"] = _string_array(errors)
    return pa.RecordBatch.from_pydict(columns)


def _string_array(texts: Sequence[str | None]) -> pa.Array:
    """Texts as Arrow's strings, which are UTF-8."""
    return pa.array([None if text is None else encodable(text) for text in texts], pa.string())


def _folder(path: str, options: ReadOptions) -> str | None:
    return os.path.dirname(path) or "." if options.group == FOLDER else None


def _no_tokens(options: ReadOptions) -> str | None:
    """Files have no columns: with output tokens from one, none of their pages can be counted."""
    if options.output_tokens is None:
        return None
    return f"has no column {options.output_tokens} for its output tokens; give their number, or a table"


def _read_images(paths: Sequence[str], options: ReadOptions) -> pa.RecordBatch:
    rows: list[_Row] = []
    for path in paths:
        group = _folder(path, options)
        try:
            size = read_page_size(path, decode=False, max_pixels=options.max_pixels)
            rows.append((1, size.width, size.height, group, None, _no_tokens(options)))
        except ModelMeterError as error:
            rows.append((None, None, None, group, None, str(error)))
    return _batch(paths, rows, options)


def _read_pdf(path: str, options: ReadOptions) -> pa.RecordBatch:
    group = _folder(path, options)
    try:
        sizes = read_pdf_page_sizes(path, options.dpi)
    except ModelMeterError as error:
        return _batch(path, [(None, None, None, group, None, str(error))], options)
    reason = _no_tokens(options)
    return _batch(
        path, [(number, size.width, size.height, group, None, reason) for number, size in enumerate(sizes, 1)], options
    )


def _read_parquet(path: str, row_group: int, options: ReadOptions) -> Iterator[pa.RecordBatch]:
    row = 0
    try:
        with pq.ParquetFile(path) as file:
            names = _column_names(path, file.schema_arrow.names, options)
            row = sum(file.metadata.row_group(number).num_rows for number in range(row_group))
            batches = file.iter_batches(
                options.batch_pages, row_groups=[row_group], columns=sorted(set(names)), use_threads=False
            )
            for batch in batches:
                numbers = pa.array(np.arange(row + 1, row + batch.num_rows + 1, dtype=np.int64))
                asked = [batch.column(name) for name in names]
                yield _table_batch(path, numbers, asked, pa.nulls(batch.num_rows, pa.string()), options)
                row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        yield _batch(
            path, [(None, None, None, None, None, f"cannot be read after row {row} ({_line(error)})")], options
        )


def _table_batch(
    path: str, numbers: pa.Array, asked: Sequence[pa.Array], errors: pa.Array, options: ReadOptions
) -> pa.RecordBatch:
    """The columns `asked`, which stand in the order of `_column_names`, under the names of an item's batches."""
    width, height, *rest = asked
    columns = {
        "source": pa.repeat(encodable(path), len(numbers)),
        "page_number": numbers,
        "width": width,
        "height": height,
    }
    if options.group is not None:
        columns["group"] = _texts(rest.pop(0), options.group)
    if options.output_tokens is not None:
        columns["output_tokens"] = rest.pop(0)
    return pa.RecordBatch.from_pydict(columns | {"error": errors})


def _texts(column: pa.Array, name: str) -> pa.Array:
    try:
        return pc.cast(column.dictionary_decode() if pa.types.is_dictionary(column.type) else column, pa.string())
    except pa.ArrowException as error:
        raise ModelMeterError(f"corpus: column {name} holds {column.type}, which cannot name a group.") from error


def _column_names(path: str, names: Sequence[str], options: ReadOptions) -> list[str]:
    """The columns to read: width, height, then group and output tokens where they are asked for."""
    asked = (options.width, options.height, options.group, options.output_tokens)
    return [column_named(names, name, path) for name in asked if name is not None]


def _read_text(path: str, kind: str, options: ReadOptions) -> Iterator[pa.RecordBatch]:
    """A table of text: its rows in batches, and what broke off their reading as a last row."""
    try:
        opened = _opened(path)
    except OSError as error:
        yield _batch(path, [(None, None, None, None, None, f"cannot be opened ({error.strerror})")], options)
        return
    row = 0
    with opened as stream:
        try:
            for batch in _text_batches(path, kind, stream, options):
                yield batch
                row += batch.num_rows
        except _DAMAGE as error:
            reason = f"cannot be read after row {row} ({_line(error)})"
            yield _batch(path, [(None, None, None, None, None, reason)], options)


def _opened(path: str) -> AbstractContextManager[BinaryIO]:
    if path == STDIN:
        return nullcontext(sys.stdin.buffer)
    return cast(BinaryIO, gzip.open(path)) if path.endswith(".gz") else open(path, "rb")


def _text_batches(path: str, kind: str, stream: BinaryIO, options: ReadOptions) -> Iterator[pa.RecordBatch]:
    first = stream.readline()
    if not first:
        yield _batch(path, [(None, None, None, None, None, "is empty")], options)
        return
    if kind == "stdin":
        if first.startswith(b"PAR1"):
            raise ModelMeterError("corpus: Parquet cannot be read from standard input; give the file.")
        kind = "jsonl" if first.lstrip().startswith(b"{") else "csv"
    text = io.TextIOWrapper(stream, "utf-8", errors="replace", newline="")
    lines = chain([first.decode("utf-8-sig", errors="replace")], text)
    try:
        if kind == "csv":
            yield from _read_csv(path, lines, "\t" if _suffix(path) == ".tsv" else ",", options)
        else:
            for rows in _in_lists(_json_rows(path, lines, options), options.batch_pages):
                yield _batch(path, rows, options)
    finally:
        text.detach()  # standard input is not ours to close


#: what decompression and parsing raise where a file is damaged
_DAMAGE: Final = (OSError, EOFError, zlib.error, csv.Error)


def _in_lists(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """`size` rows at a time; what was read before a damaged place comes before its error."""
    some: list[Any] = []
    try:
        for row in rows:
            some.append(row)
            if len(some) == size:
                yield some
                some = []
    except _DAMAGE:
        if some:
            yield some
        raise
    if some:
        yield some


def _read_csv(path: str, lines: Iterable[str], delimiter: str, options: ReadOptions) -> Iterator[pa.RecordBatch]:
    reader = csv.reader(lines, delimiter=delimiter)
    header = [name.strip() for name in next(reader, [])]
    places = [header.index(name) for name in _column_names(path, header, options)]
    number = 0
    for some in _in_lists(reader, options.batch_pages):
        rows = [row for row in some if row]
        numbers = range(number + 1, number + len(rows) + 1)
        number += len(rows)
        errors = [
            None if len(row) == len(header) else f"has {len(row)} fields, and the table has {len(header)} columns"
            for row in rows
        ]
        if any(errors):
            rows = [[""] * len(header) if error else row for row, error in zip(rows, errors, strict=True)]
        asked = [pa.array([row[place] for row in rows], pa.string()) for place in places]
        yield _table_batch(path, pa.array(numbers, pa.int64()), asked, pa.array(errors, pa.string()), options)


def _json_rows(path: str, lines: Iterator[str], options: ReadOptions) -> Iterator[_Row]:
    known = False
    number = 0
    for line in lines:
        if not line.strip():
            continue
        number += 1
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            yield number, None, None, None, None, "is no JSON object"
            continue
        if not known:
            _column_names(path, list(row), options)
            known = True
        group = None if options.group is None else row.get(options.group)
        tokens = None if options.output_tokens is None else row.get(options.output_tokens)
        sides = _text(row.get(options.width)), _text(row.get(options.height))
        yield number, *sides, _text(group), _text(tokens), None


def _text(value: object) -> str | None:
    return None if value is None else encodable(str(value))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
